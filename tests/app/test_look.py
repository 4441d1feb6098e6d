"""`makar runs` and `makar inspect`."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from makar.app import look
from makar.core.files import lock, locked, sha256, write_json, write_sealed
from makar.data.config import PictureOptions
from makar.data.dataset import Dataset
from makar.data.pixels import write_pixels
from makar.recipes.run import Workspace
from tests.data.drawn import noise


def test_no_runs_is_said(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    assert call("runs").out == "no runs under ./runs yet: makar train poems-quick makes one\n"


def test_a_line_for_each_run(workspace, call):
    head, line = call("runs").out.splitlines()
    assert head.split() == ["run", "state", "step", "loss", "started"]
    assert line.split() == ["first", "finished", "20/20", "3.1000", "2026"]
    assert call("runs", "list").out.splitlines() == [head, line]
    assert json.loads(call("runs", "list", "--json").out)[0]["name"] == "first"


def test_the_state_of_a_run(workspace):
    write_json(workspace / "runs" / "first" / "manifest.json", {"name": "first"})
    assert look.find_run("first", Workspace()).state == "stopped"
    with lock(workspace / "runs" / "first"):
        assert look.find_run("runs/first", Workspace()).state == "running"


def test_show_says_all_of_the_manifest(workspace, call):
    out = call("runs", "show", "first").out
    assert out.startswith("first: finished, step 20 of 20, loss 3.1000\nruns/first\n")
    assert sha256(workspace / "runs/first/model/model.safetensors") not in out
    assert json.loads(call("runs", "show", "first", "--json").out)["manifest"]["started"] == "2026"


def test_an_unknown_run_names_the_known_ones(workspace, call):
    assert "the runs here are: first" in call("runs", "show", "frist", code=2).err


def test_a_run_is_intact(workspace, call):
    out = call("inspect", "runs/first").out
    assert out.startswith("runs/first: run, intact\n")
    assert sha256(workspace / "runs/first/model/model.safetensors") in out


def truncate(run):
    path = run / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def reshape(run):
    path = run / "model" / "model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name][:-1].clone()}, path, metadata={"format": "pt"})


def edit_recipe(run):
    (run / "recipe.toml").write_text((run / "recipe.toml").read_text().replace("steps = 20", "steps = 30"))


def spoil_checkpoint(run):
    place = run / "checkpoints" / "step-00000020"
    place.mkdir(parents=True)
    (place / "state.safetensors").write_bytes(b"flipped")
    write_sealed(place / "state.json", {"sha256": "0" * 64})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (truncate, "damaged"),
        (reshape, "another shape"),
        (edit_recipe, "manifest"),
        (spoil_checkpoint, "checkpoint is damaged"),
    ],
)
def test_a_harmed_run_is_not(workspace, call, harm, said):
    harm(workspace / "runs" / "first")
    out = call("inspect", "runs/first", code=2).out
    assert out.startswith("runs/first: run, 1 fault(s)\n  fault: ")
    assert said in out.splitlines()[1]
    assert not json.loads(call("inspect", "runs/first", "--json", code=2).out)["intact"]


def test_kinds_of_files(workspace, call):
    (workspace / "mine.toml").write_text("[data]\nsources = ['a']\n[train]\nsteps = 1\n")
    (workspace / "note.txt").write_text("hello")
    assert call("inspect", "runs/first/model").out.startswith("runs/first/model: model, intact\n")
    assert "tensor file, intact" in call("inspect", "runs/first/model/model.safetensors").out
    assert "file, intact" in call("inspect", "note.txt").out
    assert "folder, intact" in call("inspect", "runs").out
    assert "recipe, 1 fault(s)" in call("inspect", "mine.toml", code=2).out
    assert "no such file or folder" in call("inspect", "nothing", code=2).err


def test_a_dataset_is_intact_until_a_byte_flips(place, corpus, call):
    out, err = call("collect", *map(str, sorted(corpus.parent.glob("*.txt"))), "--out", "data/again")
    assert out.splitlines()[1].split()[:2] == ["read", "40"]
    assert "read 40 documents" in err
    assert call("inspect", "data/again").out.startswith("data/again: dataset, intact\n")
    shard = next((place / "data/again/train").glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    out = call("inspect", "data/again", code=2).out
    assert "dataset, 1 fault(s)\n  fault: data/again/train/" in out


def test_collect_takes_its_settings_from_the_command_line(place, call, tmp_path):
    things = {name: ("moon", "sea")[k % 2] for k, name in enumerate(("anna", "berta", "carla", "dora", "ella", "ida"))}
    verses = [f"{name} is the {it}.\nI see the {it}.\nThe {it} of {name}.\nGo." for name, it in things.items()]
    (tmp_path / "verse.jsonl").write_text("".join(json.dumps({"text": verse}) + "\n" for verse in verses))
    words = ["--ask", "topic", "--test-fraction", "0", "--valid-fraction", "0", "--min-chars", "8", "--near", "1.0"]
    out, _ = call("collect", str(tmp_path / "verse.jsonl"), "--out", "asked", "--json", *words)
    manifest = json.loads(out)
    assert manifest["options"]["ask"] == ["topic"]
    assert (manifest["options"]["test_fraction"], manifest["options"]["min_chars"]) == (0, 8)
    for bad, said in ((("--near", "2"), "near"), (("--ask", "topics"), "topic"), (("--test", "first"), "hash")):
        _, err = call("collect", str(tmp_path / "verse.jsonl"), "--out", "other", *bad, code=2)
        assert said in err
        assert "Traceback" not in err
        assert not (tmp_path / "other").exists()


def test_one_damaged_run_hides_no_other(workspace, call):
    broken = workspace / "runs" / "broken"
    broken.mkdir()
    for text in ("steps = ", "[train]\n", "train = 3\n"):
        (broken / "recipe.toml").write_text(text)
        out = call("runs", "list").out
        assert "broken" in out
        assert "damaged" in out
        assert "first" in out


def test_to_look_at_a_run_disturbs_nobody(workspace):
    run = workspace / "runs" / "first"
    with lock(run):
        before = (run / ".lock").read_bytes()
        assert locked(run)
        assert (run / ".lock").read_bytes() == before
    assert not locked(run)
    assert not locked(workspace / "runs" / "nothing")


def test_collect_takes_pictures_and_what_becomes_of_them_from_the_command_line(place, call, tmp_path):
    (tmp_path / "set").mkdir()
    for seed in range(8):
        noise(seed).save(tmp_path / "set" / f"{seed}.png")
    words = ["--size", "48", "--fit", "pad", "--background", "black", "--test-fraction", "0", "--valid-fraction", "0"]
    manifest = json.loads(call("collect", str(tmp_path / "set"), "--out", "pictures", "--json", *words).out)
    assert manifest["kind"] == "image"
    assert manifest["pictures"]["largest"] == [48, 48]
    assert manifest["kept"]["train"]["documents"] == 8
    assert call("inspect", "pictures").out.startswith("pictures: dataset, intact\n")
    write_pixels(Dataset.open("pictures"), "train", Path("pixels"), PictureOptions())
    assert call("inspect", "pixels").out.startswith("pixels: pixel shards, intact\n")
    err = call("collect", str(tmp_path / "set"), "--out", "other", "--fit", "stretch", code=2).err
    assert "crop" in err
    assert "Traceback" not in err
