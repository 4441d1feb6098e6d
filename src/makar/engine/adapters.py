"""Adapters on disk and in use: folders in PEFT's layout, several on one base, merged into it where wanted.

adapter_config.json, adapter_model.safetensors (in its metadata the hash of the base's weights, and where the base lies
as seen from the folder), and what lies beside a net, such as a tokenizer. PEFT opens such a folder over the model of
`transformers` that the base's folder is; and its folders open here.
"""

import json
import os
import re
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from makar.core.config import parse
from makar.core.errors import ModelError, RecipeError
from makar.core.files import write_json
from makar.core.nouns import Model
from makar.core.tensors import hash_tensors, load_tensors, save_tensors, tensor_metadata
from makar.nets.lora import DEFAULT, active, adapter_parameters, adapters_of, attach, fits, plain_state
from makar.nets.lora_config import LoraConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

PREFIX = "base_model.model."
"""Before every path of a net in PEFT's files."""

NAMES: Mapping[str, str] = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
"""Our names of an adapter's tensors, and PEFT's."""

HARMLESS = {
    "peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version",
    "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias", "init_lora_weights", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out", "megatron_config", "megatron_core",
    "qalora_group_size", "runtime_config", "eva_config", "ensure_weight_tying",
}  # fmt: skip
"""Fields of adapter_config.json that are read here, or that change nothing of what a trained LoRA does to a linear
layer. Any other one that is set is refused: it would load and then compute something else."""

STARTS = (True, False, "gaussian", "eva", "orthogonal", None)
"""Ways to begin an adapter that leave the base as it is; others (PiSSA, say) change the base and do not say how."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, which needs its base, and not a whole model."""
    return (folder / CONFIG).is_file()


def base_of(folder: Path) -> Path:
    """The model that an adapter's folder says it belongs to.

    Raises:
        ModelError: It is not here.
    """
    named = read_config(folder).get("base_model_name_or_path")
    near = metadata(folder).get("base_path")
    places = [folder / near] if near else []
    places += [Path(named), folder / named] if isinstance(named, str) and named else []
    here = folder.resolve()
    for place in places:
        if place.is_dir() and place.resolve() != here:
            return place.resolve()
    fix = f"name it, and the adapter after it: makar generate BASE --adapter {folder}"
    raise ModelError("the model that this adapter belongs to is not here", where=folder, value=named, fix=fix)


def load_adapter(model: Model[Any], folder: Path, name: str | None = None) -> Model[Any]:
    """Attach a folder's adapter to an open model and let it answer; it may be one of several.

    Args:
        model: The base; its net is changed in place.
        folder: Ours or PEFT's.
        name: By which requests ask for it; "default" if left out, or the folder's name where that is taken.

    Returns:
        The model with the parts and defaults of generation that the folder holds.

    Raises:
        ModelError: The folder is damaged, of a kind that is not built here, or of another base.
    """
    net, config = model.net, to_config(folder)
    tensors = read_weights(folder)
    paths = sorted({path for path, _ in tensors})
    check_fit(net, config, tensors, folder)
    check_base(net, folder)
    name = name or (DEFAULT if DEFAULT not in adapters_of(net) else re.sub("[^A-Za-z0-9_-]", "-", folder.name))
    try:
        attach(net, model.family.blocks(net), config.model_copy(update={"targets": tuple(paths)}), name)
    except RecipeError as fault:
        raise ModelError(fault.what, where=folder, value=fault.value, fix=fault.fix) from None
    with torch.no_grad():
        for full, parameter in adapter_parameters(net, name).items():
            path, _, key = full.rpartition(".")
            parameter.copy_(tensors[path, key])
    parts, generation = model.family.folder.load_parts(folder, model.config)
    return replace(model, parts={**model.parts, **parts}, generation={**model.generation, **generation})


