"""Players and their optimizers: who is trained, by what, and what of it goes into a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from makar.core.errors import ModelError
from makar.train.config import Optimizer
from makar.train.muon import Muon


@dataclass(frozen=True)
class Player:
    """A submodule that takes its turn, with the optimizers of its parameters.

    Args:
        path: Of the submodule in the net; "" for the whole net.
        parameters: By name in the net; frozen ones are left out.
        optimizers: Each parameter belongs to exactly one.
    """

    path: str
    parameters: Mapping[str, nn.Parameter]
    optimizers: Sequence[torch.optim.Optimizer]

    def label(self, name: str) -> str:
        """The name of one of its numbers: "loss" of the whole net, "critic/loss" of a part."""
        return f"{self.path}/{name}" if self.path else name


def make_player(
    net: nn.Module, path: str, blocks: Sequence[nn.Module], config: Optimizer, compute: torch.dtype
) -> Player:
    """Give a submodule its optimizers.

    Args:
        net: The whole net.
        path: Of the submodule.
        blocks: The repeated units; Muon takes their matrices.
        config: Which optimizer, and its numbers.
        compute: In which dtype Muon iterates.

    Raises:
        ModelError: All of it is frozen.
    """
    inside = {id(p) for p in net.get_submodule(path).parameters()}
    parameters = {name: p for name, p in net.named_parameters() if id(p) in inside and p.requires_grad}
    if not parameters:
        fix = "leave a layer unfrozen, or add an adapter"
        raise ModelError(f"nothing of {path or 'the net'!r} can be trained: all of it is frozen", fix=fix)
    repeated = {id(p) for block in blocks for p in block.parameters()}
    by_muon = [p for p in parameters.values() if config.name == "muon" and p.ndim == 2 and id(p) in repeated]
    taken = {id(p) for p in by_muon}
    rest = [p for p in parameters.values() if id(p) not in taken]
    optimizers: list[torch.optim.Optimizer] = []
    if by_muon:
        optimizers.append(Muon(by_muon, config.learning_rate, config.weight_decay, dtype=compute))
    if rest:
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizers.append(
            torch.optim.AdamW(
                [g for g in groups if g["params"]],
                lr=config.learning_rate,
                betas=config.betas,
                eps=config.epsilon,
                fused=True,
            )
        )
    return Player(path, parameters, optimizers)


def optimizer_state(player: Player) -> dict[str, Tensor]:
    """The optimizers' memory as tensors by name."""
    found: dict[str, Tensor] = {}
    for optimizer in player.optimizers:
        for name, parameter in player.parameters.items():
            for key, value in optimizer.state.get(parameter, {}).items():
                found[f"{name}.{key}"] = value
    return found


def load_optimizer_state(player: Player, tensors: Mapping[str, Tensor]) -> None:
    """Put the optimizers' memory back; what is not in `tensors` is forgotten."""
    owner = {id(p): o for o in player.optimizers for group in o.param_groups for p in group["params"]}
    for optimizer in player.optimizers:
        optimizer.state.clear()
    for full, value in tensors.items():
        name, key = full.rsplit(".", 1)
        parameter = player.parameters[name]
        owner[id(parameter)].state[parameter][key] = value.to(parameter.device, copy=True)
