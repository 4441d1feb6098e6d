"""Rows of conversations about pictures: pure, whole pictures, and only answers to learn."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from makar.core.errors import InputError
from makar.data.fetch import fetch
from makar.data.scene_drawing import sprites_of
from makar.data.scene_questions import questions_of
from makar.data.scenes import Scenes
from makar.data.talks import Talk, Talks, dialogue, picture_of, scene_talk
from tests.emoji import draw_set

IMAGE, PLACES, PAD = 9, 3, 0


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return Scenes(sprites_of(fetch(str(draw_set(tmp_path_factory.mktemp("emoji"))))), 32, 5)


def encode(messages):
    """A token a letter, by its code; a picture has three places."""
    ids, mask = [1], [False]
    for message in messages:
        parts = (
            message["content"]
            if isinstance(message["content"], list)
            else [{"type": "text", "text": message["content"]}]
        )
        for part in parts:
            found = [IMAGE] * PLACES if part["type"] == "image" else [ord(letter) for letter in part["text"]]
            ids += found
            mask += [message["role"] == "assistant"] * len(found)
    return ids, mask


def rows(talk, length=40):
    normalise = lambda pixels: pixels.float()  # noqa: E731
    return Talks(talk, encode, normalise, length=length, pad_id=PAD, image_token=IMAGE, places=PLACES)


def blank(count):
    return [np.full((3, 2, 2), 7 + k, np.uint8) for k in range(count)]


def test_only_answers_are_learned_and_rows_are_filled():
    batch = rows(lambda index: Talk(dialogue([("ab", "cd")], 1), blank(1)), 12).batch(0, 2)
    assert batch["tokens"][0].tolist() == [1, IMAGE, IMAGE, IMAGE, *map(ord, "abcd"), *[PAD] * 5]
    assert batch["loss_mask"][0].tolist() == [*[False] * 6, True, True, *[False] * 5]
    assert batch["images"].shape == (2, 1, 3, 2, 2)


def test_a_picture_is_never_cut():
    def talk(index):
        first, second = dialogue([("a" * index, "b")], 1), dialogue([("c", "d")], 1)
        return Talk([*first, *second], blank(2))

    for batch in (rows(talk, 10).batch(step, 1) for step in range(10)):
        kept = int((batch["tokens"][:, :-1] == IMAGE).sum())
        assert kept % PLACES == 0
        shown = batch["images"].flatten(2).any(2).sum()
        assert shown == kept // PLACES or (kept == 0 and shown == 0)


def test_rows_with_fewer_pictures_have_blank_ones_behind():
    batch = rows(lambda index: Talk(dialogue([("a", "b")], index), blank(index))).batch(0, 3)
    assert batch["images"].flatten(2).any(2).tolist() == [[False, False], [True, False], [True, True]]


def test_a_row_does_not_depend_on_its_batch(stream):
    source = rows(lambda index: scene_talk(stream, 4, index), 200)
    whole, late = source.batch(0, 8), source.batch(1, 4)
    for name in ("tokens", "loss_mask"):
        assert torch.equal(whole[name][4:], late[name])
    count = late["images"].shape[1]
    assert torch.equal(whole["images"][4:, :count], late["images"])


def test_scenes_are_asked_about_and_answered_exactly(stream):
    two = 0
    for index in range(60):
        talk = scene_talk(stream, 5, index)
        assert len(talk.messages) == 10
        first = talk.messages[0]["content"]
        assert [part["type"] for part in first] == ["image"] * len(talk.pictures) + ["text"]
        two += len(talk.pictures) == 2
        scenes = [index, index + (1 << 40)][: len(talk.pictures)]
        known = {
            (f"in the {name} picture, " if len(scenes) > 1 else "") + question: answer
            for name, number in zip(("first", "second"), scenes, strict=False)
            for question, answer, _ in questions_of(stream.scene(number), number)
        }
        texts = [first[-1]["text"], *(message["content"] for message in talk.messages[1:])]
        assert all(known[question] == answer for question, answer in zip(texts[::2], texts[1::2], strict=True))
    assert 0 < two < 20


def test_a_picture_may_be_a_file_or_lie_in_its_address(tmp_path):
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    picture.save(tmp_path / "one.png")
    written = io.BytesIO()
    picture.save(written, "png")
    inline = "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
    for part in (
        {"path": tmp_path / "one.png"},
        {"image": str(tmp_path / "one.png")},
        {"url": inline},
        {"image": picture},
    ):
        assert np.array_equal(np.asarray(picture_of(part, "here")), np.asarray(picture))


@pytest.mark.parametrize(
    "part", [{}, {"url": "https://example.org/a.png"}, {"path": "/nowhere.png"}, {"url": "data:image/png;base64,?"}]
)
def test_a_picture_that_cannot_be_had_says_where(part):
    with pytest.raises(InputError, match="line 7"):
        picture_of(part, "line 7")