def save_adapter(model: Model[Any], folder: Path, base: Path) -> None:
    """Write the adapter that answers, and what lies beside the net, into an existing empty folder.

    Args:
        model: With an adapter attached.
        folder: Where to.
        base: The folder of the model without it; of a base that is an adapter over another, no hash is kept, for what
            merging gives depends on the machine in the last bit.
    """
    net, name = model.net, active(model.net)
    assert name is not None, "an adapter answers"
    config = adapters_of(net)[name]
    found = {full.rpartition("."): p for full, p in adapter_parameters(net, name).items()}
    model.family.folder.save_parts(model, folder)
    fields = {
        "peft_type": "LORA",
        "task_type": model.family.folder.task,
        "base_model_name_or_path": str(base.resolve()),
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": int(config.alpha) if config.alpha.is_integer() else config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": targets_of(net, config, {path for path, _, _ in found}),
        "use_rslora": config.rslora,
        "use_dora": config.dora,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    write_json(folder / CONFIG, fields)
    known = {"base_path": os.path.relpath(base.resolve(), folder.resolve())}
    if not is_adapter(base):
        known["base_sha256"] = hash_tensors(plain_state(net))
    save_tensors(folder / WEIGHTS, {f"{PREFIX}{path}.{NAMES[key]}": p for (path, _, key), p in found.items()}, known)


def targets_of(net: nn.Module, config: LoraConfig, paths: Set[str]) -> list[str]:
    """What PEFT is told of the layers that have the adapter: by the ends of their names, where no other ends so.

    Args:
        net: With the adapter.
        config: The adapter's.
        paths: Of the layers.
    """
    ends = list(config.targets) or sorted({path.rpartition(".")[2] for path in paths})
    found = {path for path, _ in net.named_modules() if ".adapters" not in path and any(fits(path, e) for e in ends)}
    return ends if found == paths else sorted(paths)


def merged(model: Model[Any]) -> Model[Any]:
    """The model with the adapter that answers worked into its weights, and no adapters: any tool takes it.

    What no adapter changes is shared with the model given. A model without adapters is handed back.
    """
    if not adapters_of(model.net):
        return model
    with torch.device("meta"):
        net: nn.Module = model.family.build(model.config)
    net.load_state_dict(plain_state(model.net, active(model.net)), assign=True)
    for path, buffer in list(net.named_buffers()):
        if buffer.is_meta:  # no file holds it
            parent, _, last = path.rpartition(".")
            net.get_submodule(parent).register_buffer(last, model.net.get_buffer(path), persistent=False)
    return replace(model, net=net.train(model.net.training))


def read_config(folder: Path) -> dict[str, Any]:
    """The object in a folder's adapter_config.json.

    Raises:
        ModelError: There is none.
    """
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError("this folder holds no adapter", where=path, fix="name the folder with its files") from None
    except (ValueError, RecursionError) as fault:
        raise ModelError(f"not valid JSON: {fault}", where=path, fix="copy the whole folder again") from None
    if not isinstance(found, dict):
        raise ModelError("not a JSON object", where=path, value=found, fix="copy the whole folder again")
    return found


def to_config(folder: Path) -> LoraConfig:
    """What a folder's adapter is.

    Raises:
        ModelError: Of a kind that is not built here, or with fields that do not fit.
    """
    path, found = folder / CONFIG, read_config(folder)
    if found.get("peft_type") != "LORA":
        raise ModelError("another kind of adapter", where=path, value=found.get("peft_type"), fix="only LORA is built")
    odd = next((key for key, value in found.items() if value and key not in HARMLESS), None)
    odd = odd or ("bias" if found.get("bias", "none") != "none" else None)
    odd = odd or ("init_lora_weights" if found.get("init_lora_weights") not in STARTS else None)
    if odd is not None:
        fix = "merge the adapter into its base with PEFT, and open what that gives"
        raise ModelError(f"an adapter with {odd!r} is not built here", where=path, value=found[odd], fix=fix)
    fields = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "rslora": "use_rslora", "dora": "use_dora"}
    try:
        return parse(LoraConfig, {ours: found[theirs] for ours, theirs in fields.items() if theirs in found}, path)
    except RecipeError as fault:
        raise ModelError(fault.what, where=path, value=fault.value, fix=fault.fix) from None


def read_weights(folder: Path) -> dict[tuple[str, str], Tensor]:
    """An adapter's tensors in float32, by the path of their layer and our name.

    Raises:
        ModelError: The file is missing or damaged, or holds other tensors too.
    """
    path = folder / WEIGHTS
    if not path.is_file() and any(folder.glob("*.bin")):
        fix = "save it as safetensors with the tool that made it"
        raise ModelError("the adapter is pickled, and a pickle can run any program", where=folder, fix=fix)
    found: dict[tuple[str, str], Tensor] = {}
    for full, tensor in load_tensors(path).items():
        for ours, theirs in NAMES.items():
            if full.startswith(PREFIX) and full.endswith(f".{theirs}") and tensor.is_floating_point():
                found[full[len(PREFIX) : -len(theirs) - 1], ours] = tensor.float()
                break
        else:
            fix = "only LoRA and DoRA of linear layers are built; merge the adapter into its base with PEFT"
            raise ModelError("a tensor that is no part of such an adapter", where=path, value=full, fix=fix)
    return found


def metadata(folder: Path) -> dict[str, str]:
    """What our adapters say of their base; nothing for those of others."""
    return tensor_metadata(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else {}


def check_fit(net: nn.Module, config: LoraConfig, tensors: Mapping[tuple[str, str], Tensor], folder: Path) -> None:
    """Refuse tensors that do not fit the layers of a net, before anything is changed.

    Raises:
        ModelError: Names the first that does not.
    """
    layers = dict(net.named_modules())
    fix = f"open it over the model that it was made for: {read_config(folder).get('base_model_name_or_path')}"
    if not tensors:
        raise ModelError("the adapter is empty", where=folder, fix="copy the whole folder again")
    for path in sorted({path for path, _ in tensors}):
        layer = layers.get(path)
        if not isinstance(layer, nn.Linear):
            raise ModelError("this adapter is of another base: no such layer here", where=folder, value=path, fix=fix)
        wide, out = layer.in_features, layer.out_features
        wanted: dict[str, tuple[int, ...]] = {"lora_A": (config.rank, wide), "lora_B": (out, config.rank)}
        wanted |= {"magnitude": (out,)} if config.dora else {}
        for key in NAMES:
            shape = tuple(tensors[path, key].shape) if (path, key) in tensors else None
            if shape != wanted.get(key):
                what = f"this adapter is of another base: {path}.{key} is {shape}, and {wanted.get(key)} fits here"
                raise ModelError(what, where=folder, fix=fix)


def check_base(net: nn.Module, folder: Path) -> None:
    """Refuse a base whose weights are not those that the adapter was trained on, where it says which those were.

    Raises:
        ModelError: They are others.
    """
    wanted, state = metadata(folder).get("base_sha256"), plain_state(net)
    if wanted is None or any(tensor.dtype != torch.float32 for tensor in state.values()):
        return  # PEFT's do not say; and rounded weights are those of no file
    if hash_tensors(state) != wanted:
        fix = f"open it over the model that it was made for: {read_config(folder).get('base_model_name_or_path')}"
        raise ModelError("this adapter is of another base: the weights differ", where=folder, fix=fix)
