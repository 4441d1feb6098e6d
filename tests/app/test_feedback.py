"""Asking a person: what is shown, what is kept, what is passed over."""

import io
import json
from pathlib import Path

import pytest

from makar.align.choices import read_choices
from makar.app.cli import run
from makar.app.feedback import feedback, weights_of
from makar.core.errors import InputError
from makar.core.files import sha256
from makar.data.chats import kind_of, recognise
from makar.engine.load import open_model
from makar.recipes.provenance import read_provenance, weights_hash
from tests.align.support import writer


@pytest.fixture
def folder(tmp_path):
    model, place = writer(), tmp_path / "model"
    place.mkdir()
    model.family.folder.save(model, place)
    return place


def answering(*replies):
    left = iter(replies)

    def ask(question):
        assert "which is better" in question
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return ask


def test_choices_are_kept_with_who_when_and_both_seeds(folder, tmp_path):
    store, said = tmp_path / "choices.jsonl", []
    ask = answering("2", "what?", "1", "s")
    settings = {"temperature": 1.0, "max_tokens": 6}
    found = feedback(
        folder, ["1+2=", "4+5=", "6", "7"], store=store, who="ann", seed=50, ask=ask, say=said.append, **settings
    )
    assert (found.added, found.skipped, found.total) == (2, 1, 2)
    first, second = read_choices(store)
    assert (first.prompt, first.who, first.shown_first) == ("1+2=", "ann", "rejected")
    assert (first.chosen_seed, first.rejected_seed) == (51, 50)
    assert (second.prompt, second.shown_first) == ("4+5=", "chosen")
    assert second.chosen_seed < second.rejected_seed
    assert first.weights == weights_of(folder) == sha256(folder / "model.safetensors")
    assert first.rejected in said[0]
    assert read_choices(found.snapshot) == [first, second]
    again = feedback(folder, ["1+2=", "4+5="], store=store, who="ann", ask=answering(), say=said.append, **settings)
    assert (again.added, again.total) == (0, 2)
    other = feedback(folder, ["1+2="], store=store, who="bob", ask=answering("1"), say=said.append, **settings)
    assert (other.added, other.total) == (1, 3)


def test_a_model_of_one_answer_is_not_asked_about(folder, tmp_path):
    said = []
    found = feedback(
        folder,
        ["1+2="],
        store=tmp_path / "c.jsonl",
        who="ann",
        ask=answering(),
        say=said.append,
        temperature=0.0,
        max_tokens=3,
    )
    assert (found.added, found.skipped, found.snapshot) == (0, 1, None)
    assert "one answer only" in said[0]


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="no weights"):
        weights_of(tmp_path)


def test_from_the_command_line_what_is_chosen_can_be_learned_from(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("1+2=\n4+5=\n6\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n2\n"))
    arguments = [
        "feedback",
        str(folder),
        "prompts.txt",
        "--who",
        "ann",
        "--set",
        "temperature=1",
        "--set",
        "max_tokens=6",
    ]
    assert run([*arguments, "--json"]) == 0
    told = capsys.readouterr()
    session = json.loads(told.out)
    assert (session["added"], session["total"]) == (2, 2)
    assert "which is better?" in told.err
    rows = [json.loads(line) for line in Path(session["snapshot"]).read_text().splitlines()]
    records = [recognise(row)(row) for row in rows]
    assert [kind_of(record) for record in records] == ["preference"] * 2
    assert [record["prompt"][0]["content"] for record in records] == ["1+2=", "4+5="]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(arguments) == 0
    assert "0 choices added; 2 in choices.jsonl" in capsys.readouterr().out


def test_people_choose_between_pictures(tmp_path, monkeypatch):
    """Both are in one file beside the store, and what is kept is each picture itself."""
    import base64

    from PIL import Image

    from makar.align.choices import PICTURE
    from tests.align.painters import painter

    place, said = tmp_path / "painter", []
    model = painter(steps=2)
    place.mkdir()
    model.family.folder.save(model, place)
    store = tmp_path / "c.jsonl"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    found = feedback(place, ["0", "1"], store=store, who="ann", seed=7, ask=answering("2", "1"), say=said.append)
    assert (found.added, found.skipped) == (2, 0)
    first, second = read_choices(found.snapshot)
    assert (first.chosen_seed, first.rejected_seed, second.shown_first) == (8, 7, "chosen")
    picture = Image.open(io.BytesIO(base64.b64decode(second.chosen.removeprefix(PICTURE))))
    assert (picture.size, picture.mode) == ((8, 8), "L")
    both = Image.open(tmp_path / "c.png")
    assert both.size == (256 + 8 + 256, 256)
    assert both.getpixel((3, 3))[0] == picture.getpixel((0, 0))
    words = read_provenance((tmp_path / "c.png").read_bytes(), "c.png")
    assert (words.made["prompt"], words.made["seeds"]) == ("1", [second.chosen_seed, second.rejected_seed])
    assert words.made["weights"] == weights_hash(open_model(place))
    assert str(tmp_path / "c.png") in said[0]
    assert "▀" in said[0]
    record = recognise(json.loads(found.snapshot.read_text().splitlines()[0]))
    assert record is not None


def test_a_model_that_shows_nothing_is_refused(tmp_path):
    from tests.align.painters import of

    model = of("clip")
    from makar.app.feedback import medium_of

    with pytest.raises(InputError, match="cannot be shown"):
        medium_of(model, tmp_path / "c.png", "clip", tmp_path)
    assert medium_of(of("vae"), tmp_path / "c.png", "vae", tmp_path).asked("anything") is None
