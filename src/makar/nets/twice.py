"""Convolutions whose gradient is differentiated again, as a penalty on a critic's gradient does, without waste.

PyTorch's own second derivative of a convolution forms the gradient of its weights as a convolution with a kernel as
large as the picture, group by group, over transposed copies; the kernel that the first derivative has for it gives the
same numbers much sooner.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Images = Float[Tensor, "rows channels high wide"]
Convolved = Float[Tensor, "rows after tall broad"]

WEIGHTS_WANTED = [True]
"""Whether a first derivative forms the gradients of weights; a stack of one, set by `of_inputs_only`."""


@contextmanager
def of_inputs_only() -> Generator[None]:
    """Gradients of convolutions are those of their inputs alone: a penalty's first derivative needs no more."""
    before, WEIGHTS_WANTED[0] = WEIGHTS_WANTED[0], False
    try:
        yield
    finally:
        WEIGHTS_WANTED[0] = before


@contextmanager
def frozen(net: nn.Module) -> Generator[None]:
    """What the net says now has no gradient in its weights, and none is formed on the way to its inputs."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def backward(grad: Tensor, x: Tensor, weight: Tensor, shape: tuple[int, int], mask: list[bool]) -> Any:
    """The gradients of a convolution's input, weights and bias, as far as the mask asks for them."""
    padding, groups = shape
    sizes = [weight.shape[0]] if mask[2] else None
    one, none, pads = [1, 1], [0, 0], [padding, padding]
    return torch.ops.aten.convolution_backward(grad, x, weight, sizes, one, pads, one, False, none, groups, mask)  # noqa: FBT003


class Convolve(torch.autograd.Function):
    """A convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: tuple[int, int]) -> Tensor:
        """Of stride 1; the shape is padding and groups."""
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        return torch.conv2d(x, weight, bias, 1, shape[0], 1, shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradient of the input alone can be differentiated again."""
        (grad,), (x, weight) = grads, ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        if not WEIGHTS_WANTED[0]:
            return InputGradient.apply(grad, weight, x, ctx.shape) if wants_x else None, None, None, None
        return *backward(grad, x, weight, ctx.shape, [wants_x, wants_weight, wants_bias]), None


class InputGradient(torch.autograd.Function):
    """The gradient of a convolution's input: linear in the gradient that comes in, and in the weights."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor, x: Tensor, shape: tuple[int, int]) -> Tensor:
        """What goes on to the input; of the input itself only the size matters."""
        ctx.save_for_backward(grad, weight)
        ctx.shape = shape
        return backward(grad, x, weight, shape, [True, False, False])[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """As the convolution's own, with the parts of input and gradient exchanged."""
        (again,), (grad, weight), (padding, groups) = grads, ctx.saved_tensors, ctx.shape
        onward = torch.conv2d(again, weight, None, 1, padding, 1, groups) if ctx.needs_input_grad[0] else None
        of_weight = backward(grad, again, weight, ctx.shape, [False, True, False])[1]
        return onward, of_weight, None, None


@final
class Convolution(nn.Conv2d):
    """A convolution of stride 1, to be differentiated once, or in its input twice."""

    def forward(self, input: Images) -> Convolved:  # noqa: A002
        """The convolution; without gradient, or in half precision with its casts, PyTorch's own."""
        # A product over channels, which lie side by side in the order that nets here use.
        if self.kernel_size == (1, 1) and self.groups == 1:
            return F.linear(input.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        if not torch.is_grad_enabled() or input.is_meta or torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        assert isinstance(self.padding, tuple), "a number of places"
        assert self.stride == (1, 1), "no critic of ours has another"
        return Convolve.apply(input, self.weight, self.bias, (self.padding[0], self.groups))  # pyright: ignore[reportReturnType]
