"""MIG slices: what is granted as what, what a slice counts, and a lease that outlives its slice's UUID."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

from gateway.devices import DeviceRequest, Health, managed, parse_profile
from gateway.errors import Code, PlatformError
from gateway.health import UNMADE, Told
from gateway.leases import Lease
from gateway.scheduling.waiting import Request
from gateway.sqlite.store import Store
from gateway.store import Waiting
from gateway.workspaces import container_spec, spec_hash
from tests.support.stores import NOW, add_people, gpu, open_store, slices

HOUR = timedelta(hours=1)
SMALL, LARGE = "1g.18gb", "3g.71gb"
MACHINE = [gpu(0), *slices(1, SMALL, SMALL, LARGE)]
WHOLE, FIRST, SECOND, BIG = (device.id for device in MACHINE[1:])
ERA = "boot-1 550"
WELL = Told(era=ERA)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "state")) as opened:
        opened.sync_devices(MACHINE, NOW, WELL)
        add_people(opened, "alice", "bob")
        yield opened


def slice_of(profile: str, *ids: str) -> DeviceRequest:
    return DeviceRequest(1, ids, profile=profile)


def grant(store: Store, name: str, request: DeviceRequest) -> Lease:
    return store.grant(name, request, HOUR, "root", NOW)


def test_the_id_of_a_slice_is_its_place_and_not_its_uuid(store: Store) -> None:
    """A boot gives it another UUID; the inventory has it once, and her lease stands."""
    assert f"{WHOLE}/1g.18gb@0" == FIRST
    lease = grant(store, "alice", slice_of(SMALL))
    assert (lease.devices, lease.profile) == ((FIRST,), SMALL)
    store.sync_devices(MACHINE[:2], NOW, WELL)
    lost = next(device for device in store.devices() if device.id == FIRST)
    assert (lost.state, lost.problem) == (Health.LOST, UNMADE)
    store.sync_devices([gpu(0), *slices(1, SMALL, SMALL, LARGE, uuids="MIG-new-{}")], NOW, WELL)
    assert store.devices() == [gpu(0), *slices(1, SMALL, SMALL, LARGE, uuids="MIG-new-{}")]
    assert store.lease(lease.id).devices == (FIRST,)


def test_her_container_is_asked_for_by_the_uuid_of_now_and_named_by_the_id(store: Store) -> None:
    store.add_image("base", "1", "", "gpu-gateway/base:1", "sha256:" + "1" * 64, "root", NOW)
    user_id = grant(store, "alice", slice_of(SMALL)).user_id
    grant(store, "alice", DeviceRequest(1))

    def spec(store: Store) -> object:
        return container_spec(
            store.workspace(user_id),
            state="/state",
            runner="/runner",
            gpu="/gpu",
            env={},
            subnet="10.213.1.0/29",
            command=("run",),
        )

    before = spec(store)
    assert (before.gpus, before.gpu_handles) == ((FIRST, gpu(0).id), ("MIG-0", gpu(0).id))
    store.sync_devices([gpu(0), *slices(1, SMALL, SMALL, LARGE, uuids="MIG-new-{}")], NOW, WELL)
    after = spec(store)
    assert (after.gpus, after.gpu_handles) == (before.gpus, ("MIG-new-0", gpu(0).id))
    # It is another container: the one that runs shows a slice that is gone.
    assert spec_hash(after) != spec_hash(before)


def test_a_container_of_whole_gpus_is_the_same_as_before_there_were_slices(store: Store) -> None:
    """Nobody's container is made anew by an upgrade of the gateway."""
    store.add_image("base", "1", "", "gpu-gateway/base:1", "sha256:" + "1" * 64, "root", NOW)
    user_id = grant(store, "alice", DeviceRequest(1)).user_id
    spec = container_spec(
        store.workspace(user_id),
        state="/state",
        runner="/runner",
        gpu="/gpu",
        env={},
        subnet="10.213.1.0/29",
        command=("run",),
    )
    assert spec.handles == ()
    assert spec_hash(spec) == "bc2aaaf77e6f49ac436109bdc289483f"


