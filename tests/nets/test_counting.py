import torch
from torch import nn

from makar.nets.counting import counted


def test_products_and_what_backward_needs_are_counted_without_memory():
    count = counted(lambda: nn.Sequential(nn.Linear(1000, 2000), nn.Sigmoid(), nn.Linear(2000, 10)), (3, 1000))
    assert count.parameters == 1000 * 2000 + 2000 + 2000 * 10 + 10
    assert count.flops == 2 * 3 * (1000 * 2000 + 2000 * 10)
    assert count.kept == 4 * 3 * (
        1000 + 2000
    )  # what goes in; what comes out of the sigmoid, once for both that need it


def test_whole_numbers_go_in_too():
    assert counted(lambda: nn.Embedding(7, 5), (4,), whole=(0,)).parameters == 35


def test_the_count_is_that_of_a_real_pass():
    net, kept = nn.Conv2d(3, 8, 3), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        net(torch.randn(2, 3, 9, 9))
    real = sum(x.nbytes for x in kept if x.data_ptr() != net.weight.data_ptr())
    assert counted(lambda: nn.Conv2d(3, 8, 3), (2, 3, 9, 9)).kept == real
