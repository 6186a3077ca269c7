"""Choosing devices: the same inventory gives the same answer, and a refusal says who holds what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.devices import Device, DeviceRequest, managed
from gateway.errors import Code, PlatformError
from gateway.leases import HOLDING, Change, Lease, State, after
from gateway.scheduling.choosing import choose
from tests.support.stores import NOW, gpu


def lease(user: str, *indexes: int, state: State = State.ACTIVE, hours: int = 8) -> Lease:
    devices = tuple(gpu(index).id for index in indexes)
    return Lease(1, 1, user, devices, state, NOW, NOW + timedelta(hours=hours))


def ids(*indexes: int) -> tuple[str, ...]:
    return tuple(gpu(index).id for index in indexes)


FOUR = [gpu(index) for index in range(4)]

WAYS = {
    State.QUEUED: {Change.GRANT: State.GRANTED, Change.WITHDRAW: State.RELEASED},
    State.GRANTED: {Change.SHOW: State.ACTIVE, Change.WARN: State.WARNED, Change.END: State.GRACE},
    State.ACTIVE: {Change.WARN: State.WARNED, Change.END: State.GRACE},
    State.WARNED: {Change.EXTEND: State.GRANTED, Change.END: State.GRACE},
    State.GRACE: {Change.FREE: State.RELEASED},
    State.RELEASED: {},
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("change", Change)
def test_every_state_and_every_change(state: State, change: Change) -> None:
    assert after(state, change) is WAYS[state].get(change)


def test_an_extended_lease_is_active_once_a_container_showed_it() -> None:
    assert after(State.WARNED, Change.EXTEND, shown=True) is State.ACTIVE


@given(st.lists(st.sampled_from(Change), max_size=30))
def test_devices_are_held_until_no_container_shows_them(changes: list[Change]) -> None:
    state = State.QUEUED
    for change in changes:
        was, state = state, after(state, change) or state
        if was in HOLDING and state not in HOLDING:
            assert (was, change, state) == (State.GRACE, Change.FREE, State.RELEASED)


def test_the_lowest_free_indexes_are_taken() -> None:
    assert choose(list(reversed(FOUR)), [lease("bob", 0, 2)], DeviceRequest(2)) == ids(1, 3)


def test_nodes_come_before_indexes() -> None:
    other = Device("X", 0, "H200", 1, node="another")
    assert choose([*FOUR, other], [], DeviceRequest(2)) == ("X", *ids(0))


def test_named_devices_are_taken_and_no_others() -> None:
    assert choose(FOUR, [], DeviceRequest(2, ids(3, 1))) == ids(3, 1)


def test_a_device_with_a_problem_is_passed_over_and_named_when_it_is_missed() -> None:
    devices = [gpu(0, "fell off the bus"), gpu(1)]
    assert choose(devices, [], DeviceRequest(1)) == ids(1)
    with pytest.raises(PlatformError, match=r"GPU 0 is out of order \(fell off the bus\)") as caught:
        choose(devices, [], DeviceRequest(2))
    assert caught.value.code is Code.NO_CAPACITY


def test_a_drained_device_is_not_granted_and_named_when_it_is_missed() -> None:
    devices = [replace(gpu(0), drained="fan"), replace(gpu(1), drained=""), gpu(2)]
    assert choose(devices, [], DeviceRequest(1)) == ids(2)
    with pytest.raises(PlatformError, match=r"GPU 0 is drained \(fan\); GPU 1 is drained; ask") as caught:
        choose(devices, [], DeviceRequest(2))
    assert caught.value.code is Code.NO_CAPACITY


def test_a_shortage_says_who_holds_what_until_when() -> None:
    held = [lease("bob", 2, 3, hours=9), lease("carol", 0, state=State.GRACE), lease("dave", 1)]
    with pytest.raises(PlatformError) as caught:
        choose(FOUR, held, DeviceRequest(1))
    assert caught.value.code is Code.NO_CAPACITY
    assert caught.value.message == (
        "1 GPU is wanted and 0 of 4 can be granted now: carol holds GPU 0 until its container has stopped; "
        "dave holds GPU 1 until 2026-11-23 23:00 UTC; bob holds GPU 2 and GPU 3 until 2026-11-24 00:00 UTC; "
        "ask again later, or end a lease with gpuadmin release."
    )
    assert "gpuadmin" not in caught.value.fact


def test_a_shortage_of_named_devices_speaks_of_these_alone() -> None:
    with pytest.raises(PlatformError) as caught:
        choose(FOUR, [lease("bob", 2), lease("carol", 3)], DeviceRequest(1, ids(3)))
    assert "carol holds GPU 3" in caught.value.message
    assert "bob" not in caught.value.message


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (DeviceRequest(0), Code.INVALID),
        (DeviceRequest(2, ids(1)), Code.INVALID),
        (DeviceRequest(2, ids(1, 1)), Code.INVALID),
        (DeviceRequest(1, ("GPU-nope",)), Code.NOT_FOUND),
        (DeviceRequest(5), Code.CONFLICT),
    ],
)
def test_requests_that_can_never_be_met(request_: DeviceRequest, code: Code) -> None:
    with pytest.raises(PlatformError) as caught:
        choose(FOUR, [], request_)
    assert caught.value.code is code


@given(
    st.sets(st.integers(0, 7)),
    st.sets(st.integers(0, 7)),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_what_is_chosen_was_free_and_sound(
    held: set[int], broken: set[int], count: int, random: object
) -> None:
    devices = [gpu(index, "broken" if index in broken else None) for index in range(8)]
    shuffled = sorted(devices, key=lambda _: random.random())  # type: ignore[attr-defined]
    free = [index for index in range(8) if index not in held | broken]
    if len(free) >= count:
        assert choose(shuffled, [lease("bob", *held)], DeviceRequest(count)) == ids(*free[:count])
        return
    with pytest.raises(PlatformError) as caught:
        choose(shuffled, [lease("bob", *held)], DeviceRequest(count))
    assert caught.value.code is (Code.CONFLICT if count > 8 else Code.NO_CAPACITY)


def test_only_listed_devices_are_managed() -> None:
    assert managed(FOUR, None) == FOUR
    assert managed(FOUR, ids(2)) == [gpu(2)]
    assert managed(FOUR, ()) == []
