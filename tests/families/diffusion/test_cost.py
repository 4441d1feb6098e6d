"""The forecast of a step, against a real one."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.families.diffusion.conftest import make


@pytest.mark.parametrize("net", ["unet", "dit"])
@pytest.mark.parametrize("classes", [0, 3])
def test_parameters_and_operations_are_those_of_a_real_pass(net, classes):
    model = make(net, classes=classes)
    cost = model.family.cost(model.config, 1)
    assert cost.parameters == sum(parameter.numel() for parameter in model.net.parameters())
    labels = torch.tensor([1]) if classes else None
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # the fused kernel goes uncounted
        model.net(torch.randn(1, 1, 8, 8), torch.tensor([1.0]), labels)
    assert cost.flops == 3 * counter.get_total_flops()
    assert cost.units == ("images", 1)


@pytest.mark.parametrize("net", ["unet", "dit"])
def test_memory_is_what_backward_keeps(net):
    model, kept = make(net), {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.net.parameters()}

    def keep(tensor):
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        model.net(torch.randn(1, 1, 8, 8), torch.tensor([1.0]), torch.tensor([1]))
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert model.family.cost(model.config, 1).activations == pytest.approx(real, rel=0.25)
