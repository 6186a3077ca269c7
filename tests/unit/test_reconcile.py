"""What is recorded and what runs: a device is never free while a running container shows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.leases import Lease, State
from gateway.reconcile import Expire, Forget, Release, Stop, expired, settle, strays
from gateway.workspaces import Container
from tests.support.stores import NOW

DEVICES = ("A", "B", "C", "D")


def lease(id_: int, *devices: str, user: int = 1, state: State = State.ACTIVE, hours: int = 1) -> Lease:
    return Lease(id_, user, f"user{user}", devices, state, NOW, NOW + timedelta(hours=hours), reason="Over.")


def container(*gpus: str, user: int = 1, running: bool = True) -> Container:
    return Container(user, f"c{user}", "hash", running, gpus, "image")


ENDING = lease(1, "A", state=State.GRACE)


def test_a_lease_expires_at_its_time_and_not_before() -> None:
    early, due, gone = lease(1, "A", hours=2), lease(2, "B"), replace(ENDING, id=3)
    assert expired([early, due, gone], NOW + timedelta(hours=1)) == [Expire(due)]
    assert expired([due], NOW + timedelta(minutes=59, seconds=59)) == []


@pytest.mark.parametrize(
    ("leases", "found", "actions"),
    [
        ([ENDING], None, [Release(ENDING)]),
        ([ENDING], container(), [Release(ENDING)]),
        ([ENDING], container("B"), [Release(ENDING)]),
        ([ENDING], container("A"), [Stop(1, "Over.")]),
        ([ENDING], container("A", "B"), [Stop(1, "Over.")]),
        ([ENDING], container("A", running=False), [Release(ENDING)]),
        ([lease(1, "A")], container("A"), []),
        ([lease(2, "B"), ENDING], container("A", "B"), [Stop(1, "Over.")]),
        ([lease(2, "B"), ENDING], container("B"), [Release(ENDING)]),
        ([replace(ENDING, reason=None)], container("A"), [Stop(1, "The lease of your GPUs ended.")]),
    ],
)
def test_an_ending_lease(leases: list[Lease], found: Container | None, actions: list[object]) -> None:
    assert settle(leases, found) == actions


@pytest.mark.parametrize(
    ("found", "actions"),
    [
        (container("A"), []),
        (container(), []),
        (container("A", "B"), [Stop(1, "Your GPUs are held by nobody any more.")]),
        (container("B"), [Stop(1, "Your GPUs are held by nobody any more.")]),
        (container("B", running=False), []),
        (container(user=9), [Forget(9)]),
        (container(user=9, running=False), [Forget(9)]),
        (container("A", user=2), [Stop(2, "Your GPUs are held by nobody any more.")]),
    ],
)
def test_strays(found: Container, actions: list[object]) -> None:
    assert strays([found], {1, 2}, [lease(1, "A")]) == actions


LEASES = st.lists(
    st.tuples(st.integers(1, 3), st.sets(st.sampled_from(DEVICES), min_size=1), st.sampled_from(State)),
    max_size=6,
).map(lambda rows: [lease(n, *sorted(d), user=u, state=s) for n, (u, d, s) in enumerate(rows)])
CONTAINERS = st.builds(
    lambda gpus, user, running: container(*sorted(gpus), user=user, running=running),
    st.sets(st.sampled_from(DEVICES)),
    st.integers(1, 4),
    st.booleans(),
)


@given(LEASES, st.none() | CONTAINERS)
def test_nothing_is_released_that_a_running_container_shows(
    leases: list[Lease], found: Container | None
) -> None:
    actions = settle(leases, found)
    shown = set(found.gpus) if found is not None and found.running else set()
    for action in actions:
        if isinstance(action, Release):
            assert action.lease.state is State.GRACE
            assert not shown.intersection(action.lease.devices)
    stopped = any(isinstance(action, Stop) for action in actions)
    ending = [each for each in leases if each.state is State.GRACE]
    assert stopped == any(shown.intersection(each.devices) for each in ending)
    # After the stop every ending lease is released, and only these.
    if found is not None:
        after = settle(leases, replace(found, running=False))
        assert after == [Release(each) for each in ending]


@given(LEASES, st.lists(CONTAINERS, max_size=5), st.sets(st.integers(1, 4)))
def test_what_may_run_shows_only_what_its_user_holds(
    leases: list[Lease], found: list[Container], users: set[int]
) -> None:
    held = [each for each in leases if each.state is not State.RELEASED]
    actions = strays(found, users, held)
    touched = {action.workspace_id for action in actions}
    for each in found:
        mine = {device for one in held if one.user_id == each.workspace_id for device in one.devices}
        wrong = each.workspace_id not in users or (each.running and not set(each.gpus) <= mine)
        if wrong:
            assert each.workspace_id in touched
    assert all((action.workspace_id in users) == isinstance(action, Stop) for action in actions)
