"""Adapters of linear layers: small, many on one net, chosen for each row.

`attach` puts them beside the linear layers of a net's blocks, whose own weights keep their names and their values; a
fresh adapter changes nothing. What answers is the adapter attached last, unless `answering` says otherwise.

Paper: arXiv 2106.09685, section 4.1; rsLoRA: arXiv 2312.03732, eq. 6; DoRA: arXiv 2402.09353, eq. 5 and section 4.3.
"""

import math
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.core.config import nearest
from makar.core.errors import InputError, RecipeError
from makar.nets.lora_config import LoraConfig

BASE = "base"
"""The name under which a request asks for the net without any adapter."""

DEFAULT = "default"
"""The name of an adapter that nobody named."""

Chosen = tuple[tuple[str, Int[Tensor, " some"] | None], ...]
"""Who answers: adapters with the rows that are theirs (None: all of them); rows of nobody are the base's."""


@dataclass
class Adapters:
    """What all adapted layers of a net share.

    Args:
        configs: Of the adapters, by name.
        chosen: Who answers now.
        merged: The adapter that the weights themselves hold at present.
    """

    configs: dict[str, LoraConfig] = field(default_factory=dict[str, LoraConfig])
    chosen: Chosen = ()
    merged: str | None = None


class Adapter(nn.Module):
    """One adapter of one layer: `scale` B A, and for DoRA the lengths of the rows. A fresh one changes nothing."""

    def __init__(self, layer: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        weight = layer.weight
        self.lora_A = nn.Parameter(weight.new_empty(config.rank, layer.in_features))
        self.lora_B = nn.Parameter(weight.new_zeros(layer.out_features, config.rank))
        self.magnitude = nn.Parameter(weight.new_empty(layer.out_features)) if config.dora else None
        self.scale, self.dropout = config.scale, config.dropout
        if weight.is_meta:  # a skeleton has nothing to fill
            return
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        if self.magnitude is not None:
            self.magnitude.data = weight.detach().norm(dim=1)

    def forward(
        self,
        x: Float[Tensor, "*rows wide"],
        y: Float[Tensor, "*rows out"],
        weight: Float[Tensor, "out wide"],
        bias: Float[Tensor, " out"] | None,
    ) -> Float[Tensor, "*rows out"]:
        """What the layer gives for `x`, from the `y` that it gives without the adapter."""
        low = F.linear(self.scale * F.linear(F.dropout(x, self.dropout, self.training), self.lora_A), self.lora_B)
        if self.magnitude is None:
            return y + low
        stretch = self.stretch(weight).to(y.dtype)
        return stretch * (y + low) if bias is None else stretch * (y - bias + low) + bias

    def delta(self) -> Float[Tensor, "out wide"]:
        """What the product adds to the weight."""
        with torch.autocast(self.lora_A.device.type, enabled=False):
            return self.scale * (self.lora_B @ self.lora_A)

    def stretch(self, weight: Float[Tensor, "out wide"]) -> Float[Tensor, " out"]:
        """What each row is stretched by; the length that divides counts as a constant (DoRA, section 4.3)."""
        if self.magnitude is None:
            return weight.new_ones(len(weight))
        with torch.no_grad():
            length = (weight + self.delta()).norm(dim=1)
        return self.magnitude / length


class AdaptedLinear(nn.Linear):
    """A linear layer with adapters beside it; its own weight and bias are those that it had, under their names."""

    def __init__(self, layer: nn.Linear, shared: Adapters) -> None:
        nn.Module.__init__(self)  # nothing to fill
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.adapters = nn.ModuleDict()
        self.shared = shared
        self.stretched: Tensor | None = None

    def forward(self, input: Float[Tensor, "*rows wide"]) -> Float[Tensor, "*rows out"]:
        """The layer's own product, and what the chosen adapters make of it."""
        y = super().forward(input)
        for name, rows in self.shared.chosen:
            if name not in self.adapters:
                continue
            adapter = self.adapters[name]
            if rows is None:
                y = adapter(input, y, self.weight, self.bias)
            else:
                y = y.index_copy(0, rows, adapter(input[rows], y[rows], self.weight, self.bias).to(y.dtype))
        return y

    def with_adapter(self, name: str | None) -> Float[Tensor, "out wide"]:
        """The weight that does what the layer does with an adapter."""
        if name is None or name not in self.adapters:
            return self.weight
        adapter = cast(Adapter, self.adapters[name])
        return adapter.stretch(self.weight)[:, None] * (self.weight + adapter.delta())

    def absorb(self, name: str) -> None:
        """Let the weight hold what an adapter does."""
        if name in self.adapters:
            self.stretched = cast(Adapter, self.adapters[name]).stretch(self.weight)
            self.weight.copy_(self.with_adapter(name))

    def release(self, name: str) -> None:
        """Take back what `absorb` did."""
        if self.stretched is not None:
            self.weight.copy_(self.weight / self.stretched[:, None] - cast(Adapter, self.adapters[name]).delta())
            self.stretched = None


def attach(net: nn.Module, blocks: Sequence[nn.Module], config: LoraConfig, name: str = DEFAULT) -> list[str]:
    """Put a fresh adapter beside linear layers, and let it answer from now on.

    Args:
        net: Changed in place; its A matrices come from torch's global generator.
        blocks: The units inside which layers are looked for, so that embeddings and outputs stay as they are.
        config: The adapter's.
        name: Of the adapter.

    Returns:
        The paths of the layers in the net.

    Raises:
        RecipeError: A target names no linear layer of the blocks, or the name is taken or cannot be one.
    """
    shared = cast(Adapters, net.__dict__.setdefault("adapters_shared", Adapters()))
    if name in (*shared.configs, BASE) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        fix = f"name it by letters, digits, _ and -, and not {', '.join((*shared.configs, BASE))}"
        raise RecipeError("this cannot be the name of the adapter", value=name, fix=fix)
    inside = {id(module) for block in blocks for module in block.modules()}
    linear = {path: m for path, m in net.named_modules() if isinstance(m, nn.Linear) and id(m) in inside}
    picked = {path: m for path, m in linear.items() if not config.targets or any(fits(path, t) for t in config.targets)}
    lost = next((target for target in config.targets if not any(fits(path, target) for path in picked)), None)
    if lost is not None or not picked:
        known = sorted({path.rpartition(".")[2] for path in linear})
        raise RecipeError("the blocks have no such linear layer", where="adapter.targets", value=lost,
                          fix=nearest(lost or "", known))  # fmt: skip
    for path, layer in picked.items():
        adapted = layer if isinstance(layer, AdaptedLinear) else AdaptedLinear(layer, shared)
        adapted.adapters[name] = Adapter(layer, config)
        adapted.train(layer.training)
        parent, _, last = path.rpartition(".")
        setattr(net.get_submodule(parent), last, adapted)
    shared.configs[name] = config
    shared.chosen = ((name, None),)
    return list(picked)


def fits(path: str, target: str) -> bool:
    """Whether a target names a module: by its whole path, or by the end of it."""
    return path == target or path.endswith(f".{target}")


def adapters_of(net: nn.Module) -> Mapping[str, LoraConfig]:
    """The adapters of a net by name, in the order in which they were attached; empty for a net without any."""
    shared = shared_of(net)
    return shared.configs if shared else {}


def shared_of(net: nn.Module) -> Adapters | None:
    """What the adapted layers of a net share; None for a net without any."""
    return net.__dict__.get("adapters_shared")


def active(net: nn.Module) -> str | None:
    """The adapter that answers for all rows; None where that is the net without any.

    Rows that differ are not asked about: see `differing`.
    """
    shared = shared_of(net)
    return shared.chosen[0][0] if shared and shared.chosen else None


def differing(net: nn.Module) -> bool:
    """Whether rows are answered by different adapters."""
    shared = shared_of(net)
    return shared is not None and any(rows is not None for _, rows in shared.chosen)


@contextmanager
def answering(net: nn.Module, names: str | Sequence[str | None]) -> Generator[None]:
    """Let adapters answer for a while.

    Args:
        net: Whose layers are asked.
        names: One for all rows, or one for each row of what the net is given: an adapter, `BASE` for the net without
            any, None for what answers anyway. Names that are all alike hold for any number of rows.

    Raises:
        InputError: The net has no adapter of that name.
    """
    wanted = [name or active(net) or BASE for name in ([names] if isinstance(names, str) else names)]
    for name in wanted:
        check_name(net, name)
    shared = shared_of(net)
    if shared is None:
        yield
        return
    before, device = shared.chosen, next(net.parameters()).device
    groups = {name: [row for row, other in enumerate(wanted) if other == name] for name in wanted if name != BASE}
    alike = len(set(wanted)) == 1
    shared.chosen = tuple((name, None if alike else torch.tensor(rows, device=device)) for name, rows in groups.items())
    try:
        yield
    finally:
        shared.chosen = before


def check_name(net: nn.Module, name: str) -> None:
    """Refuse an adapter that a net does not have.

    Raises:
        InputError: Says which there are.
    """
    known = [BASE, *adapters_of(net)]
    if name not in known:
        raise InputError("the model has no such adapter", value=name, fix=nearest(name, known))


def adapter_parameters(net: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The parameters of an adapter: the layer's path, and lora_A, lora_B or magnitude."""
    found: dict[str, nn.Parameter] = {}
    for path, layer in adapted_layers(net).items():
        if name in layer.adapters:
            found |= {f"{path}.{key}": parameter for key, parameter in layer.adapters[name].named_parameters()}
    return found


def answering_weight(layer: nn.Linear) -> Tensor:
    """The weight that does what a layer does, with the adapter that answers for all rows where there is one."""
    if not isinstance(layer, AdaptedLinear):
        return layer.weight
    chosen = layer.shared.chosen
    return layer.with_adapter(chosen[0][0] if chosen else None)


def train_only(net: nn.Module, name: str) -> None:
    """Freeze all of a net but one adapter."""
    net.requires_grad_(False)
    for parameter in adapter_parameters(net, name).values():
        parameter.requires_grad_(True)


def adapted_layers(net: nn.Module) -> dict[str, AdaptedLinear]:
    """The layers that have adapters, by path."""
    return {path: layer for path, layer in net.named_modules() if isinstance(layer, AdaptedLinear)}


def plain_state(net: nn.Module, name: str | None = None) -> dict[str, Tensor]:
    """The tensors that a net without adapters has, where its weights hold what one of them does.

    Args:
        net: With adapters or without.
        name: Which; None for the base alone.
    """
    layers = adapted_layers(net)
    state = {key: t for key, t in net.state_dict().items() if key.partition(".adapters.")[0] not in layers}
    return state | {f"{path}.weight": layer.with_adapter(name).detach() for path, layer in layers.items()}


@torch.no_grad()
def merge(net: nn.Module, name: str = DEFAULT) -> None:
    """Let the weights hold what an adapter does, so that it costs nothing: see `unmerge`."""
    shared = shared_of(net)
    assert shared is not None, "there is an adapter"
    assert shared.merged is None, "none is merged yet"
    for layer in adapted_layers(net).values():
        layer.absorb(name)
    shared.merged, shared.chosen = name, ()


@torch.no_grad()
def unmerge(net: nn.Module) -> None:
    """Take what `merge` did back, up to rounding, and let the adapter answer from beside again."""
    shared = shared_of(net)
    assert shared is not None, "there is an adapter"
    assert shared.merged is not None, "it is merged"
    for layer in adapted_layers(net).values():
        layer.release(shared.merged)
    shared.merged, shared.chosen = None, ((shared.merged, None),)
