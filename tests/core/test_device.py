import json
from dataclasses import asdict, replace

import pytest
import torch

from makar.core import device
from makar.core.device import Machine, memory, probe


@pytest.fixture
def measured(monkeypatch):
    """Counts measurements, and makes them up."""
    calls = []

    def measure() -> Machine:
        calls.append(1)
        name, processor, threads, version = device.identity()
        return Machine(name, processor, threads, 10**9, version, fp32=1e9, bf16=2e9, bf16_gain=1.5)

    monkeypatch.setattr(device, "measure", measure)
    return calls


def test_a_machine_is_measured_once(tmp_path, measured):
    assert probe(tmp_path / "new") == probe(tmp_path / "new")
    assert len(measured) == 1


def test_what_is_stored_is_obeyed(tmp_path, measured):
    stored = replace(probe(tmp_path), bf16_gain=0.5)
    (tmp_path / "machine.json").write_text(json.dumps(asdict(stored)))
    assert probe(tmp_path) == stored
    assert probe(tmp_path).precision == "fp32"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(torch.__version__, "1.0"),
        lambda text: text.replace('"threads": 1', '"threads": 64'),
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"memory"', '"mem"'),
        lambda text: "[]",
    ],
    ids=["torch", "threads", "half", "field", "list"],
)
def test_what_is_stored_of_another_machine_is_measured_again(tmp_path, measured, spoil):
    probe(tmp_path)
    file = tmp_path / "machine.json"
    spoiled = spoil(file.read_text())
    assert spoiled != file.read_text()
    file.write_text(spoiled)
    probe(tmp_path)
    assert len(measured) == 2
    assert probe(tmp_path).torch == torch.__version__
    assert len(measured) == 2


def test_bf16_must_be_worth_it():
    machine = Machine("cpu", "x", 1, 1, "x", fp32=1.0, bf16=3.0, bf16_gain=device.WORTH)
    assert machine.precision == "bf16"
    assert replace(machine, bf16_gain=1.0).precision == "fp32"
    assert (machine.peak("fp32"), machine.peak("bf16")) == (1.0, 3.0)


def test_the_fastest_call_of_each_counts_and_the_first_does_not(monkeypatch):
    took = iter([0.1, 0.2, *[0.5, 0.9] * 4, 0.3, 0.8])  # the first turn warms up; five more, the last the fastest
    now, calls = [0.0], []

    def clock():
        return now[0]

    def work(name):
        now[0] += next(took)
        calls.append(name)

    monkeypatch.setattr(device.time, "perf_counter", clock)
    found = device.fastest([lambda: work("a"), lambda: work("b")], "cpu", seconds=1.0)
    assert found == pytest.approx([0.3, 0.8])
    assert calls == ["a", "b"] * (1 + device.ROUNDS), "they take turns"


def test_this_machine_has_memory_and_a_name():
    assert 2**28 < memory("cpu") < 2**50
    assert device.processor()
    assert device.identity()[2] == 1  # one thread in tests


@pytest.mark.slow
def test_a_real_measurement_is_sound():
    state = torch.get_rng_state()
    machine = device.measure()
    assert torch.equal(torch.get_rng_state(), state)
    assert machine.fp32 > 1e9
    assert machine.bf16 > 1e8
    assert 0.05 < machine.bf16_gain < 50
