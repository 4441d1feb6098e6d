"""The judge of scenes: what counts as right, what it learns from, and that it is trained once."""

from dataclasses import replace

import pytest
import torch

from makar.core.nouns import Model
from makar.core.random import Rng, numpy_rng
from makar.data.fetch import fetch
from makar.data.scene_drawing import draw, sprites_of
from makar.data.scene_things import COLOURS, Scene
from makar.evaluate import judge, reliability
from makar.evaluate.judge import (
    ANSWERS,
    JUDGE,
    MALFORMED,
    SPOILT,
    UNKNOWN,
    JudgeConfig,
    JudgeLoss,
    JudgeRows,
    Verdicts,
    agreement,
    answers_to,
    build,
    judge_of,
    judged,
    wanted_of,
    worn,
)  # fmt: skip
from makar.evaluate.reliability import passes_another, reliability_section
from tests.emoji import draw_set

CAT = Scene("cat", "sunglasses", "space", "black", 1, "left")


@pytest.fixture(scope="module")
def sprites(tmp_path_factory):
    return sprites_of(fetch(str(draw_set(tmp_path_factory.mktemp("emoji")))))


def verdicts(scenes, malformed=0.1):
    """A judge that sees what there is."""
    answers = [answers_to(scene) for scene in scenes]
    said = {name: torch.tensor([max(0, each[name]) for each in answers]) for name in ANSWERS}
    return Verdicts(said, torch.full((len(scenes),), malformed))


def test_answers_are_those_of_the_scene_and_a_request_wants_what_it_says():
    assert answers_to(CAT) == {
        name: ANSWERS[name].index(getattr(CAT, name))
        for name in ("subject", "accessory", "place", "colour", "count", "position")
    }
    bare = Scene("cat", None, "space", None, 2)
    assert answers_to(bare)["accessory"] == 0
    assert answers_to(bare)["colour"] == answers_to(bare)["position"] == UNKNOWN
    told = wanted_of(replace(CAT, colour=None, position=None, place=""))
    assert {name for name, answer in told.items() if answer == UNKNOWN} == {"colour", "position", "place"}
    assert wanted_of(bare)["accessory"] == UNKNOWN


@pytest.mark.parametrize("name", ANSWERS)
def test_a_picture_passes_where_all_that_was_asked_is_right(name):
    rest = [answer for answer in ANSWERS[name] if answer not in (None, getattr(CAT, name))]
    other = replace(CAT, **{name: rest[0]})
    seen = verdicts([CAT, other])
    right = seen.right([wanted_of(CAT)] * 2)
    assert right[name].tolist() == [True, False]
    assert all(each.tolist() == [True, True] for which, each in right.items() if which != name)
    assert seen.passed([wanted_of(CAT)] * 2).tolist() == [True, False]
    unsaid = {**wanted_of(CAT), name: UNKNOWN}
    assert seen.passed([unsaid] * 2).tolist() == [True, True]
    assert not verdicts([CAT], malformed=0.9).passed([wanted_of(CAT)]).any()


def test_rows_are_pure_and_a_share_is_malformed(sprites):
    source = JudgeRows(sprites, 32, 3)
    batch = source.batch(0, 40)
    assert set(batch) == {"images", *ANSWERS, MALFORMED}
    again = torch.cat([source.batch(step, 10)["images"] for step in range(4)])
    assert torch.equal(batch["images"], again)
    spoilt = batch[MALFORMED] == 1
    assert 0 < float(spoilt.float().mean()) < 2 * SPOILT
    for name in ANSWERS:
        assert (batch[name][spoilt] == UNKNOWN).all()
    assert (batch["subject"][~spoilt] >= 0).all()
    assert batch["images"].abs().max() <= 1


def test_a_worn_picture_is_nearly_the_same(sprites):
    picture = draw(CAT, 0, sprites, 32)
    gap = worn(picture, numpy_rng(0)).astype(float) - picture
    assert 0 < abs(gap).mean() < 15