@pytest.mark.parametrize(
    ("request_", "code", "sentence"),
    [
        (DeviceRequest(2), Code.CONFLICT, "2 GPUs are wanted and the platform has 1 that are not divided"),
        (DeviceRequest(1, (WHOLE,)), Code.CONFLICT, "GPU 1 has MIG on and is granted in slices"),
        (DeviceRequest(2, profile=SMALL), Code.INVALID, "A program can use one MIG slice at most"),
        (DeviceRequest(2, (FIRST, SECOND)), Code.INVALID, "A program can use one MIG slice at most"),
        (DeviceRequest(2, (FIRST, gpu(0).id)), Code.CONFLICT, "a MIG slice and no whole GPU"),
        (DeviceRequest(2, (gpu(0).id, FIRST)), Code.CONFLICT, "a MIG slice and no whole GPU"),
        (slice_of("7g.141gb"), Code.CONFLICT, "but slices of 1g.18gb, 3g.71gb"),
        (slice_of(SMALL, gpu(0).id), Code.CONFLICT, "is no MIG slice of the profile 1g.18gb"),
        (slice_of(SMALL, WHOLE), Code.CONFLICT, "is no MIG slice of the profile 1g.18gb"),
        (slice_of(SMALL, BIG), Code.CONFLICT, "is no MIG slice of the profile 1g.18gb"),
        (DeviceRequest(1, model="A100", profile=SMALL), Code.CONFLICT, "of the model 'A100'"),
    ],
)
def test_what_cannot_be_granted_so_is_refused_in_one_sentence_and_changes_nothing(
    store: Store, request_: DeviceRequest, code: Code, sentence: str
) -> None:
    events = store._db.rows("select count(*) as n from event")
    for ask in (store.grant, store.queue):
        with pytest.raises(PlatformError) as caught:
            ask("alice", request_, HOUR, "root", NOW)
        assert caught.value.code is code
        assert sentence in caught.value.message
        assert caught.value.fact.count(". ") == 0
    assert store.held_leases() == []
    assert store.waiting(NOW) == []
    assert store._db.rows("select count(*) as n from event") == events


def test_where_no_gpu_is_divided_no_slice_is_granted(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "state")) as store:
        store.sync_devices([gpu(0)], NOW, WELL)
        add_people(store, "alice")
        with pytest.raises(PlatformError, match="no GPU is divided") as caught:
            grant(store, "alice", slice_of(SMALL))
        assert caught.value.code is Code.CONFLICT


