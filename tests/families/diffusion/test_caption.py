"""A net that is told texts: what it is told, in training and by a prompt."""

import dataclasses
import math

import pytest
import torch

from makar.codecs.captions import train_captions
from makar.core.errors import InputError, ModelError, UserError
from makar.core.nouns import Model, Request, TextEncoder
from makar.core.random import Rng
from makar.data.table import TensorSource
from makar.engine.run import Engine
from makar.evaluate.picture_likelihood import scoring_of
from makar.families.clip.text import text_of
from makar.families.diffusion.caption import caption_of, empty, encoder_of
from makar.families.diffusion.denoise import Guidance, expected, guided, untold
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.likelihood import likelihood
from makar.families.diffusion.objective import Denoise, DenoisingScore
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.diffusion.towers import Towers
from makar.families.diffusion.words import captions_of, literal, readable, weighed
from makar.train.config import Optimizer, TrainConfig
from makar.train.loop import fit
from makar.train.validate import validation_loss
from tests.families.clip.support import tiny
from tests.families.diffusion.reading import Tower, reader

RED = torch.randn(3, 1, 8, 8).clamp(-1, 1)


def batch(model, texts=("a cat", "a red dog", "space")):
    return {"images": RED, "tokens": model.parts["text"].ids(texts)}


def rng(step=0, rows=3):
    return Rng(0, step, torch.arange(rows))


def test_a_text_stands_in_both_slots_and_zeros_fill_the_width():
    model = reader()
    assert isinstance(model.parts["text"], TextEncoder)
    ids = model.parts["text"].ids(["a cat", "space"])
    tokens, pooled = model.parts["text"].features(ids)
    told = caption_of(model, ids)
    assert torch.equal(told.tokens, torch.cat((tokens, tokens, torch.zeros(2, 8, 2)), 2))
    assert torch.equal(told.pooled, torch.cat((pooled, pooled), 1))


def test_what_is_told_decides_what_is_said():
    model, sigma = reader(), torch.ones(3)
    one = caption_of(model, model.parts["text"].ids(["a cat"] * 3))
    other = caption_of(model, model.parts["text"].ids(["a dog"] * 3))
    assert not torch.allclose(expected(model, RED, sigma, one), expected(model, RED, sigma, other), atol=1e-3)
    by_tokens, by_pooled = one._replace(tokens=other.tokens), one._replace(pooled=other.pooled)
    for changed in (by_tokens, by_pooled):
        assert not torch.allclose(expected(model, RED, sigma, one), expected(model, RED, sigma, changed), atol=1e-4)


def test_texts_are_read_once_a_step_over_the_whole_batch():
    model = reader()
    model.net.train()
    rows = Denoise(label_drop=0.0).prepare(model, batch(model), rng())
    assert model.parts["text"].reads == 3
    Denoise(label_drop=0.0)(model, rows, "", rng())
    assert model.parts["text"].reads == 3
    assert Denoise().prepare(model, rows, rng())["told"].shape == (3, 8, 12)
    assert "tokens" not in rows


def test_a_share_of_the_rows_is_told_nothing_and_only_in_training():
    model, nothing = reader(), empty(reader())
    many = {"images": RED[:1].expand(4000, 1, 8, 8), "tokens": model.parts["text"].ids(["a cat"]).expand(4000, 8)}
    model.net.train()
    rows = Denoise(label_drop=0.2).prepare(model, many, rng(rows=4000))
    hidden = (rows["told"] == nothing.tokens).flatten(1).all(1)
    assert abs(hidden.float().mean() - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 4000)
    assert torch.equal(hidden, (rows["pooled"] == nothing.pooled).all(1))
    model.net.eval()
    rows = Denoise(label_drop=0.2).prepare(model, many, rng(rows=4000))
    assert not (rows["told"] == nothing.tokens).flatten(1).all(1).any()


def test_a_score_reads_for_itself():
    model = reader()
    values, mask = DenoisingScore()(model, batch(model), rng())
    told, _ = DenoisingScore()(model, Denoise().prepare(model, batch(model), rng()), rng())
    assert torch.equal(values, told)
    assert mask.all()
    other, _ = DenoisingScore()(model, batch(model, ("a dog", "a dog", "a dog")), rng())
    assert not torch.allclose(values, other, atol=1e-4)


def test_a_tiny_net_learns_which_text_is_which_picture(tmp_path):
    """Bright or dark pictures; the loss of pictures under each other's text says that the text is heard."""
    model = reader(prediction="data", num_layers=1, empty_tokens=0)
    torch.manual_seed(0)
    model = Model(FAMILY, model.config, FAMILY.build(model.config), model.parts)
    tower = Tower()
    rows = {"images": torch.tensor([0.8, -0.8])[:, None, None, None].expand(2, 1, 8, 8).contiguous(),
            "tokens": tower.ids(["a red cat", "a blue cat"])}  # fmt: skip
    config = TrainConfig(
        steps=60, batch_size=16, optimizer=Optimizer(learning_rate=1e-2, weight_decay=0.0), compile="off"
    )
    fit(model, TensorSource(rows, seed=0), Denoise(weighting="velocity"), config, seed=0, folder=tmp_path)
    heard = [
        validation_loss(model, Denoise(), TensorSource({**rows, "tokens": tokens}, seed=0), batches=1, batch_size=32)
        for tokens in (rows["tokens"], rows["tokens"].flip(0))
    ]
    assert heard[0]["loss"] * 4 < heard[1]["loss"]


