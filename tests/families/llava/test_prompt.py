"""What can be asked of a model that sees, and what cannot."""

import pytest
import torch

from makar.core.errors import InputError, ModelError
from makar.core.nouns import Model, Request
from makar.engine.run import Engine
from makar.families.llava.family import FAMILY
from makar.families.llava.prompt import read_prompt


def test_each_picture_has_its_places_in_order(make, talks):
    model = make()
    token, places = model.config.image_token_index, model.config.places
    for talk, count in zip(talks, (1, 2, 2), strict=True):
        ids, images = read_prompt(model, talk)
        assert ids.count(token) == count * places
        assert len(images) == count
    ids, images = read_prompt(model, talks[2])
    assert "<|image_pad|> here" in model.parts["codec"].text(ids), "what somebody spells stays text"
    assert torch.equal(images[1], read_prompt(model, {"text": "?", "image": talks[2][3]["content"][0]["image"]})[1][0])


def test_a_table_is_a_question_about_its_pictures(make, pictures, tmp_path):
    model = make()
    pictures[0].save(tmp_path / "one.png")
    message = {
        "role": "user",
        "content": [{"type": "image", "path": str(tmp_path / "one.png")}, {"type": "text", "text": "?"}],
    }
    ways = [
        {"text": "?", "image": pictures[0]},
        {"text": "?", "image": [str(tmp_path / "one.png")]},
        [message],
    ]
    (ids, (image,)), *others = [read_prompt(model, way) for way in ways]
    for found, (other,) in others:
        assert found == ids
        assert torch.equal(other, image)
    assert read_prompt(model, {"text": "what?"}) == read_prompt(model, "what?")


def test_answers_with_and_without_pictures_share_a_batch(make, talks):
    model = make()
    prompts = [*talks, "what is the cat", [{"role": "user", "content": "how many?"}]]
    together = Engine(model).generate([Request(prompt) for prompt in prompts])
    alone = [Engine(model).generate([Request(prompt)])[0] for prompt in prompts]
    assert [answer.info["ids"] for answer in together] == [answer.info["ids"] for answer in alone]
    assert len({answer.data for answer in together}) > 2


def test_an_answer_depends_on_the_picture(make, pictures):
    model = make(generation={"temperature": 0.0, "max_tokens": 6, "logprobs": 0})
    found = Engine(model).generate([Request({"text": "what?", "image": each}) for each in pictures[:2]])
    assert found[0].info["logprobs"] != found[1].info["logprobs"]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ({"text": "?", "image": "nothing.png"}, "cannot be read"),
        ({"text": "?", "image": "https://example.org/cat.png"}, "not fetched"),
        ({"text": "?", "image": "data:image/png;base64,!!!"}, "not base64"),
        ({"text": "?", "image": "data:image/png;base64,aGVsbG8="}, "cannot be read as a picture"),
        ({"text": "?", "image": 3}, "not a picture"),
        ({"text": "?", "image": torch.zeros(3, 8, 8)}, "another shape"),
        ({"text": 3, "image": torch.zeros(3, 16, 16)}, "not text"),
        ({"text": "?", "picture": torch.zeros(3, 16, 16)}, "unknown part"),
        ({"text": "?", "image": [torch.zeros(3, 16, 16)] * 8}, "128 of them for 8 pictures"),
        ([{"role": "user", "content": [{"type": "image"}]}], "no place"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "neither text nor a picture"),
        (
            [{"role": "system", "content": [{"type": "image", "image": 3}]}, {"role": "assistant", "content": "a"}],
            "not a",
        ),
        ([12] * 7, "do not match"),
    ],
)
def test_what_cannot_be_asked_is_said(make, prompt, said):
    with pytest.raises(InputError, match=said) as fault:
        Engine(make()).generate([Request(prompt)])
    assert fault.value.fix


def test_a_template_without_pictures_is_said(make, codec):
    model = make()
    blind = Model(FAMILY, model.config, model.net, {"codec": codec.speaking((), "{{ messages[0].content }}")})
    with pytest.raises(ModelError, match="writes no pictures"):
        read_prompt(blind, {"text": "?", "image": torch.zeros(3, 16, 16)})
