"""Damaged and hostile files: an error of ours at once, no other, and no memory that the file did not fill."""

import json
import random
import re
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from makar.core.errors import UserError
from makar.engine.load import open_model
from makar.families.language.family import FAMILY
from makar.families.table import CONFIGS, family
from makar.interop.gguf_read import read_gguf
from makar.interop.gguf_write import write_gguf
from tests.interop.conftest import build

SECONDS, MEGABYTES = 1.0, 100
ABSURD = (0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
CASES = [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]


def truncated(data: bytes, rng: random.Random, head: int) -> bytes:
    return data[: rng.randrange(rng.choice((64, head, len(data))))]


def flipped(data: bytes, rng: random.Random, head: int) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(rng.choice((64, head, len(data))))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def absurd(data: bytes, rng: random.Random, head: int) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3))):
        place, code = rng.randrange(rng.choice((64, head)) - 8), rng.choice(["<I", "<Q", "<B"])
        number = struct.pack(code, rng.choice(ABSURD) % 2 ** (8 * struct.calcsize(code)))
        changed[place : place + len(number)] = number
    return bytes(changed)


def shuffled(data: bytes, rng: random.Random, head: int) -> bytes:
    start, size = rng.randrange(head), rng.randrange(1, 200)
    kind = rng.choice(("drop", "twice", "noise"))
    piece = {"drop": b"", "twice": data[start : start + size] * 2, "noise": rng.randbytes(size)}[kind]
    return data[:start] + piece + data[start + size :]


DAMAGE: list[Callable[[bytes, random.Random, int], bytes]] = [truncated, flipped, absurd, shuffled]


CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def highest() -> float:
    """The most memory that this process has held, in megabytes, since the call before: Linux forgets it if told to."""
    if not CLEAR.exists():
        return 0.0
    (found,) = re.findall(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    CLEAR.write_text("5")
    return int(found) / 1024


def survive(cases: int, attack: Callable[[random.Random], object]) -> int:
    """Run attacks; how many were refused."""
    highest()
    before, refused = highest(), 0
    for case in range(cases):
        start = time.process_time()
        try:
            attack(random.Random(case))
        except UserError:
            refused += 1
        except BaseException as fault:  # a panic of a library is no Exception
            raise AssertionError(f"case {case}: {type(fault).__name__}: {fault}") from fault
        assert time.process_time() - start < SECONDS, case
    assert highest() - before < MEGABYTES
    return refused


@pytest.mark.skipif(not CLEAR.exists(), reason="only Linux forgets a peak")
def test_an_attack_that_fills_memory_for_a_moment_is_noticed(monkeypatch):
    """Also where the process has held more before, and of many attacks only one does."""
    monkeypatch.setitem(globals(), "MEGABYTES", 20)
    assert len(b"x" * (120 << 20)) == 120 << 20
    assert survive(3, lambda rng: rng.random()) == 0
    with pytest.raises(AssertionError, match="< 20"):
        survive(3, lambda rng: len(b"x" * (60 << 20)) if rng.random() < 0.5 else None)


def test_an_attack_that_takes_long_or_breaks_out_is_noticed(monkeypatch):
    monkeypatch.setitem(globals(), "SECONDS", 0.0)
    with pytest.raises(AssertionError, match="< 0"):
        survive(1, lambda rng: sum(range(10_000)))
    with pytest.raises(AssertionError, match="case 0: KeyError"):
        survive(1, lambda rng: {}[rng])


@pytest.fixture
def small(bpe):
    return build(bpe, hidden_size=32, num_attention_heads=2, intermediate_size=32)


@pytest.mark.parametrize("cases", CASES)
def test_damaged_gguf_files_are_refused_or_harmless(small, tmp_path, cases):
    path = tmp_path / "m.gguf"
    write_gguf(small, path, "q8_0")
    whole = path.read_bytes()
    header = whole.index(b"output_norm.weight")

    def attack(rng: random.Random) -> None:
        path.write_bytes(rng.choice(DAMAGE)(whole, rng, header))
        read_gguf(path)

    assert survive(cases, attack) > cases / 2


def mistyped(data: bytes, rng: random.Random) -> bytes:
    """JSON with a value, somewhere, of another size or type."""
    found = json.loads(data)
    place = found
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        place[key] = rng.choice((None, -1, 0, 10**6, 10**12, 1e300, "", "x", [], {}, [1], True, [[None]], {"a": []}))
        return json.dumps(found).encode()


FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json")


@pytest.mark.parametrize("cases", CASES)
def test_damaged_model_folders_are_refused_or_harmless(small, tmp_path, cases):
    folder = tmp_path / "whole"
    folder.mkdir()
    FAMILY.folder.save(small, folder)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    tried = Path(shutil.copytree(folder, tmp_path / "tried"))
    for name in CONFIGS:
        family(name)  # a folder of no family is shown to all of them: what they import is not the folder's doing

    def attack(rng: random.Random) -> None:
        name = rng.choice(FILES)
        head = 2000 if name == "model.safetensors" else len(whole[name])
        if name.endswith(".json") and rng.random() < 0.5:
            (tried / name).write_bytes(mistyped(whole[name], rng))
        else:
            (tried / name).write_bytes(rng.choice(DAMAGE)(whole[name], rng, head))
        try:
            open_model(tried)
        finally:
            (tried / name).write_bytes(whole[name])

    assert survive(cases, attack) > cases / 3
