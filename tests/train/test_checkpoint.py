import errno
import os
import shutil
import subprocess

import pytest
import torch

from makar.core import files
from makar.core.errors import ResourceError, RunError
from makar.core.nouns import Verdict
from makar.train import checkpoint as checkpoints
from makar.train.checkpoint import Checkpoint, check_identity, load, newest, save, steps_in, tidy
from makar.train.loop import Periodic
from tests.contract.support import fresh, losses, settings, train


def made(step: int) -> Checkpoint:
    return Checkpoint(step, {"net/w": torch.full((1000,), float(step))}, {"identity": {"recipe": "a"}, "history": {}})


def flip(path, place=-10):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_what_was_saved_comes_back(tmp_path):
    save(tmp_path, made(7))
    found = newest(tmp_path, print)
    assert found.step == 7
    assert torch.equal(found.tensors["net/w"], made(7).tensors["net/w"])
    assert found.state["identity"] == {"recipe": "a"}
    assert (tmp_path / "latest").read_text() == "step-00000007\n"
    assert sorted(p.name for p in (tmp_path / "step-00000007").iterdir()) == ["state.json", "state.safetensors"]


def test_the_last_two_and_the_best_are_kept(tmp_path):
    for step in (10, 20, 30, 40, 50):
        save(tmp_path, made(step), keep={20, None})
    assert steps_in(tmp_path) == [50, 40, 20]
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: flip(place / "state.safetensors"),
        lambda place: os.truncate(place / "state.safetensors", 100),
        lambda place: (place / "state.safetensors").unlink(),
        lambda place: flip(place / "state.json", 40),
        lambda place: (place / "state.json").unlink(),
        lambda place: (place / "state.json").write_text("{"),
        lambda place: (place / "state.json").write_text("[]"),
        lambda place: shutil.rmtree(place),
    ],
    ids=["flipped", "cut", "no tensors", "flipped json", "no json", "half json", "other json", "gone"],
)
def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path, damage):
    save(tmp_path, made(10))
    save(tmp_path, made(20))
    damage(tmp_path / "step-00000020")
    words = []
    assert newest(tmp_path, words.append).step == 10
    assert len(words) == (1 if (tmp_path / "step-00000020").exists() else 0)
    damage(tmp_path / "step-00000010")
    if steps_in(tmp_path):
        with pytest.raises(RunError, match="no good checkpoint is left"):
            newest(tmp_path, words.append)


def test_a_crash_before_latest_moved_goes_on_from_what_latest_names(tmp_path):
    save(tmp_path, made(10))
    save(tmp_path, made(20))
    (tmp_path / "latest").write_text("step-00000010\n")
    assert newest(tmp_path, print).step == 10
    save(tmp_path, made(20))  # the replay writes it again, over the one there
    assert newest(tmp_path, print).step == 20


def test_what_a_kill_left_is_removed(tmp_path):
    (tmp_path / ".step-00000010.123.tmp").mkdir()
    (tmp_path / ".step-00000010.old").mkdir()
    (tmp_path / ".latest.123.tmp").write_text("x")
    save(tmp_path, made(20))
    tidy(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000020"]


@pytest.mark.parametrize(
    ("found", "named"),
    [({"recipe": "a", "data": "y"}, "data differs"), ({"recipe": "a"}, "data differs"), ({}, "data, recipe differ;")],
)
def test_anothers_checkpoint_is_refused_by_name(tmp_path, found, named):
    check_identity(tmp_path, {"recipe": "a", "data": "x"}, {"recipe": "a", "data": "x"})
    with pytest.raises(RunError) as fault:
        check_identity(tmp_path, found, {"recipe": "a", "data": "x"})
    assert named.rstrip(";") in str(fault.value)
    assert str(tmp_path) in str(fault.value)
    assert "--run" in str(fault.value)


def test_fit_refuses_a_folder_of_another_recipe(tmp_path):
    train("toy-vae", "elbo", tmp_path, settings(2), identity={"recipe": "a"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match="recipe differs"):
        train("toy-vae", "elbo", tmp_path, settings(2), identity={"recipe": "b"})
    with pytest.raises(RunError, match=r"train.clip_norm, train.steps differ \(got 2.0\); they have 1.0"):
        train("toy-vae", "elbo", tmp_path, settings(3, clip_norm=2.0), identity={"recipe": "a"})
    assert sorted(tmp_path.rglob("*")) == before


def fails_with(number: int):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


POINTS = {
    "tensors": (checkpoints, "save_tensors"),
    "json": (checkpoints, "write_sealed"),
    "sync": (files, "sync"),
    "rename": (files.Path, "rename"),
    "latest": (files.Path, "replace"),
    "mkdir": (files.Path, "mkdir"),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "no space"), (errno.EACCES, "no permission")])
def test_no_space_or_no_permission_leaves_the_last_one_good(tmp_path, monkeypatch, point, number, said):
    config = settings(6, checkpoint_steps=3)
    _, lines = train("toy-vae", "elbo", tmp_path / "whole", config)
    with monkeypatch.context() as patch:

        def fill(step, model):
            patch.setattr(*POINTS[point], fails_with(number))
            return Verdict()

        with pytest.raises(ResourceError, match=said):
            train("toy-vae", "elbo", tmp_path / "run", config, watches=[Periodic("fill", fill, 3)])
    assert newest(tmp_path / "run" / "checkpoints", print).step == 0
    _, resumed = train("toy-vae", "elbo", tmp_path / "run", config, model=fresh("toy-vae", seed=1))
    assert losses(resumed) == losses(lines)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_and_room_mends_it(small_disk):
    folder, filler = small_disk / "run", small_disk / "filler"
    train("toy-vae", "elbo", folder, settings(2))
    filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 40_000))  # less than a checkpoint
    with pytest.raises(ResourceError, match="no space left"):
        train("toy-vae", "elbo", small_disk / "other", settings(2))
    filler.unlink()
    train("toy-vae", "elbo", small_disk / "other", settings(2))


def test_load_names_what_is_missing(tmp_path):
    with pytest.raises(RunError, match="file is missing"):
        load(tmp_path, 3)