@pytest.mark.parametrize("text", ["", "1g", "8g.10gb", "1g.10GB", "1g.10gb ", "../1g.10gb", "banana"])
def test_what_is_no_profile_is_invalid(text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_profile(text)
    assert caught.value.code is Code.INVALID


def test_a_slice_that_is_named_is_asked_for_as_one(store: Store) -> None:
    assert grant(store, "alice", DeviceRequest(1, (BIG,))).profile == LARGE


def test_slices_count_as_sevenths_of_every_quota(store: Store) -> None:
    """Of GPUs at once, and of GPU-hours."""
    store.set_quota("alice", "gpus", 1, "root", NOW)
    lease = grant(store, "alice", slice_of(LARGE))
    assert lease.gpus == Fraction(3, 7)
    with pytest.raises(PlatformError, match=r"may hold 1 GPU at once and holds 3/7, so 1 more .* gpus=2"):
        grant(store, "alice", DeviceRequest(1))
    store.set_quota("alice", "gpus", 2, "root", NOW)
    assert grant(store, "alice", DeviceRequest(1)).gpus == 1


def test_nobody_has_two_slices(store: Store) -> None:
    grant(store, "alice", slice_of(SMALL))
    with pytest.raises(PlatformError, match="alice holds a MIG slice, and nobody has two") as caught:
        grant(store, "alice", slice_of(SMALL))
    assert caught.value.code is Code.NO_CAPACITY
    assert grant(store, "bob", slice_of(SMALL)).devices == (SECOND,)


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(PlatformError) as caught:
        yield
    assert "as a whole or in parts" in str(caught.value.__cause__)


def test_the_schema_refuses_a_gpu_whole_and_in_parts(store: Store) -> None:
    """Whatever a program does wrong: by a new row, and by moving one."""
    lease = grant(store, "alice", slice_of(SMALL))
    other = grant(store, "bob", DeviceRequest(1))
    with refused(), store._db.write():
        store._db.table("lease_device").insert({"lease_id": other.id, "device_id": WHOLE})
    with refused(), store._db.write():
        store._db.change("update lease_device set device_id = ? where lease_id = ?", WHOLE, other.id)
    store.expire(lease.id, "over", "gateway", NOW)
    store.released(lease.id, "gateway", NOW)
    with store._db.write():
        store._db.change("update lease_device set device_id = ? where lease_id = ?", WHOLE, other.id)
    with refused(), store._db.write():
        store._db.table("lease_device").insert({"lease_id": other.id, "device_id": SECOND})


def test_what_keeps_a_gpu_from_being_granted_keeps_its_slices(store: Store) -> None:
    """An Xid, which names the GPU, and an operator's word; a slice that is made on it later too."""
    store.note_xid(WHOLE, 79, ERA, NOW)
    found = {device.id: (device.state, device.problem) for device in store.devices()}
    assert found[FIRST] == found[BIG] == (Health.QUARANTINED, "Xid 79: it fell off the bus")
    with pytest.raises(PlatformError, match="is out of order"):
        grant(store, "alice", slice_of(SMALL))
    store.drain(WHOLE, None, "root", NOW)
    store.drain(WHOLE, "fan", "root", NOW)
    with pytest.raises(PlatformError, match=r"is drained \(fan\)"):
        grant(store, "alice", slice_of(SMALL))
    store.sync_devices([gpu(0), *slices(1, SMALL, SMALL, LARGE, SMALL)], NOW, WELL)
    assert {device.state for device in store.devices() if device.part} == {Health.DRAINED}
    store.drain(WHOLE, None, "root", NOW)
    assert grant(store, "alice", slice_of(SMALL)).devices == (FIRST,)


def test_a_slice_that_is_lost_is_replaced_by_one_of_its_profile_alone(store: Store) -> None:
    lease = grant(store, "alice", slice_of(SMALL))
    gone = [device for device in MACHINE if device.id != FIRST]
    store.sync_devices(gone, NOW, WELL)
    assert [(change.lost.id, change.by and change.by.id) for change in store.replace_lost(NOW)] == [
        (FIRST, SECOND)
    ]
    assert store.lease(lease.id).devices == (SECOND,)
    store.sync_devices([device for device in gone if device.id != SECOND], NOW, WELL)
    assert [change.by for change in store.replace_lost(NOW)] == [None]


def test_a_reservation_of_a_slice_becomes_a_lease_of_it(store: Store) -> None:
    begin = NOW + HOUR
    kept = store.reserve("alice", slice_of(SMALL), begin, HOUR, "root", NOW)
    assert kept.devices == (FIRST,)
    (lease,) = store.serve(begin).granted
    assert (lease.devices, lease.profile) == ((FIRST,), SMALL)


def test_who_waits_for_a_slice_waits_in_the_queue(store: Store) -> None:
    grant(store, "bob", slice_of(LARGE))
    outcome = store.queue("alice", slice_of(LARGE), HOUR, "root", NOW)
    assert isinstance(outcome, Waiting)
    request: Request = outcome.request
    assert request.profile == LARGE
    assert "bob holds GPU 1/3g.71gb@8 until" in outcome.standing.reasons[0]


def test_a_gpu_that_is_managed_brings_its_slices() -> None:
    assert managed(MACHINE, {WHOLE}) == MACHINE[1:]
    assert [device.id for device in managed(MACHINE, {"MIG-1"})] == [SECOND]


def test_a_slice_that_will_not_come_back_is_forgotten_and_its_past_is_not(store: Store) -> None:
    """Nobody waits for it any more; while it answers, or somebody holds or has reserved it, it is not."""
    with pytest.raises(PlatformError, match="answers; to grant it no more") as caught:
        store.forget_device(BIG, "root", NOW)
    assert caught.value.code is Code.CONFLICT
    lease = grant(store, "alice", slice_of(SMALL))
    kept = store.reserve("bob", slice_of(LARGE), NOW + HOUR, HOUR, "root", NOW)
    store.sync_devices(MACHINE[:2], NOW, WELL)
    for held in (FIRST, BIG, WHOLE):
        with pytest.raises(PlatformError) as caught:
            store.forget_device(held, "root", NOW)
        assert caught.value.code is Code.CONFLICT
    assert len(store.devices()) == len(MACHINE)
    store.cancel_reservation(kept.id, "root", NOW)
    store.expire(lease.id, "over", "gateway", NOW)
    store.released(lease.id, "gateway", NOW)
    for gone in (FIRST, BIG):
        store.forget_device(gone, "root", NOW)
    assert [device.id for device in store.devices()] == [gpu(0).id, WHOLE, SECOND]
    with pytest.raises(PlatformError, match="but slices of"):
        store.queue("bob", slice_of(LARGE), HOUR, "root", NOW)
    for again in (store.forget_device, partial(store.drain, reason="fan")):
        with pytest.raises(PlatformError) as caught:
            again(BIG, actor="root", now=NOW)
        assert caught.value.code is Code.NOT_FOUND
    assert [each.devices for each in store.leases(NOW - HOUR)] == [(FIRST,)]
    store.sync_devices([], NOW, WELL)
    store.forget_device(WHOLE, "root", NOW)
    assert [device.id for device in store.devices()] == [gpu(0).id]
    store.sync_devices(MACHINE, NOW, WELL)
    assert store.devices() == MACHINE