def test_guidance_goes_from_no_text_or_from_the_negative_one():
    model, sigma = reader(), torch.tensor([0.2, 1.0, 5.0])
    told, nothing, negative = (captions_of(model, [text] * 3) for text in ("a cat", None, "a dog"))
    assert torch.equal(nothing.tokens[:1], empty(model).tokens)
    ones = torch.ones(3)
    by = Guidance(3 * ones, 0 * ones, 1e9 * ones, 0 * ones)
    good = expected(model, RED, sigma, told)
    for instead in (nothing, negative):
        worse = expected(model, RED, sigma, instead)
        found = guided(model, told, by, instead)(RED, sigma)
        torch.testing.assert_close(found, worse + 3 * (good - worse), atol=1e-4, rtol=1e-4)


def picture(model, prompt, **settings):
    chosen = DiffusionSettings(steps=3, **settings)
    return list(Engine(model).generate([Request(prompt, 5, chosen)])[0].data.get_flattened_data())


def test_prompts_are_texts_and_rows_do_not_hear_each_other():
    model = reader()
    alone = picture(model, "a cat")
    assert alone == picture(model, {"text": "a cat"}) == picture(model, {"label": "a cat"})
    assert alone != picture(model, "a dog")
    chosen = DiffusionSettings(steps=3)
    asked = [Request("a dog", 1, chosen), Request("a cat", 5, chosen), Request(None, 2, chosen)]
    assert list(Engine(model).generate(asked)[1].data.get_flattened_data()) == alone
    assert picture(model, None, guidance_scale=4.0) == picture(model, None)
    away = picture(model, {"text": "a cat", "negative": "a dog"}, guidance_scale=4.0)
    assert away == picture(model, "a cat", guidance_scale=4.0, negative="a dog")
    assert away != picture(model, "a cat", guidance_scale=4.0)


@pytest.mark.parametrize(
    ("prompt", "settings", "said"),
    [
        ("", {}, "an empty caption"),
        (" \n", {}, "an empty caption"),
        ({"text": "  "}, {}, "an empty caption"),
        ("a cat " * 5000, {}, "too long"),
        ("☃☃ ❄", {}, "nothing in the caption is known"),
        (7, {}, "told texts"),
        ({"text": "a cat", "negative": 3}, {"guidance_scale": 2.0}, "told texts"),
        ({"text": "a cat", "negative": "a dog"}, {}, "set guidance_scale above 1"),
        ("a (cat:much)", {}, "write .words:1.4."),
        ("a (cat:9)", {}, "from 0 to 4"),
        ({"words": "a cat"}, {}, "unknown part"),
    ],
)
def test_prompts_that_cannot_be_followed_are_refused(prompt, settings, said):
    with pytest.raises(UserError, match=said):
        FAMILY.sampler.start(reader(), [Request(prompt, settings=DiffusionSettings(**settings))])


def test_a_model_of_classes_reads_no_negative_text(model):
    with pytest.raises(InputError, match="reads no texts"):
        FAMILY.sampler.start(model, [Request({"label": 1, "negative": "a cat"})])


def test_towers_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="name a trained CLIP"):
        encoder_of(dataclasses.replace(reader(), parts={}))
    with pytest.raises(ModelError, match="set it to 10"):
        encoder_of(reader(joint_attention_dim=9))
    with pytest.raises(ModelError, match="set it to 8"):
        encoder_of(reader(pooled_projection_dim=9))
    with pytest.raises(InputError, match="captioned"):
        Denoise().prepare(reader(), {"images": RED}, rng())


def test_weights_of_words_are_read_off_the_prompt():
    assert weighed("a (red cat:1.5) in (space:0.5)") == ("a red cat in space", [(2, 9, 1.5), (13, 18, 0.5)])
    assert weighed("a cat (red)") == ("a cat (red)", [])
    assert weighed(r"a cat \(red:2\) \\ \x") == (r"a cat (red:2) \ \x", [])
    assert weighed(r"a (cat \(red\):2) in") == ("a cat (red) in", [(2, 11, 2.0)])


@pytest.mark.parametrize("text", ["a cat (view: west)", "((a:2))", "\\(a:2)", "\\", "a (b", ""])
def test_a_literal_prompt_says_just_what_it_is(text):
    assert weighed(literal(text)) == (text, [])


def test_a_text_is_read_as_far_as_the_tower_reads():
    tower = Tower()
    assert readable(tower, " a red cat ") == "a red cat"
    assert readable(tower, "a cat \n in " * 5) == "a cat in a cat in"
    assert readable(tower, "(view: ☃)") == readable(tower, " ") == ""


