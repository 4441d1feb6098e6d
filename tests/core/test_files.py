import errno
import hashlib
import os
import subprocess
import sys
from itertools import product

import pytest

from makar.core import files
from makar.core.errors import ResourceError, RunError
from makar.core.files import (
    folder_atomic,
    lock,
    nearest,
    read_json,
    read_sealed,
    sha256,
    write_atomic,
    write_json,
    write_sealed,
)


def left(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fails_with(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_written_and_replaced(tmp_path):
    write_atomic(tmp_path / "a", "old")
    write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert left(tmp_path) == ["a"]
    assert sha256(tmp_path / "a") == hashlib.sha256(b"new").hexdigest()


@pytest.mark.parametrize("point", [(files.os, "fsync"), (files.Path, "replace")], ids=["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "no space left"), (errno.EDQUOT, "no space left"), (errno.EROFS, "no permission")],
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, point, number, said):
    write_atomic(tmp_path / "a", "old")
    monkeypatch.setattr(*point, fails_with(number))
    with pytest.raises(ResourceError) as fault:
        write_atomic(tmp_path / "a", "new")
    assert said in str(fault.value)
    assert str(tmp_path / "a") in str(fault.value)
    assert fault.value.exit_code == 2
    assert (tmp_path / "a").read_text() == "old"
    assert left(tmp_path) == ["a"]


def test_what_is_no_matter_of_space_stays_an_error_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "fsync", fails_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        write_atomic(tmp_path / "a", "new")
    assert left(tmp_path) == []


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_file_in_the_way_of_a_folder_is_said(tmp_path, inside):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(ResourceError, match="a file is where a folder should be"), lock(tmp_path / "a" / inside):
        pass
    assert (tmp_path / "a").read_text() == "a file"


def test_a_full_device_is_said():
    with pytest.raises(ResourceError, match="no space left"), files.mending(files.Path("/dev/full")):
        files.Path("/dev/full").write_bytes(b"x" * 100_000)


def test_json_goes_and_comes_back_and_a_broken_one_is_named(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "ü"})
    assert read_json(tmp_path / "a.json") == {"b": 1, "a": "ü"}
    assert (tmp_path / "a.json").read_text().index('"b"') < (tmp_path / "a.json").read_text().index('"a"')
    (tmp_path / "a.json").write_text('{"b": ')
    with pytest.raises(RunError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(RunError, match="missing"):
        read_json(tmp_path / "b.json")


def test_a_sealed_object_comes_back_and_no_flipped_bit_goes_unseen(tmp_path):
    path, value = tmp_path / "a.json", {"b": [1.5, None], "a": {"ü": "x", "y": True}}
    write_sealed(path, value)
    assert read_sealed(path) == value
    whole = path.read_bytes()
    for place, bit in product(range(len(whole)), range(8)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(RunError, match=r"checksum|not valid JSON"):
            read_sealed(path)


def fill(folder, text):
    with folder_atomic(folder) as place:
        (place / "a").write_text(text)
        (place / "sub").mkdir()
        (place / "sub" / "b").write_text(text)


def test_a_folder_appears_whole_and_is_replaced_whole(tmp_path):
    fill(tmp_path / "deep" / "x", "old")
    fill(tmp_path / "deep" / "x", "new")
    assert (tmp_path / "deep" / "x" / "sub" / "b").read_text() == "new"
    assert left(tmp_path / "deep") == ["x"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    fill(tmp_path / "x", "old")

    def half():
        with folder_atomic(tmp_path / "x") as place:
            (place / "a").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert left(tmp_path) == ["x"]
    monkeypatch.setattr(files, "sync", fails_with(errno.ENOSPC))
    with pytest.raises(ResourceError):
        fill(tmp_path / "x", "new")
    assert (tmp_path / "x" / "a").read_text() == "old"
    assert left(tmp_path) == ["x"]


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    fill(tmp_path / "x", "old")
    real = files.Path.rename

    def rename(self, target):
        if self.name.endswith(".tmp"):
            raise OSError(errno.ENOSPC, "full")
        return real(self, target)

    monkeypatch.setattr(files.Path, "rename", rename)
    with pytest.raises(ResourceError):
        fill(tmp_path / "x", "new")
    assert (tmp_path / "x" / "a").read_text() == "old"
    assert left(tmp_path) == ["x"]


def killed() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_who_holds_a_folder_clears_what_killed_processes_left_and_nothing_else(tmp_path):
    dead, alive = killed(), os.getppid()
    leftovers = [f".a.json.{dead}.tmp", f"deep/.model.{dead}.tmp/weights", f".out.{dead}.tmp.gguf", f".b.{dead}.old/w"]
    leftovers.append(f".own.{os.getpid()}.tmp")  # in a container each process may have the number 1
    kept = [f".live.{alive}.tmp", ".hidden", ".note.tmp", "a.json", "b/w"]
    for name in [*leftovers, *kept, f"deep/.lost.{dead}.old/w"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with lock(tmp_path):
        found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == sorted([*kept, ".lock", "deep/lost/w"]), "the old folder, whose successor never came, is back"


def test_a_kill_while_writing_leaves_nothing_once_the_folder_is_held_again(tmp_path):
    code = "import os, sys, pathlib; from makar.core.files import folder_atomic, lock, write_atomic\n"
    code += "folder = pathlib.Path(sys.argv[1])\n"
    code += "with lock(folder), folder_atomic(folder / 'model') as place:\n"
    code += "    (place / 'w').write_text('half'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert len(left(tmp_path)) == 2
    with lock(tmp_path):
        assert left(tmp_path) == [".lock"]


def test_a_disk_without_locks_is_not_called_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(files.fcntl, "flock", fails_with(errno.ENOLCK))
    with pytest.raises(ResourceError, match="cannot be locked: No locks available"), lock(tmp_path / "run"):
        pass
    assert not files.locked(tmp_path / "run")


def test_nearest_is_an_ancestor_that_exists(tmp_path):
    assert nearest(tmp_path / "a" / "b" / "c") == tmp_path
    assert nearest(tmp_path) == tmp_path


def test_a_folder_in_use_is_refused_and_freed_on_errors(tmp_path):
    def hold():
        with lock(tmp_path / "run"), lock(tmp_path / "run"):
            pass

    with pytest.raises(RunError, match=f"process {os.getpid()}"):
        hold()
    with lock(tmp_path / "run"):
        pass
