"""Leases in the store: a device has one holder from the grant until its container has stopped."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.leases import Lease, State
from gateway.quotas import KEYS
from gateway.sqlite.store import Store
from gateway.users import SiteAccount
from gateway.workspaces import Limits
from tests.support.stores import NOW, add_people, gpu, open_store, stocked

ONE = DeviceRequest(1)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stocked(tmp_path / "state", 2, "alice", "bob") as opened:
        yield opened


def grant(store: Store, name: str, request: DeviceRequest = ONE, length: timedelta | None = HOUR) -> Lease:
    return store.grant(name, request, length, "root", NOW)


def test_a_grant_is_a_live_lease_from_now(store: Store) -> None:
    lease = grant(store, "alice", DeviceRequest(2))
    assert lease == Lease(1, 1, "alice", (gpu(1).id, gpu(0).id), State.GRANTED, NOW, NOW + HOUR)
    assert store.held_leases() == [lease] == [store.lease(1)]


def test_without_a_length_it_is_a_day(store: Store) -> None:
    assert grant(store, "alice", length=None).expires_at == NOW + timedelta(days=1)


def test_an_expired_lease_holds_its_devices_until_it_is_released(store: Store) -> None:
    grant(store, "alice", DeviceRequest(2))
    late = NOW + timedelta(days=9)
    with pytest.raises(
        PlatformError, match=r"alice holds GPU 0 and GPU 1 until 2026-11-23 16:00 UTC"
    ) as caught:
        store.grant("bob", ONE, HOUR, "root", late)
    assert caught.value.code is Code.NO_CAPACITY
    store.expire(1, "Your lease 1 ended at its time.", "gateway", late)
    assert (store.lease(1).state, store.lease(1).reason) == (State.GRACE, "Your lease 1 ended at its time.")
    with pytest.raises(PlatformError, match="until its container has stopped"):
        store.grant("bob", ONE, HOUR, "root", late)
    store.released(1, "gateway", late)
    assert (store.lease(1).state, store.lease(1).released_at) == (State.RELEASED, late)
    assert store.grant("bob", ONE, HOUR, "root", late).devices == (gpu(0).id,)


def test_states_only_move_forwards(store: Store) -> None:
    lease = grant(store, "alice")
    store.released(lease.id, "gateway", NOW)
    assert store.lease(lease.id).state is State.GRANTED
    store.expire(lease.id, "first", "gateway", NOW)
    store.expire(lease.id, "second", "gateway", NOW)
    assert store.lease(lease.id).reason == "first"
    store.released(lease.id, "gateway", NOW)
    store.released(lease.id, "gateway", NOW + HOUR)
    store.expire(lease.id, "third", "gateway", NOW)
    assert (store.lease(lease.id).state, store.lease(lease.id).released_at) == (State.RELEASED, NOW)
    verbs = [
        row["reason"] for row in store._db.rows("select reason from event where verb = 'lease' order by id")
    ]
    assert verbs == ["Its devices are chosen.", "first", "No container shows its devices."]


@pytest.mark.parametrize(
    ("name", "request_", "code"),
    [
        ("dave", ONE, Code.NOT_FOUND),
        ("alice", DeviceRequest(9), Code.QUOTA_EXCEEDED),
        ("alice", DeviceRequest(3), Code.CONFLICT),
        ("alice", DeviceRequest(1, ("GPU-nope",)), Code.NOT_FOUND),
        ("carol", DeviceRequest(2), Code.QUOTA_EXCEEDED),
        ("erin", ONE, Code.CONFLICT),
    ],
)
def test_a_refusal_changes_nothing(store: Store, name: str, request_: DeviceRequest, code: Code) -> None:
    store.add_user("carol", [], SiteAccount(), "root", NOW)
    add_people(store, "erin")
    store.set_enabled("erin", False, "root", NOW)
    before = store._db.rows("select count(*) as events from event")
    with pytest.raises(PlatformError) as caught:
        grant(store, name, request_)
    assert caught.value.code is code
    assert store.held_leases() == []
    assert store._db.rows("select count(*) as events from event") == before


def test_the_quota_counts_what_is_ending(store: Store) -> None:
    store.set_quota("alice", "gpus", 1, "root", NOW)
    store.expire(grant(store, "alice").id, "over", "gateway", NOW)
    with pytest.raises(PlatformError, match="may hold 1 GPU at once and holds 1"):
        grant(store, "alice")


def test_the_schema_itself_refuses_a_second_holder(store: Store) -> None:
    grant(store, "alice")
    lease = grant(store, "bob")
    with pytest.raises(PlatformError) as caught, store._db.write():
        store._db.insert("lease_device", {"lease_id": lease.id, "device_id": gpu(0).id})
    assert caught.value.code is Code.CONFLICT
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)


def test_releasing_a_user_ends_all_that_she_holds_and_wants_it_done(store: Store) -> None:
    grant(store, "alice")
    grant(store, "alice")
    wanted = store.end_user_leases("alice", "root", NOW)
    assert {lease.state for lease in store.held_leases()} == {State.GRACE}
    assert [(each.id, each.verb, each.subject, each.actor) for each in store.wanted()] == [
        (wanted, "end-leases", "1", "root")
    ]
    with pytest.raises(PlatformError, match="bob holds no lease") as caught:
        store.end_user_leases("bob", "root", NOW)
    assert caught.value.code is Code.NOT_FOUND


def test_releasing_one_lease_leaves_the_others(store: Store) -> None:
    first, second = grant(store, "alice"), grant(store, "alice")
    store.end_lease(first.id, "root", NOW)
    assert [lease.state for lease in store.held_leases()] == [State.GRACE, State.GRANTED]
    store.released(first.id, "gateway", NOW)
    for lease_id in (first.id, 99):
        with pytest.raises(PlatformError) as caught:
            store.end_lease(lease_id, "root", NOW)
        assert caught.value.code is Code.NOT_FOUND
    assert store.lease(second.id).state is State.GRANTED


def test_a_removed_users_leases_end(store: Store) -> None:
    grant(store, "alice")
    store.remove_user("alice", "root", NOW)
    (lease,) = store.held_leases()
    assert (lease.user, lease.state, lease.reason) == ("alice", State.GRACE, "Your account was removed.")


def test_a_flag_comes_and_goes(store: Store) -> None:
    lease = grant(store, "alice")
    store.flag_lease(lease.id, "the hook refused it", NOW)
    store.flag_lease(lease.id, "the hook refused it", NOW)
    assert store.lease(lease.id).problem == "the hook refused it"
    store.flag_lease(lease.id, None, NOW)
    assert store.lease(lease.id).problem is None
    assert len(store._db.rows("select 1 from event where verb = 'lease problem'")) == 2


def test_a_device_that_goes_missing_stays_known_and_is_not_granted(store: Store) -> None:
    grant(store, "alice")
    store.sync_devices([gpu(1)], NOW)
    assert [device.problem for device in store.devices()] == ["not seen by the driver", None]
    assert grant(store, "bob").devices == (gpu(1).id,)
    store.sync_devices([gpu(0), gpu(1, "row remapping pending")], NOW)
    assert store.devices() == [gpu(0), gpu(1, "row remapping pending")]
    # The same answer again writes nothing.
    version = store._db.rows("select count(*) as events from event")
    store.sync_devices([gpu(0), gpu(1, "row remapping pending")], NOW)
    assert store._db.rows("select count(*) as events from event") == version


def test_a_drained_device_keeps_its_lease_and_is_granted_to_nobody_more(store: Store) -> None:
    lease = grant(store, "alice")
    assert store.drain(gpu(0).id, "fan", "root", NOW)
    assert not store.drain(gpu(0).id, "fan", "root", NOW)
    assert store.held_leases() == [lease]
    store.expire(lease.id, "over", "gateway", NOW)
    store.released(lease.id, "gateway", NOW)
    # What the probe sees says nothing of it, and is nothing new.
    before = store._db.rows("select count(*) as events from event")
    store.sync_devices([gpu(0), gpu(1)], NOW)
    assert store._db.rows("select count(*) as events from event") == before
    assert [device.drained for device in store.devices()] == ["fan", None]
    assert grant(store, "bob").devices == (gpu(1).id,)
    with pytest.raises(PlatformError, match=r"GPU 0 is drained \(fan\)"):
        grant(store, "alice")
    assert store.drain(gpu(0).id, None, "root", NOW)
    assert not store.drain(gpu(0).id, None, "root", NOW)
    assert grant(store, "alice").devices == (gpu(0).id,)
    with pytest.raises(PlatformError) as caught:
        store.drain("GPU-nope", "fan", "root", NOW)
    assert caught.value.code is Code.NOT_FOUND


def test_an_extension_moves_the_end_and_nothing_else(store: Store) -> None:
    lease = grant(store, "alice")
    after, before = store.extend(lease.id, 8 * HOUR, "root", NOW)
    assert before == lease.expires_at
    assert after == replace(lease, expires_at=lease.expires_at + 8 * HOUR)
    store.set_quota("alice", "lease", 3600, "root", NOW)
    assert store.extend(lease.id, None, "root", NOW)[0].expires_at == lease.expires_at + 9 * HOUR


def test_an_extension_is_within_the_quota_of_hours(store: Store) -> None:
    lease = grant(store, "alice")
    hours = round((lease.expires_at - NOW) / HOUR)
    store.set_quota("alice", "gpu_hours", KEYS["gpu_hours"].parse(f"{hours + 2}/7d"), "root", NOW)
    with pytest.raises(PlatformError, match="0 were held") as caught:
        store.extend(lease.id, 3 * HOUR, "root", NOW)
    assert caught.value.code is Code.QUOTA_EXCEEDED
    assert store.lease(lease.id) == lease
    assert store.extend(lease.id, 2 * HOUR, "root", NOW)


def test_what_is_over_or_would_never_end_is_not_extended(store: Store) -> None:
    lease = grant(store, "alice")
    for _ in range(2):
        with pytest.raises(PlatformError, match="more than ten years") as caught:
            store.extend(lease.id, timedelta(days=3650), "root", NOW)
        assert caught.value.code is Code.CONFLICT
    with pytest.raises(PlatformError, match="is over; grant anew") as caught:
        store.extend(lease.id, HOUR, "root", lease.expires_at)
    store.expire(lease.id, "over", "gateway", NOW)
    with pytest.raises(PlatformError, match="is over; grant anew") as caught:
        store.extend(lease.id, HOUR, "root", NOW)
    assert caught.value.code is Code.CONFLICT
    with pytest.raises(PlatformError) as caught:
        store.extend(99, HOUR, "root", NOW)
    assert caught.value.code is Code.NOT_FOUND


def test_leases_that_were_released_before_are_left_out(store: Store) -> None:
    first, second = grant(store, "alice"), grant(store, "bob")
    store.expire(first.id, "over", "gateway", NOW)
    store.released(first.id, "gateway", NOW + HOUR)
    assert [lease.id for lease in store.leases(NOW)] == [first.id, second.id]
    assert [lease.id for lease in store.leases(NOW + 2 * HOUR)] == [second.id]


def test_a_workspace_is_read_in_one_go(store: Store) -> None:
    with pytest.raises(PlatformError, match="gpuadmin image build pytorch") as caught:
        store.workspace(1)
    assert caught.value.code is Code.NOT_FOUND
    image = store.add_image("base", "1", "debian", "gpu-gateway/base:1", "sha256:1", "root", NOW)
    ending, live = grant(store, "alice"), grant(store, "alice")
    store.expire(ending.id, "over", "gateway", NOW)
    workspace = store.workspace(1)
    assert (workspace.user, workspace.image, workspace.leases) == (store.user("alice"), image, (live,))
    assert workspace.limits == Limits(2, 8 << 30, 4 << 30, 4096)
    store.remove_user("alice", "root", NOW)
    with pytest.raises(PlatformError, match="no user with the id 1") as caught:
        store.workspace(1)
    assert caught.value.code is Code.NOT_FOUND


def test_the_stable_version_of_the_first_image_runs_unless_another_is_pinned(store: Store) -> None:
    def add(name: str, version: str, digest: str, minutes: int) -> None:
        at = NOW + timedelta(minutes=minutes)
        store.add_image(name, version, "debian", f"gpu-gateway/{name}:{version}", digest, "root", at)

    add("base", "1", "sha256:1", 0)
    add("other", "1", "sha256:2", 1)
    assert store.workspace(1).image.digest == "sha256:1"
    add("base", "2", "sha256:3", 2)
    assert store.workspace(1).image.version == "1"
    add("base", "3", "sha256:1", 3)
    assert (store.workspace(1).image.digest, store.workspace(1).image.version) == ("sha256:1", "3")
    with store._db.write():
        store._db.change("update workspace set image_id = 3 where user_id = 1")
    assert (store.workspace(1).image.digest, store.workspace(2).image.digest) == ("sha256:3", "sha256:1")


class Leasing(RuleBasedStateMachine):
    """Whatever operators and the broker do in any order, a device has at most one holder."""

    def __init__(self) -> None:
        super().__init__()
        self.store = open_store(Path("/dev/shm") / f"leasing-{random.SystemRandom().getrandbits(64):x}")
        self.store.sync_devices([gpu(index) for index in range(3)], NOW)
        add_people(self.store, "alice", "bob")
        self.held: dict[int, tuple[str, ...]] = {}

    def teardown(self) -> None:
        path = self.store._db.path
        self.store.close()
        for each in path.parent.iterdir():
            each.unlink()
        path.parent.rmdir()

    @rule(name=st.sampled_from(["alice", "bob"]), count=st.integers(1, 3))
    def grant(self, name: str, count: int) -> None:
        free = 3 - sum(map(len, self.held.values()))
        try:
            lease = grant(self.store, name, DeviceRequest(count))
        except PlatformError:
            assert free < count
        else:
            assert free >= count
            self.held[lease.id] = lease.devices

    @rule(lease=st.integers(1, 6))
    def expire(self, lease: int) -> None:
        self.store.expire(lease, "over", "gateway", NOW)

    @rule(lease=st.integers(1, 6))
    def release(self, lease: int) -> None:
        ending = lease in self.held and self.store.lease(lease).state is State.GRACE
        self.store.released(lease, "gateway", NOW)
        if ending:
            del self.held[lease]

    @invariant()
    def one_holder_each(self) -> None:
        leases = self.store.held_leases()
        assert {lease.id: lease.devices for lease in leases} == self.held
        devices = [device for lease in leases for device in lease.devices]
        assert len(devices) == len(set(devices))


TestLeasing = Leasing.TestCase
TestLeasing.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
