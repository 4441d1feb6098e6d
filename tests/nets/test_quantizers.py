"""Quantizers: their codes by hand, their averages by arithmetic, and another library's numbers."""

import pytest
import torch
from vector_quantize_pytorch import FSQ, LFQ, VectorQuantize

from makar.core.random import Rng
from makar.nets.autoencoder_config import FSQBottleneck, LFQBottleneck, VQBottleneck
from makar.nets.quantizers import SHARE, quantizer_of, tokens

NECKS = (VQBottleneck(num_vq_embeddings=6, vq_embed_dim=3), FSQBottleneck(levels=(4, 3, 2)), LFQBottleneck(bits=3))
EACH = pytest.mark.parametrize("neck", NECKS, ids=lambda neck: neck.kind)


def stream(rows):
    return Rng(0, 0, torch.arange(rows))


def fresh(neck):
    torch.manual_seed(0)
    return quantizer_of(neck)


def latents(rows=4, side=5, width=3, seed=1):
    return torch.randn(rows, width, side, side, generator=torch.Generator().manual_seed(seed))


@EACH
def test_a_code_s_values_are_its_line_of_the_codebook(neck):
    quantize = fresh(neck)
    if neck.kind == "vq":
        quantize.prepare(latents(), stream(4))
    found = quantize(latents())
    assert found.codes.shape == (4, 5, 5)
    assert quantize.codebook.shape == (neck.codes, neck.latent_channels)
    torch.testing.assert_close(quantize.values(found.codes), found.values, atol=1e-6, rtol=0)
    torch.testing.assert_close(quantize.codebook[found.codes].movedim(-1, 1), found.values, atol=1e-6, rtol=0)


