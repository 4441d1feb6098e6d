"""What a net costs, counted by running it on tensors without memory behind them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from makar.core.nouns import Cost


@dataclass(frozen=True)
class Count:
    """What one forward pass needs.

    Args:
        parameters: Scalars in the net.
        flops: Floating-point operations of matrix products, convolutions and attention.
        kept: Bytes that backward needs beside the parameters, in float32.
    """

    parameters: int
    flops: int
    kept: int

    @property
    def cost(self) -> Cost:
        """A training step on a picture, where this was a pass for one."""
        return Cost(
            parameters=self.parameters,
            flops=3.0 * self.flops,  # backward does each product twice: for what came in and for the weights
            activations=float(self.kept),
            units=("images", 1),
            weight_flops=float(self.flops),
        )


def counted(build: Callable[[], nn.Module], *shapes: tuple[int, ...], whole: tuple[int, ...] = ()) -> Count:
    """Count a forward pass; nothing is computed.

    Args:
        build: Makes the net.
        shapes: Of its inputs.
        whole: Which of them hold whole numbers.
    """
    with torch.device("meta"):
        net = build()
        inputs = [
            torch.zeros(shape, dtype=torch.int64 if place in whole else torch.float32)
            for place, shape in enumerate(shapes)
        ]
    weights = {parameter.untyped_storage()._cdata for parameter in net.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage()._cdata
        if place not in weights:
            kept[place] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        net(*inputs)
    return Count(
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        flops=counter.get_total_flops(),
        kept=sum(tensor.untyped_storage().nbytes() for tensor in kept.values()),
    )
