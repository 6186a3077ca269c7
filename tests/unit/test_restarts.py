"""When a container restarts to show a changed set of GPUs, and how far that is put off."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway import restarts
from gateway.errors import PlatformError
from gateway.leases import Lease, State
from gateway.restarts import LONGEST, NOTICE, Restart, Step
from tests.support.stores import NOW

MINUTE = timedelta(minutes=1)
TOLD = Restart(1, ("GPU-a",), NOW, NOW + NOTICE)


def lease(state: State, *devices: str) -> Lease:
    return Lease(1, 1, "alice", devices, state, NOW, NOW + timedelta(hours=8))


@pytest.mark.parametrize(
    ("differs", "occupied", "told", "later", "expected"),
    [
        (False, False, None, 0, Step.KEEP),
        (False, True, TOLD, 99, Step.KEEP),
        (True, False, None, 0, Step.RENEW),
        (True, False, TOLD, 0, Step.RENEW),
        (True, True, None, 0, Step.TELL),
        (True, True, TOLD, 9, Step.WAIT),
        (True, True, TOLD, 10, Step.RESTART),
    ],
)
def test_steps(differs: bool, occupied: bool, told: Restart | None, later: int, expected: Step) -> None:
    """Every row of the table, `later` minutes after she was told."""
    now = NOW + later * MINUTE
    assert restarts.step(differs=differs, occupied=occupied, restart=told, now=now) is expected


def test_what_a_container_is_to_show() -> None:
    """All that she may use; nothing while a lease that is over stops it anyway."""
    live = [lease(State.GRANTED, "GPU-b"), lease(State.WARNED, "GPU-a")]
    assert restarts.wanted(live, ()) == ("GPU-a", "GPU-b")
    over = lease(State.GRACE, "GPU-c")
    assert restarts.wanted([*live, over], ("GPU-a",)) == ("GPU-a", "GPU-b")
    assert restarts.wanted([*live, over], ("GPU-c",)) is None


def test_it_is_put_off_by_a_length_or_as_far_as_may_be() -> None:
    assert restarts.put_off(TOLD, 30 * MINUTE, NOW).due_at == NOW + NOTICE + 30 * MINUTE
    assert restarts.put_off(TOLD, None, NOW).due_at == NOW + LONGEST
    exactly = restarts.put_off(TOLD, LONGEST - NOTICE, NOW)
    assert exactly.due_at == NOW + LONGEST


@pytest.mark.parametrize("length", [None, MINUTE])
def test_it_is_not_put_off_beyond_two_hours_after_she_was_told(length: timedelta | None) -> None:
    latest = restarts.put_off(TOLD, None, NOW)
    with pytest.raises(PlatformError, match="can be put off until 2026-11-23 17:00 UTC, no later"):
        restarts.put_off(latest, length, NOW + MINUTE)
    with pytest.raises(PlatformError, match="no later"):
        restarts.put_off(TOLD, LONGEST, NOW)


def test_what_has_begun_is_not_put_off() -> None:
    with pytest.raises(PlatformError, match="is being restarted already"):
        restarts.put_off(TOLD, None, TOLD.due_at)


def test_a_second_change_waits_for_the_same_moment() -> None:
    """Else somebody who is granted a GPU every hour would never see one."""
    second = restarts.first(1, ("GPU-a", "GPU-b"), replace(TOLD, due_at=NOW + LONGEST), NOW + 30 * MINUTE)
    assert (second.told_at, second.due_at) == (NOW, NOW + LONGEST)
    assert restarts.first(1, ("GPU-a",), None, NOW) == TOLD