@EACH
def test_every_code_is_the_code_of_its_own_values(neck):
    """Codes enumerate exactly; values of FSQ come back through its bound, whose inverse is taken here."""
    quantize = fresh(neck)
    book = quantize.codebook
    if neck.kind == "fsq":
        levels = torch.tensor(neck.levels)
        half, offset = (levels - 1) * 1.001 / 2, (levels % 2 == 0) * 0.5
        book = ((book * (levels // 2) + offset) / half).clamp(-0.9999, 0.9999).atanh() - (offset / half).atanh()
    found = quantize(book.T[None, :, None])
    assert found.codes.flatten().tolist() == list(range(neck.codes))


def test_levels_are_what_the_paper_says():
    book = fresh(FSQBottleneck(levels=(3, 4))).codebook
    assert book[:, 0].unique().tolist() == [-1, 0, 1]
    assert book[:, 1].unique().tolist() == [-1, -0.5, 0, 0.5]


@EACH
def test_gradients_pass_straight_through(neck):
    """Of VQ and LFQ as they are; of FSQ as those of its bound, with no rounding."""
    quantize, z = fresh(neck), latents().requires_grad_()
    toward = latents(seed=2)
    (quantize(z).values * toward).sum().backward()
    wanted = toward
    if neck.kind == "fsq":
        levels = torch.tensor(neck.levels)[:, None, None]
        half, offset = (levels - 1) * 1.001 / 2, (levels % 2 == 0) * 0.5
        again = z.detach().clone().requires_grad_()
        (((again + (offset / half).atanh()).tanh() * half - offset) / (levels // 2) * toward).sum().backward()
        wanted = again.grad
    torch.testing.assert_close(z.grad, wanted)


def test_commitment_is_a_mean_square_whose_gradient_goes_to_the_vectors():
    quantize, z = fresh(NECKS[0]), latents().requires_grad_()
    found = quantize(z)
    found.commitment.sum().backward()
    gap = z.detach() - found.values.detach()
    torch.testing.assert_close(found.commitment, gap.square().flatten(1).mean(1))
    torch.testing.assert_close(z.grad, 2 * gap / gap[0].numel())
    assert not quantize.codebook.requires_grad


def begun(decay, revive=0.0):
    """A codebook with a past: each vector once."""
    quantize = fresh(VQBottleneck(num_vq_embeddings=6, vq_embed_dim=3, decay=decay, revive=revive))
    quantize.codebook.copy_(latents(1, 6, 3, seed=3)[0, :, 0].T)
    quantize.settle()
    return quantize


def test_one_step_without_memory_is_the_batch_s_means():
    quantize, z = begun(decay=0.0), latents()
    codes, before = quantize.nearest(tokens(z)), quantize.codebook.clone()
    quantize.prepare(z, stream(4))
    for code in range(6):
        chosen = tokens(z)[codes == code]
        wanted = chosen.mean(0) if len(chosen) else before[code]
        torch.testing.assert_close(quantize.codebook[code], wanted)


def test_averages_are_those_of_the_peer():
    quantize, z = begun(decay=0.9), latents()
    peer = VectorQuantize(
        dim=3, codebook_size=6, decay=0.9, threshold_ema_dead_code=0, eps=1e-12, accept_image_fmap=True
    )
    peer._codebook.embed.copy_(quantize.codebook[None])
    peer._codebook.embed_avg.copy_(quantize.codebook[None])
    peer._codebook.cluster_size.fill_(1)
    peer._codebook.initted.fill_(1)
    for seed in range(3):
        z = latents(seed=seed)
        wanted, codes, _ = peer.train()(z)
        found = quantize(z)  # the peer quantizes with the codebook of before the step
        assert torch.equal(found.codes, codes)
        torch.testing.assert_close(found.values, wanted)
        quantize.prepare(z, stream(4))
        torch.testing.assert_close(quantize.codebook, peer._codebook.embed[0], atol=1e-5, rtol=1e-5)


def test_levels_are_those_of_the_peer():
    neck = FSQBottleneck(levels=(8, 5, 4, 3))
    z = latents(width=4) * 3
    values, codes = FSQ(levels=[8, 5, 4, 3])(z)
    found = fresh(neck)(z)
    assert torch.equal(found.codes, codes.long())
    torch.testing.assert_close(found.values, values, atol=1e-5, rtol=0)


def test_entropy_is_that_of_the_peer():
    neck, z = LFQBottleneck(bits=4, temperature=0.5), latents(width=4)
    peer = LFQ(dim=4, codebook_size=16, diversity_gamma=1.0, entropy_loss_weight=1.0, commitment_loss_weight=0.0)
    wanted = peer.train()(z, inv_temperature=2.0).entropy_aux_loss
    quantize = fresh(neck)
    found = quantize.entropy(z, quantize.prepare(z, stream(4))[SHARE]).mean()
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_an_entropy_of_the_batch_is_a_sum_over_rows():
    """Its gradient, row by row, is the whole batch's own."""
    quantize = fresh(LFQBottleneck(bits=3))
    z = latents().requires_grad_()
    log_share = quantize.prepare(z, stream(4))[SHARE]
    whole = quantize.likely(z).mean(0)
    (wanted,) = torch.autograd.grad(-(whole * whole.log()).sum(), z)
    parts = [-(quantize.likely(z[row : row + 1]) * log_share[row]).sum() / 4 for row in range(4)]
    (found,) = torch.autograd.grad(torch.stack(parts).sum(), z)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)


def test_the_first_batch_fills_the_codebook():
    quantize, z = fresh(NECKS[0]), latents()
    quantize.prepare(z, stream(4))
    assert len(quantize(z).codes.unique()) == 6


def test_codes_that_nobody_uses_are_set_on_vectors_of_the_batch():
    quantize, z = begun(decay=0.5, revive=0.1), latents()
    quantize.codebook[2:] = 100.0
    quantize.settle()
    for step in range(12):
        quantize.prepare(z, Rng(0, step, torch.arange(4)))
    assert len(quantize(z).codes.unique()) == 6
    again = begun(decay=0.5, revive=0.1)
    again.codebook[2:] = 100.0
    again.settle()
    for step in range(12):
        again.prepare(z, Rng(0, step, torch.arange(4)))
    assert torch.equal(again.codebook, quantize.codebook)


def test_a_code_that_nobody_uses_is_set_where_the_squared_distance_says_whatever_its_number():
    """Vectors at distances 1, 2 and 3 are drawn as 1 to 4 to 9; many lie on a code and are never drawn."""
    far = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    z = torch.cat((torch.zeros(61, 3), far)).T.view(1, 3, 8, 8)
    counts = torch.zeros(3)
    for seed in range(300):
        quantize = fresh(VQBottleneck(num_vq_embeddings=6, vq_embed_dim=3, decay=0.999, revive=0.001))
        quantize.codebook.zero_()
        quantize.codebook[5] = 100.0
        quantize.settle()
        quantize.get_buffer("count")[5] = 0
        quantize.prepare(z, Rng(seed, 0, torch.zeros(1, dtype=torch.int64)))
        counts[torch.cdist(quantize.codebook[5:], far).argmin()] += 1
    torch.testing.assert_close(counts / 300, torch.tensor([1.0, 4.0, 9.0]) / 14, atol=0.08, rtol=0)
