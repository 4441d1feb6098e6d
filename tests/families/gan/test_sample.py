"""Pictures from codes: seeds, truncation, mixing, walks, and the codes of given pictures."""

import numpy as np
import pytest
import torch

from makar.codecs.pixels import to_values
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Request
from makar.engine.run import Engine
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.gan.codes import directions, latent_of, middle
from makar.families.gan.settings import GanSettings
from makar.families.pictures import between
from tests.families.gan.conftest import make


def pictures(model, *prompts, seed=0, **settings):
    asked = [Request(prompt, seed, GanSettings(**settings)) for prompt in prompts]
    return [answer.data for answer in Engine(model).generate(asked)]


def apart(one, other) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def test_a_seed_is_a_picture_whatever_stands_beside_it(model):
    asked = [Request("bag", seed=seed) for seed in range(5)]
    together = [answer.data for answer in Engine(model).generate(asked)]
    alone = [Engine(model).generate([request])[0].data for request in asked]
    assert all(apart(one, other) <= 1 for one, other in zip(together, alone, strict=True))
    assert apart(together[0], together[1]) > 1


def test_a_class_may_be_a_name_a_number_or_left_to_the_seed(model):
    named, numbered = pictures(model, "bag", 1)
    assert named == numbered
    any_ = [Engine(model).generate([Request(None, seed=seed)])[0].data for seed in range(20)]
    by_class = {tuple(pictures(model, label, seed=seed)[0].tobytes() for seed in range(20)) for label in range(3)}
    chosen = [
        next(k for k, row in enumerate(by_class) if row[seed] == each.tobytes()) for seed, each in enumerate(any_)
    ]
    assert set(chosen) == {0, 1, 2}


def test_truncation_leads_to_the_middle_of_the_class(model):
    full, half, none, other = (
        pictures(model, "coat", seed=seed, truncation=psi)[0] for seed, psi in ((0, 1.0), (0, 0.5), (0, 0.0), (9, 0.0))
    )
    assert none == other
    assert apart(full, none) > apart(half, none) > 0


def test_finer_layers_may_follow_another_seed():
    model = make("style")
    plain, other = pictures(model, 0, seed=1)[0], pictures(model, 0, seed=2)[0]
    mixed = pictures(model, 0, seed=1, mixing_seed=2, mixing_layer=1)[0]
    assert mixed not in (plain, other)
    assert pictures(model, 0, seed=1, mixing_seed=1)[0] == plain


def test_a_walk_goes_from_seed_to_seed_on_the_sphere(model):
    start, end = pictures(model, "coat", seed=1)[0], pictures(model, "coat", seed=2)[0]
    walk = pictures(model, *({"label": "coat", "towards": (2, share)} for share in (0.0, 0.5, 1.0)), seed=1)
    assert apart(walk[0], start) <= 1
    assert apart(walk[2], end) <= 1
    one, other = latent_of(1, 500), latent_of(2, 500)
    assert float(between(one, other, 0.5).norm() / one.norm()) == pytest.approx(1, abs=0.1)
    assert torch.allclose(between(one, one, 0.3), one)


def test_the_code_of_a_picture_is_found(model):
    """A picture of the model's own, from a seed that the search does not begin at."""
    target = pictures(model, "bag", seed=77)[0]
    far = apart(pictures(model, "bag", seed=0)[0], target)
    found = pictures(model, {"label": "bag", "image": target}, {"image": target}, steps=40)
    assert apart(found[0], target) < 0.5 * far
    assert apart(found[1], target) < 0.7 * far  # its class found too
    again = pictures(model, {"label": "bag", "image": target}, steps=40)[0]
    assert again == found[0]  # alone and in a batch, to the bit
    assert apart(pictures(model, {"label": "bag", "image": target}, steps=1)[0], target) > apart(found[0], target)


