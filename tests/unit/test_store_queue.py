"""The queue in the store: who waits is served in order, once, and what is recorded agrees with the plan."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.leases import Lease, State
from gateway.quotas import KEYS, Owner
from gateway.sqlite.store import Store
from gateway.store import Waiting
from tests.support.stores import NOW, gpu, stocked

ONE, TWO = DeviceRequest(1), DeviceRequest(2)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stocked(tmp_path / "state", 2, "alice", "bob", "carol") as opened:
        yield opened


def queue(store: Store, name: str, request: DeviceRequest = ONE, at: timedelta = HOUR * 0) -> Lease | Waiting:
    return store.queue(name, request, HOUR, "root", NOW + at)


def waits(store: Store, name: str, request: DeviceRequest = ONE, at: timedelta = HOUR * 0) -> Waiting:
    found = queue(store, name, request, at)
    assert isinstance(found, Waiting)
    return found


def end(store: Store, lease: Lease, at: timedelta = HOUR * 0) -> None:
    store.expire(lease.id, "It is over.", "test", NOW + at)
    store.released(lease.id, "test", NOW + at)


def refused(code: Code, why: str) -> pytest.RaisesContext[PlatformError]:
    return pytest.raises(PlatformError, match=why, check=lambda error: error.code is code)  # type: ignore[call-overload,no-any-return]


def test_what_is_free_is_granted_at_once(store: Store) -> None:
    lease = queue(store, "alice", TWO)
    assert isinstance(lease, Lease)
    assert (lease.state, lease.expires_at, set(lease.devices)) == (
        State.GRANTED,
        NOW + HOUR,
        {gpu(0).id, gpu(1).id},
    )
    assert store.waiting(NOW) == []


def test_who_waits_is_told_her_place_and_when(store: Store) -> None:
    store.grant("alice", TWO, HOUR, "root", NOW)
    first, second = waits(store, "bob"), waits(store, "carol", TWO)
    assert (first.standing.place, second.standing.place) == (1, 2)
    assert first.standing.start is not None
    assert first.standing.start >= NOW + HOUR
    assert "alice holds GPU 0 and GPU 1 until" in first.standing.reasons[0]
    assert store.held_leases()[0].user == "alice"
    assert len(store.held_leases()) == 1


def test_the_queue_is_served_in_order_when_a_device_is_free(store: Store) -> None:
    taken = store.grant("alice", TWO, HOUR, "root", NOW)
    bob, carol = waits(store, "bob"), waits(store, "carol", at=HOUR / 60)
    assert store.serve(NOW).granted == ()
    end(store, taken, HOUR)
    later = NOW + 2 * HOUR
    granted = store.serve(later).granted
    assert [(lease.id, lease.user) for lease in granted] == [
        (bob.request.id, "bob"),
        (carol.request.id, "carol"),
    ]
    assert all(lease.expires_at == later + HOUR for lease in granted)
    assert store.waiting(later) == []
    assert store.serve(later).granted == ()


def test_a_grant_passes_nobody_whom_it_would_delay(store: Store) -> None:
    store.grant("alice", ONE, HOUR, "root", NOW)
    waits(store, "bob", TWO)
    with refused(Code.NO_CAPACITY, "Nobody who comes first may be passed: .*request 2 of bob"):
        store.grant("carol", ONE, 9 * HOUR, "root", NOW)
    # It is over before bob can begin.
    assert store.grant("carol", ONE, HOUR / 2, "root", NOW).user == "carol"


def test_priority_comes_before_arrival(store: Store) -> None:
    taken = store.grant("alice", TWO, HOUR, "root", NOW)
    waits(store, "bob")
    store.set_quotas(Owner("carol"), {"priority": 5}, "root", NOW)
    waits(store, "carol", at=HOUR / 60)
    assert [each.request.user for each in store.waiting(NOW + HOUR)] == ["carol", "bob"]
    store.set_quotas(Owner("bob"), {"gpus": 1}, "root", NOW)
    end(store, taken)
    assert [lease.user for lease in store.serve(NOW + HOUR).granted] == ["carol", "bob"]


def test_who_held_less_lately_comes_first(store: Store) -> None:
    end(store, store.grant("bob", TWO, 5 * HOUR, "root", NOW - 9 * HOUR), -HOUR)
    store.grant("alice", TWO, HOUR, "root", NOW)
    waits(store, "bob")
    waits(store, "carol", at=HOUR / 60)
    assert [each.request.user for each in store.waiting(NOW + HOUR / 60)] == ["carol", "bob"]


def test_what_can_never_be_granted_is_not_queued(store: Store) -> None:
    store.set_quotas(Owner("bob"), {"gpus": 1}, "root", NOW)
    with refused(Code.QUOTA_EXCEEDED, "bob may hold 1 GPU"):
        queue(store, "bob", TWO)
    with refused(Code.CONFLICT, "3 GPUs are wanted"):
        queue(store, "alice", DeviceRequest(3))
    with refused(Code.NOT_FOUND, "There is no GPU 'GPU-1'"):
        queue(store, "alice", DeviceRequest(1, ("GPU-1",)))
    with refused(Code.CONFLICT, "of the model 'B200'"):
        queue(store, "alice", DeviceRequest(1, model="B200"))
    with refused(Code.NOT_FOUND, "There is no user"):
        queue(store, "dave")
    assert (store.waiting(NOW), store.held_leases()) == ([], [])


def test_at_her_quota_she_waits_and_keeps_nobody(store: Store) -> None:
    store.set_quotas(Owner("bob"), {"gpus": 1}, "root", NOW)
    store.grant("bob", ONE, HOUR, "root", NOW)
    found = waits(store, "bob")
    assert "bob" in found.standing.reasons[0]
    assert isinstance(queue(store, "carol"), Lease)


def test_a_request_is_withdrawn_like_a_lease(store: Store) -> None:
    taken = store.grant("alice", TWO, HOUR, "root", NOW)
    found = waits(store, "bob")
    store.end_lease(found.request.id, "root", NOW)
    assert store.waiting(NOW) == []
    with refused(Code.NOT_FOUND, "is released already"):
        store.end_lease(found.request.id, "root", NOW)
    waits(store, "bob")
    store.end_user_leases("bob", "root", NOW)
    assert store.waiting(NOW) == []
    waits(store, "bob")
    store.remove_user("bob", "root", NOW)
    end(store, taken)
    assert (store.serve(NOW).granted, store.waiting(NOW)) == ((), [])


def test_who_is_disabled_waits_for_nothing(store: Store) -> None:
    taken = store.grant("alice", TWO, HOUR, "root", NOW)
    waits(store, "bob")
    store.set_enabled("bob", False, "root", NOW)
    end(store, taken)
    assert store.serve(NOW).granted == ()
    store.set_enabled("bob", True, "root", NOW)
    assert [lease.user for lease in store.serve(NOW).granted] == ["bob"]


def test_a_drained_device_is_waited_for(store: Store) -> None:
    for index in range(2):
        store.drain(gpu(index).id, "fan", "root", NOW)
    found = waits(store, "bob")
    assert "GPU 0 is drained (fan)" in found.standing.reasons[0]
    store.drain(gpu(1).id, None, "root", NOW)
    assert [lease.devices for lease in store.serve(NOW).granted] == [(gpu(1).id,)]


def test_a_preemptible_lease_is_above_the_quota_and_ends_for_who_waits(store: Store) -> None:
    store.set_quotas(Owner(), {"gpus": 0}, "root", NOW)
    lease = store.queue("alice", TWO, 24 * HOUR, "root", NOW, preemptible=True)
    assert isinstance(lease, Lease)
    assert lease.preemptible
    store.set_quotas(Owner("alice"), {"gpus": 0}, "root", NOW)
    asked = store.queue("bob", ONE, HOUR, "root", NOW)
    assert isinstance(asked, Waiting)
    now = store.lease(lease.id)
    assert now.noticed_at == NOW
    assert now.expires_at == NOW + HOUR
    assert store.serve(NOW).noticed == ()
    (event,) = store._db.rows("select reason from event where verb = 'preempt'")
    assert event["reason"] == f"Request {asked.request.id} waits for its GPUs."


def test_where_one_would_stand_changes_nothing(store: Store) -> None:
    assert store.prospect("alice", NOW).reasons == ()
    store.grant("bob", TWO, HOUR, "root", NOW)
    standing = store.prospect("alice", NOW)
    assert standing.place == 1
    assert "bob holds GPU 0 and GPU 1" in standing.reasons[0]
    assert store.waiting(NOW) == []


def test_preemptible_time_is_not_taken_from_the_gpu_hours(store: Store) -> None:
    store.set_quotas(Owner("alice"), {"gpu_hours": KEYS["gpu_hours"].parse("2/7d")}, "root", NOW)
    store.queue("alice", ONE, 24 * HOUR, "root", NOW, preemptible=True)
    assert store.grant("alice", ONE, 2 * HOUR, "root", NOW).live
