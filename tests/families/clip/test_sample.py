"""Where texts and pictures lie, asked through the engine, and a judge of pictures by their captions."""

import numpy as np
import pytest
import torch
from PIL import Image

from makar.core.errors import InputError
from makar.core.nouns import Request
from makar.core.random import Rng
from makar.engine.run import Engine
from makar.families.clip.sample import image_vectors, text_vectors
from makar.families.clip.score import seen
from tests.families.clip.support import CAPTIONS, rows, tiny


def ask(model, prompt):
    return Engine(model).generate([Request(prompt)])[0].data


def test_an_answer_is_a_vector_of_length_1():
    model = tiny()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))
    for prompt in (CAPTIONS[0], {"text": CAPTIONS[0]}, {"image": picture}, None, ""):
        vector = ask(model, prompt)
        assert vector.shape == (24,)
        assert float(vector.norm()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(ask(model, CAPTIONS[0]), text_vectors(model, CAPTIONS[:1])[0])
    torch.testing.assert_close(ask(model, {"image": picture}), image_vectors(model, [picture])[0])


@pytest.mark.parametrize(
    ("prompt", "words"),
    [({"image": "cat.png"}, "not a picture"), ({"mask": 1}, "a text or a picture"), ({}, "a text or a picture"),
     ("word " * 10_000, "the caption is too long"), ("猫が宇宙に", "nothing in the caption is known"),
     ("\ud83d", "surrogate")],
)  # fmt: skip
def test_a_prompt_that_it_cannot_take(prompt, words):
    with pytest.raises(InputError, match=words):
        ask(tiny(), prompt)


def test_what_is_trimmed_is_never_looked_at():
    """Padding behind the longest text changes nothing; SigLIP reads it, and keeps it."""
    for kind in ("clip", "siglip"):
        model = tiny(kind)
        together, alone = text_vectors(model, CAPTIONS[:3]), [text_vectors(model, [each]) for each in CAPTIONS[:3]]
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)


def test_likeness_is_the_cosine_and_can_be_climbed():
    model = tiny()
    batch = rows(model)
    images = batch["images"].clone().requires_grad_()
    rng, read = Rng(0, 0, torch.arange(3)), text_vectors(model, CAPTIONS[:3]).clone()
    values, mask = model.family.log_prob(model, {**batch, "images": images}, rng)
    torch.testing.assert_close((seen(model, images) * read).sum(1), values[:, 0], atol=1e-6, rtol=0)
    assert mask.all()
    values.sum().backward()
    climbed = {**batch, "images": batch["images"] + 0.05 * images.grad.sign()}
    assert (model.family.log_prob(model, climbed, rng)[0] > values).all()


def test_pictures_of_another_size_are_brought_to_its_own():
    model = tiny()
    small = torch.rand(2, 3, 16, 16) * 2 - 1
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert (seen(model, large) * seen(model, small)).sum(1).min() > 0.9
    with pytest.raises(InputError, match="other channels"):
        seen(model, small[:, :1])
