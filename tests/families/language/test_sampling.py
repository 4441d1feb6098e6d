import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from makar.families.language.sampling import draw, likeliest, penalize_repeats, seen_tokens, warp
from makar.families.language.stops import release

ROWS, VOCAB = 6, 97


def random_logits(seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(ROWS, VOCAB, generator=torch.Generator().manual_seed(seed))


def row_settings(seed: int) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    return {
        "penalty": rng.choice([1.0, 1.3, 0.8], ROWS).tolist(),
        "temperature": rng.uniform(0.3, 1.5, ROWS).tolist(),
        "top_k": rng.choice([0, 1, 5, 40, 500], ROWS).tolist(),
        "top_p": rng.choice([1.0, 0.9, 0.3, 0.01], ROWS).tolist(),
        "min_p": rng.choice([0.0, 0.05, 0.5, 1.0], ROWS).tolist(),
    }


@pytest.mark.parametrize("seed", range(12))
def test_each_row_gives_what_transformers_gives_with_its_settings(seed):
    logits, asked = random_logits(seed), row_settings(seed)
    tokens = torch.randint(0, VOCAB, (ROWS, 20), generator=torch.Generator().manual_seed(seed))
    lengths = torch.arange(3, 3 + ROWS)
    column = {name: torch.tensor(values, dtype=torch.float64) for name, values in asked.items()}
    ours = penalize_repeats(logits, seen_tokens(tokens, lengths, VOCAB), column["penalty"])
    ours = warp(ours, column["temperature"], column["top_k"].long(), column["top_p"], column["min_p"])
    for row in range(ROWS):
        ids, theirs = tokens[row : row + 1, : lengths[row]], logits[row : row + 1].clone()
        processors = [
            RepetitionPenaltyLogitsProcessor(asked["penalty"][row]),
            TemperatureLogitsWarper(asked["temperature"][row]),
        ]
        if asked["top_k"][row]:
            processors.append(TopKLogitsWarper(asked["top_k"][row]))
        if asked["top_p"][row] < 1:
            processors.append(TopPLogitsWarper(asked["top_p"][row]))
        processors.append(MinPLogitsWarper(asked["min_p"][row]))
        for process in processors:
            theirs = process(ids, theirs)
        assert torch.equal(ours[row].isinf(), theirs[0].isinf())
        assert torch.allclose(ours[row], theirs[0], rtol=1e-6)


def test_settings_that_are_off_change_nothing():
    logits = random_logits()
    off, on = torch.zeros(ROWS, dtype=torch.float64), torch.ones(ROWS, dtype=torch.float64)
    assert torch.equal(warp(logits, on, off.long(), on, off), logits)
    assert torch.equal(penalize_repeats(logits, torch.ones(ROWS, VOCAB, dtype=torch.bool), on), logits)


def test_no_temperature_is_too_cold_to_draw_at():
    logits, one = random_logits(), torch.ones(ROWS, dtype=torch.float64)
    for temperature in (1e-38, 1e-300):
        left = warp(logits, temperature * one, 0 * one.long(), 0.95 * one, 0 * one)
        assert torch.equal(draw(left, 0.5 * one), logits.argmax(-1))


def kept(logits: list[float], top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> list[int]:
    one = torch.ones(1, dtype=torch.float64)
    left = warp(torch.tensor([logits]), one, (top_k * one).long(), top_p * one, min_p * one)
    return left[0].isfinite().nonzero().flatten().tolist()


def test_what_equals_the_last_that_is_kept_is_kept_too():
    logits = [1.0, 3.0, 2.0, 2.0, 0.0]
    assert kept(logits, top_k=2) == [1, 2, 3]
    assert kept(logits, top_p=0.6) == [1, 2, 3]
    assert kept(logits, top_p=0.5) == [1]
    assert kept(logits, min_p=0.36) == [1, 2, 3]


def test_at_least_one_token_is_always_left():
    logits = [1.0, 3.0, 2.0, 2.0, 0.0]
    assert kept(logits, top_k=1) == kept(logits, top_p=1e-12) == kept(logits, min_p=1.0) == [1]
    assert kept(logits, 1, 1e-12, 1.0) == [1]


def test_the_likeliest_is_the_first_of_equals_and_nan_is_not_overlooked():
    assert likeliest(torch.tensor([[1.0, 5.0, 5.0], [2.0, math.nan, 9.0], [-1.0, -math.inf, -2.0]])).tolist() == [
        1,
        1,
        0,
    ]


def test_draws_follow_the_softmax():
    """Chi-square over 31 tokens: 30 degrees of freedom, 59.7 is the point that chance passes once in a thousand."""
    logits = torch.randn(1, 31, generator=torch.Generator().manual_seed(3)).expand(20_000, -1)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(4))
    counts = torch.bincount(draw(logits, uniform), minlength=31)
    expected = logits[0].softmax(-1) * 20_000
    assert float(((counts - expected) ** 2 / expected).sum()) < 59.7
    assert float(((counts - 20_000 / 31) ** 2 / (20_000 / 31)).sum()) > 59.7  # and the test can tell another


def test_what_is_filtered_out_is_never_drawn():
    logits = torch.full((3, 9), -math.inf)
    logits[:, 4] = -50.0
    assert draw(logits, torch.tensor([1e-9, 0.5, 1 - 2**-24])).tolist() == [4, 4, 4]
    logits[:, 7] = -50.0
    assert draw(logits, torch.tensor([1e-9, 0.499, 0.501])).tolist() == [4, 4, 7]


def test_only_the_tokens_before_the_length_are_seen():
    seen = seen_tokens(torch.tensor([[5, 2, 0, 0], [1, 1, 3, 0]]), torch.tensor([2, 3]), 6)
    assert seen.nonzero().tolist() == [[0, 2], [0, 5], [1, 1], [1, 3]]


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("abc", [], (3, False)),
        ("say STOP now", ["STOP"], (4, True)),
        ("say ST", ["STOP"], (4, False)),
        ("say STO", ["STOP", "OP"], (4, False)),
        ("aab", ["aabb", "abc"], (0, False)),
        ("xaabb", ["aabb", "abb"], (1, True)),  # complete at once: the longer
        ("abc", ["abc", "b"], (1, True)),  # "b" is complete first
        ("END", ["END"], (0, True)),
    ],
)
def test_what_may_be_given_out_before_a_stop_string(text, stops, expected):
    assert release(text, stops) == expected


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.data())
def test_the_pieces_in_which_a_text_arrives_do_not_matter(text, stops, data):
    def shown(cuts: list[int]) -> str:
        out, held = "", ""
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            held += text[start:end]
            count, stopped = release(held, stops)
            out, held = out + held[:count], held[count:]
            if stopped:
                return out
        return out + held

    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    whole = shown([])
    assert shown(cuts) == whole
    assert not any(stop in whole for stop in stops)
    assert text.startswith(whole)
