import pytest
from hypothesis import given
from hypothesis import strategies as st

from makar.train.config import Constant, Cosine, Wsd
from makar.train.schedule import rate


def test_cosine_has_its_known_points():
    cosine = Cosine(warmup=0.1, floor=0.2)
    assert rate(cosine, 0, 1000) == pytest.approx(1 / 101)
    assert rate(cosine, 100, 1000) == 1.0
    assert rate(cosine, 550, 1000) == pytest.approx(0.6)  # half-way between peak and floor
    assert rate(cosine, 1000, 1000) == pytest.approx(0.2)


def test_wsd_is_flat_then_straight_down():
    wsd = Wsd(warmup=0.1, decay=0.2, floor=0.0)
    assert {rate(wsd, step, 1000) for step in range(100, 801)} == {1.0}
    assert rate(wsd, 900, 1000) == pytest.approx(0.5)
    assert rate(wsd, 999, 1000) == pytest.approx(0.005)


def test_constant_stays():
    assert rate(Constant(warmup=0.0), 0, 10) == rate(Constant(warmup=0.0), 9, 10) == 1.0


shares = st.floats(0, 1)


@given(
    st.one_of(
        st.builds(Cosine, warmup=shares, floor=shares),
        st.builds(Wsd, warmup=shares, decay=shares, floor=shares),
        st.builds(Constant, warmup=shares),
    ),
    st.integers(1, 300),
)
def test_any_schedule_rises_then_never_rises_again(schedule, steps):
    rates = [rate(schedule, step, steps) for step in range(steps)]
    assert all(0 <= r <= 1 + 1e-12 for r in rates)
    top = rates.index(max(rates))
    assert all(a <= b for a, b in zip(rates[:top], rates[1 : top + 1], strict=True))
    assert all(a >= b - 1e-12 for a, b in zip(rates[top:-1], rates[top + 1 :], strict=True))