def test_words_at_the_end_weigh_without_the_end_and_the_padding():
    model = reader()
    told, plain, nothing = captions_of(model, ["a (cat:3)"]), captions_of(model, ["a cat"]), empty(model)
    torch.testing.assert_close(told.tokens[:, 2] - nothing.tokens[:, 2], 3 * (plain.tokens - nothing.tokens)[:, 2])
    others = [0, 1, 3, 4, 5, 6, 7]
    torch.testing.assert_close(told.tokens[:, others], plain.tokens[:, others])


def test_two_towers_weigh_words_where_each_has_them():
    """The second one's tokenizer is another, which needs more tokens for a word."""
    first, second = (text_of(tiny(seed=seed)) for seed in (0, 1))
    other = train_captions(["sun glasses on dogs"] * 4, 540, first.length)
    both = Towers(first, dataclasses.replace(second, codec=other))
    model = reader(tower=both, joint_attention_dim=2 * first.width + 3, pooled_projection_dim=2 * first.pooled_width)
    told, plain = (captions_of(model, [text]).tokens[0] for text in ("two (apples:2)", "two apples"))
    nothing = empty(model).tokens[0]
    ends = [list(ids).index(each.codec.end_id) for each in both.both for ids in each.ids(["two apples"]).tolist()]
    assert ends[0] != ends[1]
    starts = [list(ids).index(each.codec.end_id) for each in both.both for ids in each.ids(["two"]).tolist()]
    for place, (begin, end) in enumerate(zip(starts, ends, strict=True)):
        part = slice(place * first.width, (place + 1) * first.width)
        weight = torch.ones(first.length, 1)
        weight[begin:end] = 2
        expected = nothing[:, part] + weight * (plain - nothing)[:, part]
        torch.testing.assert_close(told[:, part], expected)
    assert not told[:, 2 * first.width :].any()


def test_words_weigh_as_much_as_they_are_said_to():
    """This tower's tokens do not know each other and its whole is their sum, so what a weight does is known exactly."""
    model = reader()
    (told, light, plain, gone) = (
        captions_of(model, [text]) for text in ("a (red:3) cat", "a (red:1) cat", "a red cat", "a (red:0) cat")
    )
    nothing, without = empty(model), captions_of(model, ["a cat"])
    assert torch.equal(light.pooled, plain.pooled)
    torch.testing.assert_close(light.tokens, plain.tokens)
    torch.testing.assert_close(told.tokens[:, 2] - nothing.tokens[:, 2], 3 * (plain.tokens - nothing.tokens)[:, 2])
    others = [0, 1, 3, 4, 5, 6, 7]
    torch.testing.assert_close(told.tokens[:, others], plain.tokens[:, others])
    torch.testing.assert_close(told.pooled - without.pooled, 3 * (plain.pooled - without.pooled))
    torch.testing.assert_close(gone.pooled, without.pooled)


def test_words_weigh_beside_what_the_tower_does_not_know():
    found, alone = (captions_of(reader(), [text]) for text in ("\u2603 (cat:2)", "(cat:2)"))
    assert torch.equal(found.pooled, alone.pooled)


def test_a_picture_is_made_anew_by_another_text():
    """Editing by change of caption: what the mask keeps stays, and the text decides the rest."""
    model = reader()
    begun = torch.rand(1, 8, 8) * 2 - 1
    mask = torch.full((1, 8, 8), -1.0)
    mask[:, :4] = 1
    found = [picture(model, {"text": text, "image": begun, "mask": mask}) for text in ("a cat", "a dog")]
    kept = ((begun[0, 4:] + 1) * 127.5).round().flatten().tolist()
    for each in found:
        assert max(abs(a - b) for a, b in zip(each[32:], kept, strict=True)) <= 1
    assert found[0][:32] != found[1][:32]


def test_a_picture_without_a_caption_has_a_likelihood():
    model = reader()
    images, pair = torch.rand(2, 1, 8, 8) * 2 - 1, rng(rows=2)
    told = captions_of(model, [None, None])
    found = likelihood(model, images, untold(model, 2), pair, steps=1)
    assert torch.equal(found, likelihood(model, images, told, pair, steps=1))
    assert scoring_of(model, 1).nats(images[:1], None, rng(rows=1)).isfinite().all()


def test_what_the_tower_said_already_is_told_as_if_it_were_read_now():
    model, tower = reader(), Tower()
    ids = tower.ids(["a cat", "a red dog", "space"])
    tokens, pooled = tower.features(ids)
    kept = {"images": RED, "text_tokens": tokens, "text_pooled": pooled}
    model.net.train()
    read = Denoise(label_drop=0.5).prepare(model, {"images": RED, "tokens": ids}, rng())
    found = Denoise(label_drop=0.5).prepare(model, kept, rng())
    assert found.keys() == read.keys()
    assert all(torch.equal(found[name], read[name]) for name in read)