def test_the_loss_counts_every_answer_and_no_unknown_one():
    config = JudgeConfig()
    model = Model(JUDGE, config, build(config).eval())
    images, rng = torch.randn(3, 3, 32, 32), Rng(0, 0, torch.arange(3))
    columns = {name: torch.tensor([0, 1, UNKNOWN]) for name in ANSWERS} | {MALFORMED: torch.tensor([0, 0, 1])}
    loss = JudgeLoss()(model, {"images": images, **columns}, "", rng)
    logits = model.net(images)
    expected = sum(-logits[name].log_softmax(1)[row, row] for name in ANSWERS for row in (0, 1))
    shapes = logits[MALFORMED].log_softmax(1)
    expected = expected - shapes[0, 0] - shapes[1, 0] - shapes[2, 1]
    assert loss.sum.item() == pytest.approx(expected.item(), rel=1e-5)
    assert float(loss.count) == 3


def test_agreement_is_the_mean_log_probability_of_what_was_asked():
    rng = torch.Generator().manual_seed(0)
    heads = {name: len(answers) for name, answers in ANSWERS.items()} | {MALFORMED: 2}
    logits = {name: torch.randn(2, count, generator=rng).requires_grad_() for name, count in heads.items()}
    some = dict.fromkeys(ANSWERS, UNKNOWN) | {"subject": 3, "place": 1}
    every = wanted_of(CAT)
    found = agreement(logits, [some, every])
    sure = {name: each.log_softmax(1) for name, each in logits.items()}
    first = (sure["subject"][0, 3] + sure["place"][0, 1] + sure[MALFORMED][0, 0]) / 3
    second = sum((sure[name][1, right] for name, right in every.items()), sure[MALFORMED][1, 0]) / (1 + len(ANSWERS))
    torch.testing.assert_close(found, torch.stack((first, second)))
    (gradient,) = torch.autograd.grad(found.sum(), logits["colour"])
    assert not gradient[0].any()
    assert gradient[1].any()


def test_a_second_judge_is_another_net_that_saw_other_scenes(sprites, tmp_path, monkeypatch):
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path))
    monkeypatch.setattr(judge, "BATCH", 4)
    real, shown = judge.kept, []

    def kept(family, config, source, *rest, **more):
        shown.append(source.batch(0, 4)["images"])
        return real(family, config, source, *rest, **more)

    monkeypatch.setattr(judge, "kept", kept)
    first, second = (judge_of(sprites, lambda line: None, steps=1, seed=seed) for seed in (0, 1))
    assert not torch.equal(*shown)
    assert len(list(tmp_path.glob("judges/*/model.safetensors"))) == 2
    assert not all(map(torch.equal, first.net.state_dict().values(), second.net.state_dict().values()))


def test_it_is_trained_once_and_damage_is_mended(sprites, tmp_path, monkeypatch):
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path))
    monkeypatch.setattr(judge, "BATCH", 4)
    said = []
    first = judge_of(sprites, said.append, steps=2)
    again = judge_of(sprites, said.append, steps=2)
    assert [line for line in said if "training" in line] == ["training a judge of scenes, once: 2 steps"]
    for one, two in zip(first.net.state_dict().values(), again.net.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    (file,) = tmp_path.glob("judges/*/model.safetensors")
    part = file.read_bytes()[:100]
    file.unlink()  # the first judge's weights are mapped from it
    file.write_bytes(part)
    mended = judge_of(sprites, said.append, steps=2)
    assert "training it anew" in said[-2]
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(judged(first, images).malformed, judged(mended, images).malformed)


def test_larger_pictures_are_looked_at_in_one_size(sprites):
    config = JudgeConfig()
    model = Model(JUDGE, config, build(config).eval())
    large = torch.from_numpy(draw(CAT, 0, sprites, 64))[None]
    small = torch.nn.functional.avg_pool2d(large.float(), 2).round().byte()
    assert judged(model, large).malformed == pytest.approx(judged(model, small).malformed, abs=1e-2)


def test_a_judge_that_sees_all_is_never_lenient(sprites, monkeypatch):
    scenes = [replace(CAT, colour=list(COLOURS)[place % 6]) for place in range(24)]
    sees = reliability.Trial(scenes, verdicts(scenes))
    for name in ANSWERS:
        assert passes_another(sees, name) == 0

    monkeypatch.setattr(reliability, "FRESH", 12)
    monkeypatch.setattr(reliability, "SPOILT", 3)
    config = JudgeConfig()
    section = reliability_section(Model(JUDGE, config, build(config).eval()), sprites, 32)
    assert set(ANSWERS) | {"all", "malformed: chimera", "pictures"} <= set(section.figures)
    for figure in section.figures.values():
        assert set(figure.values) == {"right", "passes another"}
