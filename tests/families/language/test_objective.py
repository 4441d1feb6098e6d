import pytest
import torch
import torch.nn.functional as F

from makar.core.errors import RecipeError
from makar.core.nouns import Model
from makar.core.random import Rng
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.families.language.logprob import TokenLogProb
from makar.families.language.objective import NextToken
from makar.nets.decoder import Decoder

RNG = Rng(0, 0, torch.arange(3))


@pytest.fixture
def model() -> Model:
    config = LanguageConfig(vocab_size=29, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(0)
    return Model(FAMILY, config, Decoder(config))


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    segments = torch.tensor([[0] * 11, [0] * 4 + [1] * 7, [0] * 10 + [1]], dtype=torch.int32)
    return {"tokens": torch.randint(0, 29, (3, 11), generator=generator), "segments": segments}


def test_the_loss_is_the_cross_entropy_of_the_next_token(model, batch):
    found = NextToken()(model, batch, "", RNG)
    logits = model.net(batch["tokens"][:, :-1], batch["segments"][:, :-1])
    wanted = F.cross_entropy(logits.flatten(0, 1), batch["tokens"][:, 1:].flatten(), reduction="sum")
    assert found.count == 30
    assert torch.allclose(found.sum, wanted, rtol=1e-5)
    parameters = list(model.net.parameters())
    for ours, theirs in zip(*(torch.autograd.grad(x, parameters) for x in (found.sum, wanted)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_without_segments_a_row_is_one_document(model, batch):
    whole = NextToken()(model, {"tokens": batch["tokens"]}, "", RNG)
    one = NextToken()(model, batch | {"segments": torch.zeros_like(batch["segments"])}, "", RNG)
    packed = NextToken()(model, batch, "", RNG)
    assert torch.allclose(whole.sum, one.sum, rtol=1e-6)
    assert not torch.allclose(whole.sum, packed.sum, rtol=1e-6)


def test_micro_batches_add_up(model, batch):
    whole = NextToken()(model, batch, "", RNG)
    parts = [NextToken()(model, {k: v[i : i + 1] for k, v in batch.items()}, "", RNG) for i in range(3)]
    assert sum(part.count for part in parts) == whole.count
    assert torch.allclose(sum(part.sum for part in parts), whole.sum, rtol=1e-6)


def test_a_loss_mask_says_which_tokens_are_learned(model, batch):
    mask = torch.zeros_like(batch["tokens"], dtype=torch.bool)
    mask[0, 0], mask[1, 3], mask[2, 10] = True, True, True  # the first token of a row is never predicted
    found = NextToken()(model, batch | {"loss_mask": mask}, "", RNG)
    values, counted = TokenLogProb()(model, batch, RNG)
    assert found.count == 2
    assert torch.allclose(found.sum, -(values[1, 2] + values[2, 9]), rtol=1e-6)
    values, counted = TokenLogProb()(model, batch | {"loss_mask": mask}, RNG)
    assert counted.nonzero().tolist() == [[1, 2], [2, 9]]
    assert values[~counted].eq(0).all()


def test_log_probabilities_are_those_of_the_logits(model, batch):
    values, counted = TokenLogProb()(model, batch, RNG)
    logits = model.net(batch["tokens"][:, :-1], batch["segments"][:, :-1])
    wanted = logits.log_softmax(-1).gather(2, batch["tokens"][:, 1:, None])[..., 0]
    assert counted.all()
    assert torch.allclose(values, wanted, atol=1e-6)
    slopes = (torch.autograd.grad(v.square().sum(), model.net.output_weight)[0] for v in (values, wanted))
    assert torch.allclose(*slopes, atol=1e-4)


def test_the_tiny_problem_is_learned_in_150_steps():
    config, source = FAMILY.tiny()
    torch.manual_seed(0)
    model = Model(FAMILY, config, FAMILY.build(config))
    optimizer = torch.optim.AdamW(model.net.parameters(), 3e-3)
    losses = []
    for step in range(150):
        loss = NextToken()(model, source.batch(step, 8), "", Rng(0, step, torch.arange(8)))
        (loss.sum / loss.count).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append((loss.sum / loss.count).item())
    assert losses[0] > 2.5
    assert sum(losses[-10:]) / 10 < 0.2  # the second token of a row cannot be known: ln 2 in one place of twelve


def shaken_embedding(model, batch, noise):
    """What the noise adds to the embedding of each token."""
    seen, embedding = [], model.net.model.embed_tokens
    hook = model.net.model.layers[0].register_forward_pre_hook(lambda _net, given: seen.append(given[0].detach()))
    NextToken(noise=noise)(model, batch, "", RNG)
    hook.remove()
    return seen[0] - embedding.weight[batch["tokens"][:, :-1]].detach()


def test_noise_is_uniform_with_the_width_of_the_paper(model, batch):
    """5 / √(length · width), the length being that of a token's own document."""
    model.net.train()
    shift = shaken_embedding(model, batch, 5.0)
    for row, start, stop in ((0, 0, 10), (1, 0, 4), (1, 4, 10), (2, 0, 10)):
        most, part = 5.0 / ((stop - start) * 16) ** 0.5, shift[row, start:stop]
        assert 0.8 * most < part.abs().max() <= most + 1e-6
        assert part.mean().abs() < 0.25 * most
        assert part.std() == pytest.approx(most / 3**0.5, rel=0.2)
    plain = shaken_embedding(model, {"tokens": batch["tokens"]}, 5.0)
    assert torch.allclose(plain[0], shift[0], atol=1e-6)


def test_noise_is_a_function_of_seed_step_and_row(model, batch):
    model.net.train()
    objective = NextToken(noise=5.0)
    whole = objective(model, batch, "", RNG).sum
    parts = [
        objective(model, {name: t[rows] for name, t in batch.items()}, "", RNG.at(torch.tensor(rows))).sum
        for rows in ([0, 1], [2])
    ]
    assert torch.allclose(sum(parts), whole, rtol=1e-6)
    assert torch.equal(objective(model, batch, "", RNG).sum, whole)
    assert not torch.allclose(objective(model, batch, "", Rng(0, 1, RNG.rows)).sum, whole, rtol=1e-4)
    assert not torch.allclose(NextToken()(model, batch, "", RNG).sum, whole, rtol=1e-4)


def test_noise_is_for_training_alone(model, batch):
    model.net.eval()
    assert torch.equal(NextToken(noise=5.0)(model, batch, "", RNG).sum, NextToken()(model, batch, "", RNG).sum)
    with pytest.raises(RecipeError, match="noise cannot be negative"):
        NextToken(noise=-1.0)
