"""Adapters of nets of pictures as single files: diffusers' `pytorch_lora_weights.safetensors`, and kohya's layout.

In both an adapter is its two matrices for each layer it stands beside. diffusers names layers as our nets do; kohya's
sd-scripts, and ComfyUI with them, as Stability's own code does, where queries, keys and values are one layer.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model
from makar.core.tensors import load_tensors, save_tensors, tensor_metadata
from makar.nets.lora import DEFAULT, Adapter, active, adapted_layers, adapters_of, attach
from makar.nets.lora_config import LoraConfig
from makar.nets.mmdit import MMDiT
from makar.nets.unet import UNet

DIFFUSERS = "pytorch_lora_weights.safetensors"
"""What diffusers' `load_lora_weights` looks for in a folder."""

PREFIXES = ("transformer", "unet")
"""What diffusers' pipelines call the net."""

KOHYA_PREFIXES = ("lora_unet_", "lora_transformer_")
"""Before a layer's name in kohya's layout, and in OneTrainer's, which uses diffusers' names."""

METADATA = "lora_adapter_metadata"
"""Where diffusers keeps an adapter's settings."""

PICTURE_LAYERS: Mapping[str, Sequence[str]] = {
    "x_block_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block_attn_proj": ("attn.to_out.0",),
    "x_block_attn2_qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block_attn2_proj": ("attn2.to_out.0",),
    "x_block_mlp_fc1": ("ff.net.0.proj",),
    "x_block_mlp_fc2": ("ff.net.2",),
    "x_block_adaLN_modulation_1": ("norm1.linear",),
    "context_block_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block_attn_proj": ("attn.to_add_out",),
    "context_block_mlp_fc1": ("ff_context.net.0.proj",),
    "context_block_mlp_fc2": ("ff_context.net.2",),
    "context_block_adaLN_modulation_1": ("norm1_context.linear",),
}
"""The layers of a block as Stability's code names them, and which of ours each is made of, one below the other."""


class Factors(NamedTuple):
    """What an adapter adds to one layer's weight: `up @ down`.

    Args:
        down: What the layer's input meets first.
        up: What makes the layer's output of that; the adapter's scale is in it.
    """

    down: Float[Tensor, "rank wide"]
    up: Float[Tensor, "out rank"]


def factors_of(model: Model[Any]) -> dict[str, Factors]:
    """What the adapter that answers adds to each layer, by the layer's path.

    Raises:
        ModelError: It also stretches the weights, which such files cannot say.
    """
    name = active(model.net)
    assert name is not None, "an adapter answers"
    if adapters_of(model.net)[name].dora:
        fix = "export it with --to transformers, which works it into the weights"
        raise ModelError("a DoRA adapter has no place in such a file", fix=fix)
    found: dict[str, Factors] = {}
    for path, layer in adapted_layers(model.net).items():
        if name in layer.adapters:
            adapter = layer.adapters[name]
            assert isinstance(adapter, Adapter)
            found[path] = Factors(adapter.lora_A.detach(), adapter.scale * adapter.lora_B.detach())
    return found


def write_diffusers(model: Model[Any], folder: Path) -> None:
    """Write the adapter that answers into a folder, as a pipeline's `load_lora_weights` takes it.

    Raises:
        ModelError: It is of another kind than the file can hold.
    """
    prefix = "unet" if isinstance(model.net, UNet) else "transformer"
    tensors: dict[str, Tensor] = {}
    for path, (down, up) in factors_of(model).items():
        tensors |= {f"{prefix}.{path}.lora_A.weight": down, f"{prefix}.{path}.lora_B.weight": up}
    save_tensors(folder / DIFFUSERS, tensors)


def write_kohya(model: Model[Any], file: Path) -> None:
    """Write the adapter that answers as sd-scripts and ComfyUI take it.

    Raises:
        ModelError: It is of another kind than the file can hold.
    """
    factors, tensors = factors_of(model), dict[str, Tensor]()
    for name, paths in kohya_names(model.net).items():
        if not any(path in factors for path in paths):
            continue
        down, up = as_kohya(model.net, paths, factors)
        key, rank = KOHYA_PREFIXES[0] + name, float(len(down))
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(rank)}
    save_tensors(file, tensors)


