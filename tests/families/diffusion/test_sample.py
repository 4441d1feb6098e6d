"""Pictures from the engine: repeatable, each from its own noise, and clear about what cannot be."""

import dataclasses

import numpy as np
import pytest
import torch

from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.nouns import Request
from makar.engine.run import Engine
from makar.families.diffusion.path import levels_of
from makar.families.diffusion.sample import noise_of
from makar.families.diffusion.samplers import SAMPLERS
from makar.families.diffusion.settings import DiffusionSettings
from tests.families.diffusion.conftest import make


def settings(**more):
    return DiffusionSettings(**({"steps": 4} | more))


def values(answer):
    return np.asarray(answer.data).astype(int)


@pytest.mark.parametrize("name", SAMPLERS)
def test_picture_k_is_the_same_whatever_the_batch(model, name):
    def requests(rows):
        return [Request(row % 3, seed=row, settings=settings(sampler=name, steps=3 + row % 2)) for row in rows]

    together, again = Engine(model).generate(requests(range(4))), Engine(model).generate(requests(range(4)))
    alone = [Engine(model).generate(requests([row]))[0] for row in range(4)]
    for one, same, other in zip(together, again, alone, strict=True):
        assert one.data == same.data
        assert np.abs(values(one) - values(other)).max() <= 1
    assert together[0].data != together[3].data


def test_rows_with_other_samplers_share_a_batch(model):
    requests = [Request(0, seed=1, settings=settings(sampler=name, steps=2 + k % 3)) for k, name in enumerate(SAMPLERS)]
    together = Engine(model).generate(requests)
    for request, answer in zip(requests, together, strict=True):
        assert np.abs(values(answer) - values(Engine(model).generate([request])[0])).max() <= 1


def test_every_sampler_begins_from_the_same_noise(model):
    states = [
        model.family.sampler.start(model, [Request(0, seed=5, settings=settings(sampler=name))]) for name in SAMPLERS
    ]
    assert all(torch.equal(state["x"], states[0]["x"]) for state in states)
    assert torch.equal(states[0]["x"][0], levels_of(model.config.path, 4)[0] * noise_of(5, 0, (1, 8, 8)))


def test_chunks_say_how_far_a_picture_is_and_show_it_where_asked(model):
    chunks = list(Engine(model).stream([Request(0, settings=settings(previews=2))]))
    assert [chunk.info["step"] for chunk in chunks] == [1, 2, 3, 4]
    assert [chunk.data is not None for chunk in chunks] == [False, True, False, True]
    assert [chunk.done for chunk in chunks] == [False, False, False, True]
    assert chunks[-1].data.size == (8, 8)


def test_a_class_is_its_number_or_its_name():
    model = make(names=("cat", "dog", "owl"))
    prompts = (1, "1", "dog", {"label": "dog"})
    answers = Engine(model).generate([Request(prompt, settings=settings()) for prompt in prompts])
    assert all(answer.data == answers[0].data for answer in answers)
    assert Engine(model).generate([Request("owl", settings=settings())])[0].data != answers[0].data


def test_a_picture_comes_back_little_changed_from_little_noise(model):
    picture = Engine(model).generate([Request(0, settings=settings())])[0].data

    def again(strength, **more):
        prompt = {"label": 1, "image": picture, **more}
        made = Engine(model).generate([Request(prompt, seed=2, settings=settings(steps=10, strength=strength))])[0]
        return values(made) - np.asarray(picture).astype(int)

    assert np.abs(again(0.1)).mean() < np.abs(again(1.0)).mean()
    mask = torch.full((1, 8, 8), -1.0)
    mask[:, 2:5, 2:5] = 1
    changed = again(1.0, mask=mask) != 0
    assert changed[2:5, 2:5].any()
    changed[2:5, 2:5] = False
    assert not changed.any()


@pytest.mark.parametrize(
    ("prompt", "more", "said"),
    [
        (3, {}, "no such class.*0 to 2"),
        (-1, {}, "no such class"),
        (True, {}, "no such class"),
        ("doog", {}, "no such class.*0 to 2"),
        ({"lable": 1}, {}, "did you mean 'label'"),
        ({"image": torch.zeros(1, 9, 8)}, {}, "another size.*8x9.*8x8"),
        ({"image": torch.zeros(3, 8, 8)}, {}, "another shape"),
        ({"image": "x.png"}, {}, "not a picture"),
        ({"mask": torch.zeros(1, 8, 8)}, {}, "mask without its picture"),
        ({"image": torch.zeros(1, 8, 8), "mask": torch.zeros(1, 4, 8)}, {}, "mask has another size"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(model, prompt, more, said):
    with pytest.raises(InputError, match=said):
        Engine(model).generate([Request(prompt, settings=settings(**more))])


def test_a_name_that_is_none_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'dog'"):
        Engine(make(names=("cat", "dog", "owl"))).generate([Request("doog", settings=settings())])


def test_an_unconditional_model_takes_no_class_and_no_guidance():
    model = make(classes=0)
    assert Engine(model).generate([Request(settings=settings())])[0].data.size == (8, 8)
    with pytest.raises(InputError, match="knows no classes"):
        Engine(model).generate([Request(1, settings=settings())])
    with pytest.raises(InputError, match="cannot be guided"):
        Engine(model).generate([Request(settings=settings(guidance_scale=2.0))])


def test_guidance_changes_a_class_and_nothing_unnamed(model):
    plain, guided, none, both = Engine(model).generate(
        [
            Request(prompt, settings=settings(guidance_scale=scale))
            for prompt, scale in ((0, 1.0), (0, 4.0), (None, 1.0), (None, 4.0))
        ]
    )
    assert plain.data != guided.data
    assert np.abs(values(none) - values(both)).max() <= 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sampler": "dpmpp_2n"}, "did you mean 'dpmpp_2m'"),
        ({"sampler": "EulerDiscreteSchedular"}, "did you mean 'EulerDiscreteScheduler'"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"guidance_interval": (2.0, 1.0)}, "lower and its upper"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model, fields, said):
    bad = dataclasses.replace(model, generation=fields)
    with pytest.raises(RecipeError, match=said):
        Engine(bad).generate([Request(0)])


def test_numbers_that_are_not_finite_are_the_model_s_fault(model):
    model.net.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        Engine(model).generate([Request(0, settings=settings())])


def test_settings_of_another_family_are_refused(model):
    from makar.families.language.settings import LanguageSettings

    with pytest.raises(InputError, match="another family"):
        Engine(model).generate([Request(0, settings=LanguageSettings())])