def test_edits_move_along_named_directions(model):
    known = directions(model)
    axes = range(1, 7 if model.config.net.kind == "r3gan" else 9)  # no more than the numbers of a latent or a style
    assert set(known) == {*(f"axis-{number}" for number in axes), "coat", "bag", "T-shirt/top"}
    plain = pictures(model, "coat", seed=3)[0]
    little, much = (
        pictures(model, {"label": "coat", "edit": edit}, seed=3)[0] for edit in ("+axis-1=0.5", "+axis-1=2")
    )
    assert 0 < apart(plain, little) < apart(plain, much)
    there_and_back = pictures(model, {"label": "coat", "edit": ["+axis-2", "-axis-2"]}, seed=3)[0]
    assert apart(there_and_back, plain) <= 1
    swapped = pictures(model, {"label": "coat", "edit": ["-coat", "+bag"]}, seed=3, truncation=0)[0]
    assert apart(swapped, pictures(model, "bag", truncation=0)[0]) < apart(plain, swapped)


def test_axes_are_ordered_by_what_they_change():
    model = make(classes=0)
    weight = model.net.generator.modulate.weight.detach()
    moves = [float((weight @ axis[0]).norm()) for axis in directions(model).values()]
    assert moves == sorted(moves, reverse=True)
    mean, spread = middle(model, None)
    assert torch.allclose(mean, torch.zeros(1, 6), atol=1e-6)  # every drawn latent has its opposite
    assert torch.allclose(spread, torch.ones(1, 6), atol=0.1)


def test_rows_that_search_and_rows_that_do_not_share_a_batch(model):
    target = pictures(model, "bag", seed=5)[0]
    plain, found = pictures(model, "coat", {"image": target}, steps=3)
    assert plain == pictures(model, "coat")[0]
    assert found.size == (8, 8)
    chunks = list(Engine(model).stream([Request({"image": target}, settings=GanSettings(steps=3))]))
    assert [chunk.info["step"] for chunk in chunks] == [1, 2, 3, 3]


@pytest.mark.parametrize(
    ("prompt", "settings", "said"),
    [
        ("coats", {}, "did you mean 'coat'"),
        (3, {}, "no such class"),
        ({"image": torch.zeros(1, 9, 9)}, {}, "another size"),
        ({"picture": torch.zeros(1, 8, 8)}, {}, "unknown part"),
        ({"mask": torch.zeros(1, 8, 8)}, {}, "unknown part"),
        ({"edit": "+cat"}, {}, "no such direction"),
        ({"edit": "coat"}, {}, "not an edit"),
        ({"towards": 3}, {}, "not a seed"),
        ({"towards": ("x", 0.5)}, {}, "not a seed"),
        ({"towards": (1, 1.5)}, {}, "beyond 0 to 1"),
        ({"towards": (1, float("nan"))}, {}, "beyond 0 to 1"),
        ({"towards": (1, 0.5), "image": torch.zeros(1, 8, 8)}, {}, "leave"),
        (None, {"mixing_seed": 3, "mixing_layer": 9}, "mix"),
    ],
)
def test_what_does_not_fit_is_refused(model, prompt, settings, said):
    with pytest.raises(InputError, match=said):
        pictures(model, prompt, **settings)


def test_settings_of_another_family_and_classes_of_a_model_without_are_refused():
    with pytest.raises(InputError, match="another family"):
        Engine(make()).generate([Request(0, settings=DiffusionSettings())])
    with pytest.raises(InputError, match="knows no classes"):
        pictures(make(classes=0), "coat")
    with pytest.raises(InputError, match="no styles"):
        pictures(make(), 0, mixing_seed=1)


def test_numbers_that_are_none_are_said():
    model = make()
    with torch.no_grad():
        model.net.generator.basis.fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        pictures(model, 0)


def test_a_picture_is_of_the_nets_channels():
    assert pictures(make(in_channels=3), 0)[0].mode == "RGB"
    assert to_values(pictures(make(), 0)[0], 1).shape == (1, 8, 8)
