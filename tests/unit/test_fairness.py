"""Decayed usage: an exact sum that halves with time, and refunds that balance."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.fairness import (
    HALF_LIFE,
    Span,
    Use,
    by_user,
    charged,
    decayed,
    gpu_seconds,
    jain,
    weigh,
)
from tests.support.stores import NOW

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def span(begin: float, end: float) -> Span:
    """From `begin` to `end`, in hours from NOW."""
    return Span(NOW + begin * HOUR, NOW + end * HOUR)


def use(begin: float, end: float, *refunds: Span, weight: Fraction = Fraction(1), user_id: int = 1) -> Use:
    return Use(user_id, weight, span(begin, end), refunds)


def test_an_hour_counts_half_after_a_half_life_and_a_quarter_after_two() -> None:
    lately = decayed(use(-1, 0), NOW)
    assert lately == pytest.approx(3600, rel=0.01)
    for halves in (1, 2, 10):
        assert decayed(use(-1, 0), NOW + halves * HALF_LIFE) == pytest.approx(lately / 2**halves)


def test_the_sum_is_the_integral() -> None:
    # Ten thousand short pieces, each as old as its middle.
    pieces = sum(
        3600 / 100 * 0.5 ** ((100 - piece / 100 - 1 / 200) * HOUR / HALF_LIFE) for piece in range(10_000)
    )
    assert decayed(use(-100, 0), NOW) == pytest.approx(pieces, rel=1e-6)


def test_only_what_is_past_counts_and_a_clock_set_back_gives_nothing() -> None:
    assert decayed(use(-1, 8), NOW) == decayed(use(-1, 0), NOW)
    assert decayed(use(2, 8), NOW) == 0
    assert gpu_seconds(use(8, 2), NOW + DAY) == 0


def test_who_used_how_much() -> None:
    uses = [use(-2, -1), use(-3, -2, weight=Fraction(3)), use(-1, 0, user_id=2), use(1, 2, user_id=3)]
    sums = by_user(uses, NOW)
    assert decayed(uses[1], NOW) == pytest.approx(3 * decayed(use(-3, -2), NOW))
    assert sums[1] == pytest.approx(decayed(uses[0], NOW) + decayed(uses[1], NOW))
    assert sums == {1: sums[1], 2: decayed(uses[2], NOW), 3: 0}


@pytest.mark.parametrize(
    ("profile", "sevenths"),
    [
        (None, 7),
        ("1g.10gb", 1),
        ("3g.20gb", 3),
        ("7g.80gb", 7),
        ("1g.10gb+me", 1),
        ("1c.3g.20gb", 3),
        ("0g.1gb", 7),
        ("9g.1gb", 7),
        ("whole", 7),
        ("", 7),
    ],
)
def test_a_slice_counts_its_sevenths_and_what_nobody_knows_a_whole_gpu(
    profile: str | None, sevenths: int
) -> None:
    assert weigh(profile) == Fraction(sevenths, 7)


def test_a_refund_takes_what_it_names_and_nothing_else() -> None:
    assert charged(use(-9, -1, span(-5, -3)), NOW) == [span(-9, -5), span(-3, -1)]
    assert charged(use(-9, -1, span(-5, 4)), NOW) == [span(-9, -5)]
    assert charged(use(-9, -1, span(-20, 4)), NOW) == []
    assert charged(use(-9, -1, span(-3, -5), span(2, 4)), NOW) == [span(-9, -1)]


HOURS = st.integers(-400, 400)
SPANS = st.builds(span, HOURS, HOURS)


@given(SPANS, st.lists(SPANS, max_size=5), st.integers(1, 7), st.integers(0, 500))
def test_refunds_balance(whole: Span, refunds: list[Span], sevenths: int, later: int) -> None:
    """What is charged and what is refunded are what was held: hour by hour, refunds that overlap once."""
    now = NOW + later * HOUR
    weight = Fraction(sevenths, 7)
    held = Use(1, weight, whole)
    left = Use(1, weight, whole, tuple(refunds))
    begin, end = whole.begin, min(whole.end, now)
    hours = range(max(0, int((end - begin) / HOUR)))
    free = sum(any(refund.begin <= begin + hour * HOUR < refund.end for refund in refunds) for hour in hours)
    balance = gpu_seconds(held, now) - free * 3600 * float(weight)
    assert gpu_seconds(left, now) == pytest.approx(balance)
    assert 0 <= gpu_seconds(left, now) <= gpu_seconds(held, now)
    assert -1e-9 <= decayed(left, now) <= decayed(held, now) + 1e-9


@given(SPANS, st.lists(SPANS, max_size=5), st.integers(0, 500))
def test_what_is_charged_is_in_order_and_apart(whole: Span, refunds: list[Span], later: int) -> None:
    spans = charged(Use(1, Fraction(1), whole, tuple(refunds)), NOW + later * HOUR)
    assert all(span.begin < span.end for span in spans)
    assert all(before.end <= after.begin for before, after in pairwise(spans))


@given(SPANS, st.integers(0, 400), st.integers(0, 400))
def test_looking_in_between_changes_nothing(whole: Span, first: int, second: int) -> None:
    """What had decayed at one moment, decayed on, and what came since, is what has decayed at the next."""
    early, late = NOW + first * HOUR, NOW + (first + second) * HOUR
    held = Use(1, Fraction(1), whole)
    since = Use(1, Fraction(1), Span(max(whole.begin, early), whole.end))
    carried = decayed(held, early) * 0.5 ** ((late - early) / HALF_LIFE)
    assert decayed(held, late) == pytest.approx(carried + decayed(since, late), abs=1e-6)


def test_jains_index() -> None:
    assert jain([5, 5, 5]) == pytest.approx(1)
    assert jain([9, 0, 0]) == pytest.approx(1 / 3)
    assert jain([1, 3]) == pytest.approx(0.8)
    assert jain([]) == jain([0, 0]) == 1
