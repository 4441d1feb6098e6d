import pytest
import torch

from makar.train.muon import Muon, orthogonalize


def test_singular_values_come_near_one_and_directions_stay():
    torch.manual_seed(0)
    matrices = torch.randn(3, 24, 40)
    made = orthogonalize(matrices, torch.float32)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    core = left.mT @ made @ right.mT  # diagonal in the bases of the argument
    diagonal = core.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.3
    assert (core - torch.diag_embed(diagonal)).abs().max() < 1e-4


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (20, 8)])
def test_a_batch_equals_its_matrices_one_by_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(5, *shape)
    alone = torch.cat([orthogonalize(m[None], torch.float32) for m in matrices])
    assert torch.allclose(orthogonalize(matrices, torch.float32), alone, atol=1e-5)
    assert torch.allclose(orthogonalize(matrices * 100, torch.float32), alone, atol=1e-5)  # scale does not matter


def test_nothing_comes_of_nothing():
    assert not orthogonalize(torch.zeros(1, 4, 4), torch.float32).any()


def test_the_update_has_the_size_of_adamws():
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.zeros(64, 256))
    matrix.grad = torch.randn(64, 256)
    Muon([matrix], lr=1.0, weight_decay=0.0, dtype=torch.float32).step()
    assert matrix.detach().square().mean().sqrt() == pytest.approx(0.2, rel=0.15)


def test_equals_torch_muon_where_the_definitions_coincide():
    torch.manual_seed(0)
    shapes = [(16, 16), (16, 48), (16, 48), (48, 16)]
    start = [torch.randn(shape) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(t.clone()) for t in start] for _ in range(2))
    one = Muon(ours, lr=0.02, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        one.step()
        other.step()
    for a, b, s in zip(ours, theirs, start, strict=True):
        moved = (b - s).norm()
        assert (a - b).norm() < 0.02 * moved  # both iterate in bf16; the batched one rounds elsewhere
