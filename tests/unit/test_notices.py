"""When the end of a lease is told of, and in which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.leases import Lease, State
from gateway.notices import LONGEST_REASON, WARN_BEFORE, Farewell, due, stopped, stopping, warning
from tests.support.stores import NOW

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def lease(length: timedelta) -> Lease:
    """Granted at NOW."""
    return Lease(3, 1, "alice", ("GPU-0",), State.ACTIVE, NOW, NOW + length, shown=True)


def told(length: timedelta, every: timedelta, until: timedelta) -> list[tuple[timedelta, timedelta]]:
    """Which warnings are given by one who looks so often: how long before the end each is, and was."""
    given, told_at, moment, end = [], NOW, NOW, NOW + length
    while moment <= NOW + until:
        before = due(told_at, end, moment)
        if before is not None:
            given.append((before, end - moment))
            told_at = moment
        moment += every
    return given


def test_a_long_lease_is_warned_of_four_times_each_in_its_moment() -> None:
    given = told(2 * DAY, timedelta(seconds=30), 3 * DAY)
    assert given == [(before, before) for before in (DAY, HOUR, 10 * MINUTE, MINUTE)]


@pytest.mark.parametrize(
    ("length", "marks"),
    [
        (DAY, [HOUR, 10 * MINUTE, MINUTE]),
        (DAY + MINUTE, [DAY, HOUR, 10 * MINUTE, MINUTE]),
        (8 * HOUR, [HOUR, 10 * MINUTE, MINUTE]),
        (10 * MINUTE, [MINUTE]),
        (MINUTE, []),
    ],
)
def test_what_lies_before_the_grant_is_not_warned_of(length: timedelta, marks: list[timedelta]) -> None:
    assert [before for before, _ in told(length, timedelta(seconds=30), 2 * DAY)] == marks


def test_after_a_pause_only_the_newest_is_given() -> None:
    end = NOW + 2 * DAY
    late = end - 5 * MINUTE
    assert due(NOW, end, late) == 10 * MINUTE
    assert due(end - DAY, end, late) == 10 * MINUTE
    assert due(end - 10 * MINUTE, end, late) is None


@pytest.mark.parametrize("after", [timedelta(0), HOUR, 9 * DAY])
def test_nobody_is_warned_of_an_end_that_has_come(after: timedelta) -> None:
    assert due(NOW, NOW + 2 * DAY, NOW + 2 * DAY + after) is None


def test_an_extended_lease_is_warned_of_its_new_end_and_not_at_once() -> None:
    """Told an hour before its end, and moved by eight hours then: the day before the new end is over."""
    told_at = NOW + 2 * DAY - HOUR
    end = NOW + 2 * DAY + 8 * HOUR
    assert due(told_at, end, told_at + MINUTE) is None
    assert due(told_at, end, end - HOUR) == HOUR


@given(st.integers(1, 4 * 1440), st.lists(st.integers(0, 5 * 1440), max_size=40).map(sorted))
def test_however_often_somebody_looks_each_is_given_once_and_in_time(length: int, looks: list[int]) -> None:
    """Never twice, never after the end, never early, and the last look before the end knows the newest."""
    end, told_at = NOW + length * MINUTE, NOW
    given: list[timedelta] = []
    for look in looks:
        moment = NOW + look * MINUTE
        before = due(told_at, end, moment)
        if before is not None:
            assert timedelta(0) < end - moment <= before < end - NOW
            given.append(before)
            told_at = moment
        wanted = [mark for mark in WARN_BEFORE if end - moment <= mark < end - NOW]
        assert moment >= end or given[-1:] == ([min(wanted)] if wanted else [])
    assert given == sorted(set(given), reverse=True)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (DAY, "1d"),
        (timedelta(minutes=59, seconds=59), "1h"),
        (timedelta(seconds=61), "2m"),
        (timedelta(seconds=1), "1m"),
    ],
)
def test_a_warning_says_when_what_then_and_how_to_keep_it(left: timedelta, said: str) -> None:
    held = lease(2 * DAY)
    assert warning(held, "GPU 0 and GPU 1", held.expires_at - left) == (
        f"Your lease 3 of GPU 0 and GPU 1 ends in {said}, at 2026-11-25 15:00 UTC; your container is stopped "
        "then. To keep it longer: gpu extend 3"
    )


def test_a_container_that_does_not_show_the_gpus_is_not_stopped() -> None:
    assert "container" not in warning(replace(lease(DAY), shown=False), "GPU 0", NOW)


def test_the_words_of_the_end() -> None:
    until = datetime.fromisoformat("2026-11-23T15:10:00Z")
    assert stopping("Your lease 3 ended at its time.", until) == (
        "Your lease 3 ended at its time. Your container is stopped when the programs that save their work "
        "and ~/.config/gpu/on-stop have ended, at 2026-11-23 15:10 UTC at the latest."
    )
    assert stopped(
        Farewell(until, "An operator stopped your container; log in again to have it started.")
    ) == ("Your container was stopped at 2026-11-23 15:10 UTC: An operator stopped your container.")
    assert len(stopped(Farewell(until, "x" * 9999))) < LONGEST_REASON + 100
