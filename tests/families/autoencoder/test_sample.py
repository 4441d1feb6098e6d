"""Pictures brought back, codes decoded, and what cannot be."""

import pytest
import torch

from makar.codecs.pixels import to_picture
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Request
from makar.engine.run import Engine
from makar.families.autoencoder.settings import AutoencoderSettings
from tests.families.autoencoder.conftest import NECKS, make


def ask(model, prompt=None, seed=0, **settings):
    return Engine(model).generate([Request(prompt, seed, AutoencoderSettings(**settings))])[0]


@pytest.mark.parametrize("neck", NECKS)
@torch.no_grad()
def test_a_picture_is_brought_back_through_its_codes(neck):
    model, image = make(neck), torch.rand(1, 8, 8) * 2 - 1
    found = ask(model, {"image": image})
    assert found.data == to_picture(model.net(image[None])[0])
    again = ask(model, {"codes": found.info["codes"]})
    assert again.data == found.data
    assert torch.equal(again.info["codes"], found.info["codes"])


def test_a_draw_is_not_the_mean_and_is_the_seed_s():
    model, image = make(), torch.rand(1, 8, 8) * 2 - 1
    mean, drawn = ask(model, {"image": image}), ask(model, {"image": image}, spread=3.0)
    assert mean.data != drawn.data
    assert ask(model, {"image": image}, spread=3.0).data == drawn.data
    assert ask(model, {"image": image}, seed=1, spread=3.0).data != drawn.data


@pytest.mark.parametrize("neck", NECKS)
def test_codes_at_random_are_the_seed_s(neck):
    model = make(neck)
    first, again, other = (ask(model, seed=seed).info["codes"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("neck", "prompt", "said"),
    [
        ("kl", {"image": torch.zeros(1, 4, 4)}, "8x8"),
        ("kl", {"picture": 1}, "unknown part"),
        ("kl", "shoe", "knows no classes"),
        ("kl", {"codes": torch.zeros(2, 4, 4)}, "another shape"),
        ("fsq", {"codes": torch.zeros(4, 4)}, "another shape"),
        ("fsq", {"codes": torch.full((4, 4), 36)}, "no such code"),
    ],
)
def test_what_it_cannot_do_is_said(neck, prompt, said):
    with pytest.raises(InputError, match=said):
        ask(make(neck), prompt)


def test_damaged_weights_are_said():
    model = make()
    torch.nn.init.constant_(model.net.decoder.conv_out.weight, float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        ask(model)