def kohya_names(net: nn.Module) -> dict[str, Sequence[str]]:
    """Kohya's names of a net's layers, and the paths of ours that each is made of."""
    linear = [path for path, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not isinstance(net, MMDiT):
        return {path.replace(".", "_"): (path,) for path in linear}
    found: dict[str, Sequence[str]] = {}
    for place in range(len(net.transformer_blocks)):
        for name, layers in PICTURE_LAYERS.items():
            paths = [f"transformer_blocks.{place}.{layer}" for layer in layers]
            if all(path in linear for path in paths):
                found[f"joint_blocks_{place}_{name}"] = paths
    return found


def as_kohya(net: nn.Module, paths: Sequence[str], factors: Mapping[str, Factors]) -> Factors:
    """What an adapter adds to one of kohya's layers: its parts' factors beside each other, 0 for parts without."""
    if len(paths) == 1:
        down, up = factors[paths[0]]
        return Factors(down, turned(up) if is_turned(net, paths[0]) else up)
    downs = [factors[path].down for path in paths if path in factors]
    ups = [factors[path].up if path in factors else out_of(net, path).new_zeros(out_of(net, path).shape[0], 0)
           for path in paths]  # fmt: skip
    return Factors(torch.cat(downs), torch.block_diag(*ups))


def out_of(net: nn.Module, path: str) -> Tensor:
    """The weight of a layer."""
    return net.get_parameter(f"{path}.weight")


def is_turned(net: nn.Module, path: str) -> bool:
    """Whether a layer's halves stand the other way round in Stability's code: shift before scale, where texts end."""
    last = len(net.transformer_blocks) - 1 if isinstance(net, MMDiT) else None
    return path == f"transformer_blocks.{last}.norm1_context.linear"


def turned(up: Tensor) -> Tensor:
    """The lower half above the upper one."""
    return torch.cat(up.chunk(2)[::-1])


def read_factors(file: Path, net: nn.Module) -> dict[str, Factors]:
    """What the adapter in a file adds to each layer of a net, by the layer's path, in float32.

    Args:
        file: In diffusers' layout or in kohya's.
        net: The one that it was made for.

    Raises:
        ModelError: It is damaged, holds more than a LoRA of this net, or belongs to another net.
    """
    tensors = {name: tensor.float() for name, tensor in load_tensors(file).items()}
    kohya = any(".lora_down." in name for name in tensors)
    found = from_kohya(tensors, net, file) if kohya else from_diffusers(tensors, file)
    if not found:
        raise ModelError("this file holds no adapter", where=file, fix="name a file with LoRA weights")
    for path, (down, up) in found.items():
        layer = dict(net.named_modules()).get(path)
        fits = isinstance(layer, nn.Linear) and (up.shape[0], down.shape[1]) == (layer.out_features, layer.in_features)
        if not fits or up.shape[1] != down.shape[0]:
            fix = "name the model that it was made for: --base MODEL"
            raise ModelError("this adapter is of another base", where=file, value=path, fix=fix)
    return found


def from_diffusers(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Factors]:
    """Factors from diffusers' names.

    Raises:
        ModelError: There are other tensors than those of a LoRA of the net.
    """
    scale, pairs = scale_in(file), dict[str, dict[str, Tensor]]()
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        path, _, key = rest.removesuffix(".weight").rpartition(".")
        if prefix not in PREFIXES or key not in ("lora_A", "lora_B") or tensor.ndim != 2:  # noqa: PLR2004
            raise other_tensor(file, name)
        pairs.setdefault(path, {})[key] = tensor
    return {path: paired(file, path, each.get("lora_A"), each.get("lora_B"), scale) for path, each in pairs.items()}


def scale_in(file: Path) -> float | None:
    """How often the products in a file of diffusers count; None where it does not say: once.

    Raises:
        ModelError: It says so for each layer apart, or what it says cannot be read.
    """
    fix = "copy the file again, or leave its metadata out to count the products once"
    try:
        said: Any = json.loads(tensor_metadata(file).get(METADATA, "{}"))
    except ValueError:
        raise ModelError("the adapter's settings are no JSON", where=file, fix=fix) from None
    known = {str(name).partition(".")[2]: value for name, value in said.items()} if isinstance(said, dict) else {}
    if known.get("alpha_pattern") or known.get("rank_pattern") or known.get("use_dora"):
        fix = "merge it into its base with diffusers, and open what that gives"
        raise ModelError("an adapter with settings for each layer is not read", where=file, fix=fix)
    if "r" not in known or "lora_alpha" not in known:
        return None
    alpha, rank = known["lora_alpha"], known["r"]
    if not isinstance(alpha, int | float) or not isinstance(rank, int) or rank < 1:
        raise ModelError("the adapter's settings are no numbers", where=file, value=f"{alpha!r} / {rank!r}", fix=fix)
    return alpha / (rank**0.5 if known.get("use_rslora") else rank)


def from_kohya(tensors: Mapping[str, Tensor], net: nn.Module, file: Path) -> dict[str, Factors]:
    """Factors from kohya's names, or from diffusers' in kohya's spelling.

    Raises:
        ModelError: There are other tensors than those of a LoRA of the net.
    """
    spelled = {path.replace(".", "_"): (path,) for path, m in net.named_modules() if isinstance(m, nn.Linear)}
    known, pairs = {**spelled, **kohya_names(net)}, dict[str, dict[str, Tensor]]()
    for name, tensor in tensors.items():
        layer, _, key = name.partition(".")
        prefix = next((prefix for prefix in KOHYA_PREFIXES if layer.startswith(prefix)), None)
        if prefix is None or key not in ("lora_down.weight", "lora_up.weight", "alpha"):
            raise other_tensor(file, name)
        if layer[len(prefix) :] not in known:
            fix = "name the model that it was made for: --base MODEL"
            raise ModelError("this adapter is of another base: no such layer here", where=file, value=layer, fix=fix)
        pairs.setdefault(layer[len(prefix) :], {})[key] = tensor
    found: dict[str, Factors] = {}
    for layer, each in pairs.items():
        down, up = paired(file, layer, each.get("lora_down.weight"), each.get("lora_up.weight"))
        up = up * (each["alpha"] / len(down)) if "alpha" in each else up
        paths = known[layer]
        if up.shape[0] % len(paths):
            raise other_tensor(file, layer)
        if len(paths) == 1:
            found[paths[0]] = Factors(down, turned(up) if layer not in spelled and is_turned(net, paths[0]) else up)
        else:
            found |= {path: used(down, rows) for path, rows in zip(paths, up.chunk(len(paths)), strict=True)}
    return found


def used(down: Tensor, up: Tensor) -> Factors:
    """The factors without what goes to other parts of a layer, of which at least one is left."""
    kept = up.any(0)
    kept[0] |= not kept.any()
    return Factors(down[kept], up[:, kept])


def paired(file: Path, name: str, down: Tensor | None, up: Tensor | None, scale: float | None = None) -> Factors:
    """Both matrices of a layer.

    Raises:
        ModelError: One is not there, or is no matrix.
    """
    if down is None or up is None or down.ndim != 2 or up.ndim != 2:  # noqa: PLR2004
        raise ModelError("half of an adapter's layer is missing", where=file, value=name, fix="copy the file again")
    return Factors(down, up if scale is None else scale * up)


def other_tensor(file: Path, name: str) -> ModelError:
    """Of a file that holds more than can be read here."""
    fix = "only a LoRA of the net's own linear layers is read, none of the text towers'; leave them out when training"
    return ModelError("a tensor that is no part of such an adapter", where=file, value=name, fix=fix)


def with_factors(model: Model[Any], factors: Mapping[str, Factors]) -> Model[Any]:
    """Attach an adapter to an open model that adds just this, and let it answer; factors of lower rank are padded.

    Args:
        model: The base; its net is changed in place.
        factors: By layer.
    """
    rank = max(len(factor.down) for factor in factors.values())
    config = LoraConfig(rank=rank, alpha=float(rank), targets=tuple(sorted(factors)))
    attach(model.net, model.family.blocks(model.net), config)
    with torch.no_grad():
        for path, layer in adapted_layers(model.net).items():
            adapter, (down, up) = layer.adapters[DEFAULT], factors[path]
            assert isinstance(adapter, Adapter)
            adapter.lora_A.copy_(F.pad(down, (0, 0, 0, rank - len(down))))
            adapter.lora_B.copy_(F.pad(up, (0, rank - up.shape[1])))
    return model


def lora_file(place: Path) -> Path | None:
    """The file of an adapter that a place is or holds; None where it is something else."""
    if place.is_dir():
        return place / DIFFUSERS if (place / DIFFUSERS).is_file() else None
    return place if place.suffix == ".safetensors" and place.is_file() else None


def check_paints(model: Model[Any], place: object) -> None:
    """Refuse a model whose adapters have another layout.

    Raises:
        InputError: Its family makes no pictures by diffusion.
    """
    if model.family.name != "diffusion":
        fix = "language models' adapters are PEFT's folders: --to peft"
        raise InputError("only adapters of diffusion models lie in such files", where=place, fix=fix)
