"""Reservations: GPUs are kept from a moment on, and become a lease by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.quotas import Owner
from gateway.scheduling.waiting import Reservation
from gateway.sqlite.store import Store
from tests.support.stores import NOW, gpu, stocked

ONE, TWO = DeviceRequest(1), DeviceRequest(2)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stocked(tmp_path / "state", 2, "alice", "bob", "carol") as opened:
        yield opened


def reserve(
    store: Store, name: str, request: DeviceRequest = ONE, at: timedelta = 2 * HOUR, length: timedelta = HOUR
) -> Reservation:
    return store.reserve(name, request, NOW + at, length, "root", NOW)


def refused(code: Code, why: str, work: Callable[[], object]) -> None:
    with pytest.raises(PlatformError, match=why) as caught:
        work()
    assert caught.value.code is code


def test_a_reservation_becomes_a_lease_when_its_time_comes(store: Store) -> None:
    made = reserve(store, "alice", TWO)
    assert store.reservations(NOW) == [made]
    assert store.serve(NOW + 2 * HOUR - timedelta(seconds=1)).granted == ()
    (lease,) = store.serve(NOW + 2 * HOUR).granted
    assert (lease.user, set(lease.devices), lease.expires_at) == ("alice", set(made.devices), made.end)
    assert store.serve(NOW + 2 * HOUR).granted == ()
    assert store.reservations(made.end) == []


def test_nobody_is_granted_what_is_reserved_beyond_its_begin(store: Store) -> None:
    reserve(store, "alice", TWO)
    refused(
        Code.NO_CAPACITY,
        "a reservation of alice has GPU 0 and GPU 1 from",
        lambda: store.grant("bob", ONE, 3 * HOUR, "root", NOW),
    )
    assert store.grant("bob", ONE, HOUR, "root", NOW).live
    # Her own is no obstacle to her.
    assert store.grant("alice", ONE, 3 * HOUR, "root", NOW).live


def test_a_lease_is_not_extended_into_somebody_elses_reservation(store: Store) -> None:
    lease = store.grant("bob", ONE, HOUR, "root", NOW)
    reserve(store, "alice", TWO)
    refused(Code.CONFLICT, "reserved for alice from", lambda: store.extend(lease.id, 2 * HOUR, "root", NOW))
    assert store.lease(lease.id).expires_at == NOW + HOUR
    store.extend(lease.id, HOUR / 2, "root", NOW)


def test_a_reservation_is_refused_where_somebody_holds_or_has_reserved(store: Store) -> None:
    store.grant("bob", ONE, 8 * HOUR, "root", NOW)
    refused(Code.NO_CAPACITY, "bob holds GPU 0 until", lambda: reserve(store, "alice", TWO))
    reserve(store, "alice")
    refused(Code.NO_CAPACITY, "a reservation of alice has GPU 1", lambda: reserve(store, "carol"))
    # One's own as well: two reservations are two of everything.
    refused(Code.NO_CAPACITY, "a reservation of alice has GPU 1", lambda: reserve(store, "alice"))
    assert reserve(store, "carol", at=4 * HOUR).devices == (gpu(1).id,)


def test_one_that_follows_another_begins_in_time(store: Store) -> None:
    reserve(store, "alice", TWO)
    refused(Code.NO_CAPACITY, "a reservation of alice", lambda: reserve(store, "bob", at=3 * HOUR))
    second = reserve(store, "bob", TWO, at=3 * HOUR + timedelta(minutes=10))
    (first,) = store.serve(NOW + 2 * HOUR).granted
    store.expire(first.id, "It is over.", "test", NOW + 3 * HOUR)
    store.released(first.id, "test", NOW + 3 * HOUR)
    (lease,) = store.serve(second.begin).granted
    assert lease.user == "bob"


def test_what_cannot_be(store: Store) -> None:
    refused(Code.CONFLICT, "cannot begin at", lambda: reserve(store, "alice", at=-HOUR))
    refused(Code.CONFLICT, "cannot begin at", lambda: reserve(store, "alice", at=timedelta(days=4000)))
    refused(Code.NOT_FOUND, "There is no user", lambda: reserve(store, "dave"))
    refused(Code.CONFLICT, "3 GPUs are wanted", lambda: reserve(store, "alice", DeviceRequest(3)))
    refused(Code.NOT_FOUND, "no GPU 'X'", lambda: reserve(store, "alice", DeviceRequest(1, ("X",))))
    store.set_quotas(Owner("alice"), {"gpus": 1}, "root", NOW)
    refused(Code.QUOTA_EXCEEDED, "alice may hold 1 GPU", lambda: reserve(store, "alice", TWO))
    store.set_enabled("alice", False, "root", NOW)
    refused(Code.CONFLICT, "alice is disabled", lambda: reserve(store, "alice"))
    assert store.reservations(NOW) == []


def test_a_cancelled_one_and_one_of_a_removed_user_keep_nothing(store: Store) -> None:
    first, _ = reserve(store, "alice"), reserve(store, "bob")
    assert store.cancel_reservation(first.id, "root", NOW) == first
    refused(Code.NOT_FOUND, "no reservation 1", lambda: store.cancel_reservation(first.id, "root", NOW))
    store.remove_user("bob", "root", NOW)
    assert store.reservations(NOW) == []
    assert store.serve(NOW + 2 * HOUR).granted == ()
    assert store.grant("carol", TWO, 24 * HOUR, "root", NOW).live


def test_a_reserved_gpu_that_is_out_of_order_is_replaced_when_another_is_free(store: Store) -> None:
    made = reserve(store, "alice", DeviceRequest(1, (gpu(0).id,)))
    store.drain(gpu(0).id, "fan", "root", NOW)
    (lease,) = store.serve(made.begin).granted
    assert lease.devices == (gpu(1).id,)
