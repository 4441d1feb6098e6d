"""Codes drawn, given back, varied, between two and beyond: what a request means."""

import pytest
import torch
from PIL import Image

from makar.codecs.pixels import to_picture
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Chunk, Codec, Request
from makar.engine.run import Engine
from makar.families.diffusion.settings import DiffusionSettings
from makar.families.pictures import between
from makar.families.vae.codec import VaeCodec
from makar.families.vae.found import DIRECTIONS
from makar.families.vae.settings import VaeSettings
from tests.families.vae.conftest import NETS, make


def drawn(model, *prompts, seed=0, **settings):
    requests = [Request(prompt, seed, VaeSettings(**settings)) for prompt in prompts]
    return [answer.data.tobytes() for answer in Engine(model).generate(requests)]


@pytest.mark.parametrize("net", NETS)
def test_a_picture_is_given_back_as_its_code_says(net, images):
    model = make(net)
    codec = VaeCodec(model)
    assert isinstance(codec, Codec)
    pictures = [to_picture(image) for image in images]
    batch = codec.encode(pictures)
    assert batch["images"].shape == (4, model.net.code_size, 1, 1)
    given = codec.decode(batch)
    assert drawn(model, *({"image": picture} for picture in pictures)) == [picture.tobytes() for picture in given]
    assert given[0].size == (8, 8)


def test_varied_by_all_it_is_a_picture_never_seen(images):
    model = make()
    assert drawn(model, {"image": images[0]}, variation=1.0) == drawn(model, None)
    some = drawn(model, {"image": images[0]}, variation=0.5)
    assert some not in (drawn(model, None), drawn(model, {"image": images[0]}))
    assert some != drawn(model, {"image": images[0]}, variation=0.5, seed=1)


def test_the_way_between_two_has_their_ends(images):
    model = make()
    ends = drawn(model, {"image": images[0]}, {"image": images[1]})
    way = drawn(model, *({"image": images[0], "towards": (images[1], share)} for share in (0, 0.5, 1)))
    assert [way[0], way[2]] == ends
    assert way[1] not in ends


def test_a_walk_goes_from_seed_to_seed(images):
    model = make()
    one, other = (drawn(model, None, seed=seed) for seed in (0, 5))
    assert drawn(model, {"towards": (5, 0.0)}) == one
    assert drawn(model, {"towards": (5, 1.0)}) == other
    assert drawn(model, {"towards": (5, 0.5)}) not in (one, other)
    assert drawn(model, {"towards": (images[0], 1.0)}) == drawn(model, {"image": images[0]})


def test_the_way_is_an_arc():
    first, second = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    assert torch.allclose(between(first, second, 0.5), torch.full((2,), 2**0.5), atol=1e-6)
    assert torch.allclose(between(first, first, 0.3), first)
    assert torch.allclose(between(first, -first, 0.5), torch.zeros(2))


def test_an_edit_goes_along_its_direction(images):
    model = make()
    way = torch.tensor([1.0, -1.0, 0.5])
    model.parts[DIRECTIONS] = {"Bag": way}
    code = VaeCodec(model).encode(list(images[:1]))["images"]
    for edit, length in (("+Bag", 1.0), ("-Bag=2.5", -2.5)):
        wanted = VaeCodec(model).decode({"images": code + length * way[:, None, None]})[0]
        assert drawn(model, {"image": images[0], "edit": edit}) == [wanted.tobytes()]
    assert drawn(model, {"edit": ["+Bag", "-Bag"]}) == drawn(model, None)


def test_cold_codes_are_the_middle_of_what_is_expected():
    model = make()
    cold = [drawn(model, None, seed=seed, temperature=0.0) for seed in (0, 1)]
    assert cold[0] == cold[1] != drawn(model, None)


@torch.no_grad()
def test_a_mixture_draws_from_its_components():
    model = make(components=2, scale=0.0)
    prior = model.net.codes.prior
    with torch.no_grad():
        prior.mean.copy_(torch.tensor([[5.0, 5.0, 5.0], [-5.0, -5.0, -5.0]]))
        prior.log_variance.fill_(-8.0)
        prior.logits.copy_(torch.tensor([1.0, 0.0]))
    codes = prior.draw(torch.randn(4000, 3), torch.rand(4000))
    assert float((codes[:, 0] > 0).float().mean()) == pytest.approx(0.731, abs=0.04)
    assert float((codes.abs() - 5).abs().max()) < 0.2


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("cat", "knows no classes"),
        ({"mask": 1}, "unknown part of a prompt"),
        ({"image": Image.new("L", (9, 8))}, "make it 8x8"),
        ({"image": 3}, "not a picture"),
        ({"towards": (torch.zeros(1, 9, 8), 0.5)}, "make it 8x8"),
        ({"image": torch.zeros(1, 8, 8), "towards": torch.zeros(1, 8, 8)}, "not a picture and a share"),
        ({"image": torch.zeros(1, 8, 8), "towards": (torch.zeros(1, 8, 8), "x")}, "not a picture and a share"),
        ({"towards": (torch.zeros(1, 8, 8), -0.5)}, "beyond 0 to 1"),
        ({"edit": "+Bag"}, "knows no directions"),
    ],
)
def test_what_it_does_not_understand_is_refused(prompt, said):
    with pytest.raises(InputError, match=said):
        Engine(make()).generate([Request(prompt)])


def test_an_unknown_direction_is_answered_by_the_nearest():
    model = make()
    model.parts[DIRECTIONS] = {"Sneaker": torch.zeros(3)}
    with pytest.raises(InputError, match="did you mean 'Sneaker'"):
        Engine(model).generate([Request({"edit": "+Sneakr"})])


def test_settings_of_another_family_are_refused():
    with pytest.raises(InputError, match="give VaeSettings"):
        Engine(make()).generate([Request(None, settings=DiffusionSettings())])


def test_numbers_that_are_none_are_said():
    model = make()
    with torch.no_grad():
        next(model.net.parameters()).fill_(float("nan"))
        model.net.codes.decoder[0].weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        Engine(model).generate([Request(None)])


def test_rows_come_one_by_one_and_say_why_they_end():
    chunks = list(Engine(make()).stream([Request(None, seed=seed) for seed in range(3)]))
    assert [(chunk.row, chunk.done, chunk.reason) for chunk in chunks] == [(row, True, "stop") for row in range(3)]
    assert all(isinstance(chunk, Chunk) for chunk in chunks)
