import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makar.core.nouns import Verdict
from makar.train.history import NEAR, WINDOW, History, outlier


def seen(count=WINDOW, loss=2.0, norm=1.0) -> History:
    """A history of a calm run."""
    history, noise = History(), torch.Generator().manual_seed(0)
    for wiggle in torch.rand(count, generator=noise).tolist():
        assert history.judge({"": (loss + 0.1 * wiggle, norm + 0.1 * wiggle)}) is None
    return history


def test_a_spike_is_one_in_loss_and_gradient():
    assert "spike" in seen().judge({"": (50.0, 30.0)})
    assert seen().judge({"": (50.0, 1.0)}) is None
    assert seen().judge({"": (2.0, 30.0)}) is None
    assert seen().judge({"": (2.5, 1.2)}) is None
    assert seen(WINDOW - 1).judge({"": (50.0, 30.0)}) is None  # too early to tell


def test_in_a_game_a_burst_is_no_fault():
    history, calm = History(), {"critic": (0.5, 1.0), "generator": (1.0, 1.0)}
    for _ in range(WINDOW):
        assert history.judge(calm) is None
    assert history.judge(calm | {"critic": (50.0, 30.0)}) is None
    assert "critic" in history.judge(calm | {"critic": (math.nan, 30.0)})


@pytest.mark.parametrize("pair", [(math.nan, 1.0), (1.0, math.inf), (-math.inf, 1.0)])
def test_what_is_not_finite_is_a_fault_at_once(pair):
    history = History()
    assert "critic" in history.judge({"generator": (1.0, 1.0), "critic": pair})
    assert history.window == {}


def test_a_fault_is_not_taken_in():
    history = seen()
    before = history.to_json()
    history.judge({"": (50.0, 30.0)})
    assert history.to_json() == before


@given(st.lists(st.floats(-1e6, 1e6), min_size=WINDOW, max_size=WINDOW), st.floats(0.5, 100), st.floats(-1e3, 1e3))
def test_no_past_value_is_an_outlier_among_equals_and_scale_does_not_matter(past, scale, value):
    middle = sorted(past)[WINDOW // 2 - 1]
    assert not outlier(middle, past)
    if outlier(value, past) and value != 0:
        assert outlier(value + abs(value), past)  # more of it is one too


def test_it_survives_json_to_the_bit():
    history = seen(5)
    history.skipped, history.best, history.best_step = [3], 0.1 + 0.2, 4
    assert History.from_json(json.loads(json.dumps(history.to_json()))) == history


def test_the_same_place_is_near_and_after():
    history = History(skipped=[100])
    assert history.hopeless(100)
    assert history.hopeless(100 + NEAR)
    assert not history.hopeless(101 + NEAR)
    assert not history.hopeless(99)


def test_patience_counts_looks_since_the_best():
    history = History()
    assert history.take(10, Verdict(score=1.0), 2)
    assert not history.take(20, Verdict(score=1.5), 2)
    assert not history.take(30, Verdict(), 2)  # this one does not judge
    assert history.take(40, Verdict(score=0.5), 2)
    assert history.ended is None
    history.take(50, Verdict(score=0.5), 2)
    history.take(60, Verdict(score=0.6), 2)
    assert (history.best, history.best_step) == (0.5, 40)
    assert "no improvement in 2 looks" in history.ended


def test_a_score_that_is_no_number_is_never_the_best():
    history = History()
    assert not history.take(10, Verdict(score=float("nan")), 2)
    assert history.take(20, Verdict(score=1.0), 2)
    assert not history.take(30, Verdict(score=float("nan")), 2)
    assert (history.best, history.best_step) == (1.0, 20)
    history = History()
    history.take(10, Verdict(score=float("nan")), 1)
    assert history.ended == "no improvement in 1 looks; none was finite"


def test_where_most_steps_teach_nothing_one_that_does_is_no_spike():
    history = History()
    for step in range(200):
        assert history.judge({"": (0.02, 0.4) if step % 5 == 4 else (0.0, 0.0)}) is None
