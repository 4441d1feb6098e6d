"""The reward model: what it learns, its folder, and transformers' opinion of it."""

import math

import pytest
import torch

from makar.align.reward_model import BradleyTerry, from_language, judge_of, load, save
from makar.align.rewards import Case, earn, make_rewards
from makar.codecs.bpe import SMALLEST, train_bpe
from makar.core.errors import InputError, ModelError
from makar.data.table import TensorSource
from makar.engine.load import open_model
from makar.train.config import TrainConfig
from makar.train.loop import fit
from makar.train.metrics import read_metrics
from tests.align.support import VOCAB, pairs, run, tiny, writer

torch.set_num_threads(1)


@pytest.mark.parametrize(("kind", "more"), [("Llama", {}), ("Qwen3", {"qk_norm": True})])
def test_transformers_gives_the_same_rewards_and_losses(tmp_path, kind, more):
    transformers = pytest.importorskip("transformers")
    model = from_language(tiny(**more), seed=1)
    save(model, tmp_path)
    net = getattr(transformers, f"{kind}ForSequenceClassification").from_pretrained(tmp_path)
    batch = pairs()
    batch["rejected_tokens"][:, 0] = batch["chosen_tokens"][:, 0]
    scores = []
    for side in ("chosen", "rejected"):
        tokens, mask = batch[f"{side}_tokens"], batch[f"{side}_loss_mask"]
        attention = (mask.flip(1).long().cumsum(1).flip(1) > 0).long()
        scores.append(net(tokens * attention, attention_mask=attention).logits.squeeze(1))
    loss = -torch.nn.functional.logsigmoid(scores[0] - scores[1]).mean()
    loss.backward()
    value, logs, gradients = run(BradleyTerry(), model, batch)
    assert value == pytest.approx(float(loss.detach()), abs=1e-5)
    assert logs["accuracy"] == pytest.approx(float((scores[0] > scores[1]).float().mean()))
    theirs = dict(net.named_parameters())
    assert gradients.keys() == theirs.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, theirs[name].grad, rtol=1e-5, atol=1e-5)
    again = load(tmp_path)
    assert all(torch.equal(t, again.net.state_dict()[name]) for name, t in model.net.state_dict().items())


def test_micro_batches_add_up():
    model = from_language(tiny(), seed=1)
    whole, parts = run(BradleyTerry(), model, pairs(5)), run(BradleyTerry(), model, pairs(5), 2)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert parts[1] == pytest.approx(whole[1], rel=1e-4, abs=1e-6)


def test_it_learns_which_token_people_like(tmp_path):
    """Answers that hold token 3 are preferred; new pairs are told apart."""
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, VOCAB, (2, 300, 8), generator=rng)
    place = torch.randint(4, 8, (300,), generator=rng)
    tokens[0, torch.arange(300), place] = 3
    mask = torch.zeros(300, 8, dtype=torch.bool)
    mask[:, 4:] = True
    columns = {
        "chosen_tokens": tokens[0], "chosen_loss_mask": mask, "rejected_tokens": tokens[1], "rejected_loss_mask": mask,
    }  # fmt: skip
    train = TensorSource({name: t[:256] for name, t in columns.items()}, 0)
    model = from_language(tiny(scale=1.0, width=32), seed=1)
    config = TrainConfig(steps=40, batch_size=32, compile="off", optimizer={"learning_rate": 0.01})
    fit(model, train, BradleyTerry(), config, seed=0, folder=tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=0.05)
    _, logs, _ = run(BradleyTerry(), model, {name: t[256:] for name, t in columns.items()})
    assert logs["accuracy"] >= 0.85


def test_it_judges_answers_alone_as_in_a_batch(tmp_path):
    model = from_language(writer(), seed=1)
    save(model, tmp_path)
    rewards = make_rewards({"model": {"path": str(tmp_path), "weight": 2.0}})
    cases = [Case("", "", ids=tuple(range(20, 20 + n))) for n in (3, 9, 5)]
    together = earn(rewards, cases)["model"]
    alone = [judge_of(str(tmp_path))([case])[0] for case in cases]
    assert together == pytest.approx(alone, abs=1e-5)
    with torch.no_grad():
        wanted = model.net(torch.tensor([cases[1].ids]), torch.tensor([8]))
    assert together[1] == pytest.approx(float(wanted), abs=1e-5)
    with pytest.raises(InputError, match="too long for the reward model"):
        earn(rewards, [Case("", "", ids=tuple(range(40)))])


def test_a_language_model_is_no_reward_model(tmp_path):
    model = tiny()
    model.family.folder.save(model, tmp_path)
    with pytest.raises(ModelError, match="no reward model"):
        load(tmp_path)


def test_a_reward_model_is_no_language_model_and_says_so(tmp_path):
    save(from_language(writer(0), seed=1), tmp_path)
    with pytest.raises(ModelError, match=r"this is a reward model: .*; let it judge, \[reward\] model = "):
        open_model(tmp_path)


def test_another_tokenizer_than_it_was_made_with_is_refused(tmp_path):
    save(from_language(writer(), seed=1), tmp_path)
    train_bpe(["moon moon"], SMALLEST + 1).save(tmp_path)
    with pytest.raises(ModelError, match="the tokenizer is not the one of these weights"):
        load(tmp_path)
