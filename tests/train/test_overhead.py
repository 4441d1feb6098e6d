"""What the loop costs beyond forward, backward, clip and step."""

import json

import pytest

from tests.train.test_resume import FORKS
from tests.train.worker import run_overhead


@pytest.mark.slow
def test_the_loop_costs_under_three_percent_at_a_million_parameters(tmp_path):
    """CPU seconds of one thread, which other processes do not disturb; in a process without the tests' type checks."""
    process = FORKS.Process(target=run_overhead, args=(tmp_path,))
    process.start()
    process.join()
    found = json.loads((tmp_path / "overhead.json").read_text())
    print(found)
    assert found["adamw"] / found["bare"] < 1.03
