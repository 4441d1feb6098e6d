"""Convolutions differentiated twice: PyTorch's own numbers, and only those that are asked for."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from makar.nets.twice import Convolution, Convolve, InputGradient, frozen, of_inputs_only


def plainly(layer, x):
    return nn.Conv2d.forward(layer, x)


def called(layer, x):
    return layer(x)


@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (1, 4), (3, 2), (3, 4), (5, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_penalty_on_the_gradient_has_the_gradient_that_pytorch_gives(kernel, groups, bias):
    torch.manual_seed(0)
    first = Convolution(4, 8, kernel, padding=kernel // 2, groups=groups, bias=bias).double()
    second = Convolution(8, 4, 3, padding=1, groups=groups, bias=bias).double()
    x, found = torch.randn(3, 4, 5, 5, dtype=torch.float64), []
    for call in (called, plainly):
        images = x.clone().requires_grad_()
        scores = call(second, torch.tanh(call(first, images))).square().sum()
        with of_inputs_only():
            (gradient,) = torch.autograd.grad(scores, images, create_graph=True)
        (scores + gradient.square().sum()).backward()
        weights = [*first.parameters(), *second.parameters()]
        found.append([parameter.grad.clone() for parameter in weights] + [images.grad])
        for parameter in weights:
            parameter.grad = None
    assert all(torch.allclose(one, other) for one, other in zip(*found, strict=True))


def test_the_gradient_of_the_input_is_right_in_both_of_its_parts():
    grad, x = torch.randn(2, 4, 3, 3, dtype=torch.float64), torch.randn(2, 2, 3, 3, dtype=torch.float64)
    weight = torch.randn(4, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda g, w: InputGradient.apply(g, w, x, (1, 2)), (grad.requires_grad_(), weight))


def test_only_inputs_are_asked_for_while_only_inputs_are_wanted():
    layer, x = Convolution(2, 2, 3, padding=1), torch.randn(1, 2, 4, 4, requires_grad=True)
    with of_inputs_only():
        layer(x).sum().backward()
    assert layer.weight.grad is None
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert x.grad is not None


def test_what_a_frozen_net_says_has_a_gradient_in_its_input_alone():
    layer, x = Convolution(2, 2, 3, padding=1), torch.randn(1, 2, 4, 4, requires_grad=True)
    layer.bias.requires_grad_(False)
    with frozen(layer):
        said = layer(x).sum()
    said.backward()
    assert x.grad is not None
    assert layer.weight.grad is None
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False)  # as it was


@pytest.mark.parametrize("kernel", [1, 3])
def test_in_half_precision_it_is_pytorchs_own(kernel):
    layer, x = Convolution(2, 2, kernel, padding=kernel // 2), torch.randn(1, 2, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
        assert torch.allclose(out, plainly(layer, x), atol=1e-2)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer.weight.grad is not None


def test_an_order_with_channels_last_is_kept():
    x = torch.randn(2, 4, 5, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    for layer in (Convolution(4, 8, 1), Convolution(4, 8, 3, padding=1, groups=2)):
        assert layer(x).is_contiguous(memory_format=torch.channels_last)
    assert isinstance(Convolve.apply(x, torch.randn(8, 2, 3, 3), None, (1, 2)), torch.Tensor)
