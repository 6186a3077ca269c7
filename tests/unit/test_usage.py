"""Usage: what leases held, counted from their times, and whether a request fits the allowance."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import usage
from gateway.errors import PlatformError
from gateway.leases import Lease, State
from gateway.losses import Loss
from gateway.quotas import Allowance
from gateway.scheduling import fairness
from tests.support.stores import NOW

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)


def lease(
    begin: float,
    end: float,
    gpus: int = 1,
    state: State = State.RELEASED,
    user: str = "alice",
    user_id: int = 1,
) -> Lease:
    """A lease from `begin` to `end`, in hours from NOW."""
    devices = tuple(f"GPU-{index}" for index in range(gpus))
    at = NOW + begin * HOUR
    until = NOW + end * HOUR
    return Lease(1, user_id, user, devices, state, at, until, until if state is State.RELEASED else None)


def test_a_gpu_counts_from_the_grant_until_it_is_free() -> None:
    since = NOW - WEEK
    assert usage.gpu_seconds(lease(-3, -1, gpus=2), since, NOW) == 4 * 3600
    assert usage.gpu_seconds(lease(-3, 5, state=State.ACTIVE), since, NOW) == 3 * 3600
    # Past its end and not free: its container has not stopped yet.
    assert usage.gpu_seconds(lease(-3, -1, state=State.GRACE), since, NOW) == 3 * 3600


def test_only_what_lies_in_the_time_counts() -> None:
    assert usage.gpu_seconds(lease(-3, -1), NOW - 2 * HOUR, NOW) == 3600
    assert usage.gpu_seconds(lease(-30, -20), NOW - 2 * HOUR, NOW) == 0
    assert usage.gpu_seconds(lease(-3, -1), NOW - WEEK, NOW - 2 * HOUR) == 3600


def test_a_clock_that_was_set_back_gives_no_hours_back() -> None:
    assert usage.gpu_seconds(lease(24, 30, state=State.ACTIVE), NOW - WEEK, NOW) == 0
    assert usage.to_come(lease(-30, -24, state=State.ACTIVE), NOW) == 0


def test_a_lease_that_is_ending_may_hold_nothing_more() -> None:
    assert usage.to_come(lease(-1, 2, gpus=3, state=State.ACTIVE), NOW) == 6 * 3600
    assert usage.to_come(lease(-1, 2, state=State.GRACE), NOW) == 0


def test_who_held_how_much() -> None:
    leases = [
        lease(-2, -1),
        lease(-9, -8, gpus=4, user="bob", user_id=2),
        lease(-2, 3, state=State.ACTIVE),
        lease(-900, -800, user="carol", user_id=3),
    ]
    assert usage.by_user(leases, NOW - WEEK, NOW) == [
        usage.Held(2, "bob", 4 * 3600, 1),
        usage.Held(1, "alice", 3 * 3600, 2),
    ]


def refused(allowed: Allowance | None, leases: list[Lease], count: int, hours: float) -> str | None:
    """The sentence of a refusal, or None."""
    try:
        usage.check("alice", allowed, leases, count, hours * HOUR, NOW)
    except PlatformError as error:
        return f"{error.code.value}: {error.message}"
    return None


def test_what_was_held_what_is_granted_and_what_is_asked_must_fit_together() -> None:
    ten = Allowance(10 * 3600, WEEK)
    leases = [lease(-5, -3), lease(-1, 2, state=State.ACTIVE), lease(-900, -800)]
    # 2 and 1 hours were held, 2 may follow: 5 are left.
    assert refused(ten, leases, 1, 5) is None
    assert refused(ten, leases, 5, 1) is None
    assert refused(ten, leases, 1, 5.5) == (
        "quota_exceeded: alice may hold 10 GPU-hours in 7d: 3 were held, 2 are still granted, "
        "and 5.5 more do not fit; "
        "ask for less time, release a lease, or raise the quota gpu_hours."
    )
    assert refused(None, leases, 99, 1000) is None
    assert refused(Allowance(0, WEEK), [], 1, 0.5) is not None


LEASES = st.lists(
    st.builds(
        lambda begin, length, gpus, state: lease(begin, begin + length, gpus, state),
        st.integers(-300, 0),
        st.integers(1, 200),
        st.integers(1, 4),
        st.sampled_from([State.ACTIVE, State.GRACE]),
    ),
    max_size=5,
)


@given(LEASES, st.integers(1, 8), st.integers(1, 200), st.integers(0, 2000))
def test_what_is_granted_can_be_used_up_without_passing_the_allowance(
    leases: list[Lease], count: int, hours: int, most: int
) -> None:
    """The end of the longest grant is looked at from every hour on the way: no window holds too much."""
    allowed = Allowance(most * 3600, WEEK)
    live = [each for each in leases if each.state is State.ACTIVE and each.expires_at > NOW]
    if refused(allowed, live, count, hours):
        return
    granted = [*live, lease(0, hours, count, State.ACTIVE)]
    for later in range(0, hours + 1, 8):
        moment: datetime = NOW + later * HOUR
        held = sum(usage.gpu_seconds(each, moment - WEEK, min(moment, each.expires_at)) for each in granted)
        assert held <= allowed.gpu_seconds


@pytest.mark.parametrize(("seconds", "words"), [(0, "0"), (3600, "1"), (5400, "1.5"), (360_000, "100")])
def test_hours_for_people(seconds: int, words: str) -> None:
    assert usage.hours(seconds) == words


def test_lost_time_weighs_on_nobody_in_the_queue() -> None:
    """Two GPUs for eight hours: one was lost for its last two and another for the last one, at once."""
    whole = lease(-8, 0, gpus=2)
    losses = (Loss("GPU-0", NOW - 2 * HOUR), Loss("GPU-9", NOW - HOUR, NOW))
    found = usage.uses(replace(whole, losses=losses), NOW)
    assert sum(fairness.gpu_seconds(use, NOW) for use in found) == (16 - 3) * 3600
    assert sum(fairness.gpu_seconds(use, NOW) for use in usage.uses(whole, NOW)) == 16 * 3600
    assert {use.user_id for use in found} == {1}
