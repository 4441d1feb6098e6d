"""What collecting takes of memory: little, and no more where there is more to collect."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COLLECT = """
import sys
from pathlib import Path
from makar.data.collect import collect
collect(sys.argv[2:], Path(sys.argv[1]))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print("torch" in sys.modules, 1024 * int(peak.split()[1]))
"""


def collected(out, *sources):
    """Collect in a process of its own: whether that imported torch, and its peak in bytes."""
    done = subprocess.run([sys.executable, "-c", COLLECT, out, *sources], check=True, capture_output=True, text=True)
    torch, peak = done.stdout.split()
    return torch == "True", int(peak)


def texts(megabytes, seed):
    """Texts of 10 kB, of 20,000 words that no language has."""
    random = np.random.default_rng(seed)
    words = random.integers(97, 123, (20_000, 7), dtype=np.uint8)
    words[:, 6] = 32
    for _ in range(100 * megabytes):
        yield words[random.integers(0, len(words), 1429)].tobytes().decode()


def write(folder, megabytes):
    """Half of it as lines of JSON, half as a Parquet file of one row group."""
    folder.mkdir()
    with (folder / "a.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts(megabytes // 2, 0))
    pq.write_table(pa.table({"text": list(texts(megabytes - megabytes // 2, 1))}), folder / "b.parquet")
    return folder


def test_collecting_texts_imports_no_torch(tmp_path):
    torch, peak = collected(tmp_path / "out", write(tmp_path / "in", 2))
    assert not torch
    assert peak < 1.5e9


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    _, some = collected(tmp_path / "some", write(tmp_path / "in", 30))
    _, twice = collected(tmp_path / "twice", write(tmp_path / "two", 60))
    assert twice < 1.5e9
    assert twice < 1.1 * some, f"{some / 1e6:.0f} MB for 30 MB of text, {twice / 1e6:.0f} MB for 60 MB"
