"""Pictures in `makar generate`, `makar chat` and the functions behind them."""

import io
import json
import sys

import pytest
from PIL import Image

from makar import api
from makar.app.chat import fitting
from makar.core.errors import InputError
from makar.families.llava.family import FAMILY
from tests.contract.support import speaking


@pytest.fixture(scope="session")
def seer(tmp_path_factory):
    """A tiny model that sees gray pictures and has learned nothing, as a folder."""
    folder = tmp_path_factory.mktemp("seer")
    model = speaking("llava")
    FAMILY.folder.save(type(model)(FAMILY, model.config, model.net, model.parts, {"max_tokens": 6}), folder)
    return folder


@pytest.fixture
def picture(tmp_path):
    Image.new("L", (12, 9), 200).save(tmp_path / "one.png")
    return tmp_path / "one.png"


def test_a_question_about_a_picture_is_answered_alike_from_everywhere(seer, picture, call):
    answer = api.generate(seer, "the moon", images=[picture], seed=3)[0]
    assert call("generate", str(seer), "the moon", "--image", str(picture), "--seed", "3").out == f"{answer.data}\n"
    parts = [{"type": "image", "path": str(picture)}, {"type": "text", "text": "the moon"}]
    assert api.chat(seer, [{"role": "user", "content": parts}], seed=3).info["ids"] == answer.info["ids"]
    found = json.loads(call("generate", str(seer), "the moon", "--image", str(picture), "--seed", "3", "--json").out)
    assert found["answers"][0]["prompt"] == "the moon"
    assert found["answers"][0]["ids"] == answer.info["ids"]


def test_a_conversation_begins_with_pictures_and_may_be_shown_more(seer, picture, call, monkeypatch, tmp_path):
    kept = tmp_path / "talk.json"
    lines = f"what?\n/image {picture}\nand this?\nand now?\n/save {kept}\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    call("chat", str(seer), "--image", str(picture), "--set", "max_tokens=2")
    said = [each["content"] for each in json.loads(kept.read_text())["messages"] if each["role"] == "user"]
    assert [[part["type"] for part in content] for content in said[:2]] == [["image", "text"]] * 2
    assert said[0][0]["path"] == str(picture)
    assert said[2] == "and now?"


def test_a_long_conversation_counts_the_places_of_its_pictures(seer, picture):
    from makar.app.chat import Talk

    model = api.load(seer)
    seen = {"role": "user", "content": [{"type": "image", "path": str(picture)}] * 3 + [{"type": "text", "text": "a"}]}
    answer = {"role": "assistant", "content": "b"}
    talk = Talk(model, (seen, answer, seen, answer, {"role": "user", "content": "c"}))
    said = []
    assert len(fitting(talk, said.append)) < 5
    assert "left out" in said[0]


def test_pictures_that_do_not_fit_are_put_away_and_the_talk_goes_on(seer, picture):
    from makar.app.chat import begin, converse

    told = []
    pictures = [picture] * 20
    talk = begin(api.load(seer), system=None, images=pictures, seed=0, settings={}, strict=False, say=told.append)
    ended = converse(talk, ["/nothing", "what?", "and now?"], show=lambda text: None, say=told.append)
    assert sum(line.startswith("makar: ") for line in told) == 2
    assert "[the pictures shown for it are put away]" in told
    assert not ended.shown
    assert ended.messages[0] == {"role": "user", "content": "and now?"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--image", "nothing.png"), "cannot be read: No such file"),
        (("--image", "{broken}"), "cannot be read as a picture"),
        (("--image", "{one}") * 20, "for 20 pictures"),
        (("--image", "{one}", "--mask", "{one}"), "takes no pictures"),
    ],
)
def test_what_cannot_be_seen_is_said_in_a_line(seer, picture, call, tmp_path, words, said):
    (tmp_path / "broken.png").write_bytes(picture.read_bytes()[:40])
    given = [word.format(one=picture, broken=tmp_path / "broken.png") for word in words]
    assert said in call("generate", str(seer), "what?", *given, code=2).err


def test_a_model_of_words_is_shown_nothing(workspace, call, picture, monkeypatch):
    assert "takes no pictures" in call("generate", "first", "what?", "--image", str(picture), code=2).err
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    assert "takes no pictures" in call("chat", "first", "--image", str(picture), code=2).err
    with pytest.raises(InputError, match="takes no pictures"):
        api.generate("first", "what?", images=[picture])
    with pytest.raises(InputError, match="sees no pictures"):
        api.chat("first", [{"role": "user", "content": [{"type": "image", "path": str(picture)}]}])
