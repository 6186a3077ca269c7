"""Groups in the store: who is in which, and the quotas that come of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.quotas import KEYS, Owner
from gateway.sqlite.store import Store
from gateway.users import SiteAccount
from tests.support.stores import NOW, gpu, open_store

HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "state")) as opened:
        opened.sync_devices([gpu(index) for index in range(4)], NOW)
        for name in ("alice", "bob"):
            opened.add_user(name, [], SiteAccount(), "root", NOW)
        opened.add_group("vision", "root", NOW)
        yield opened


def code_of(error: pytest.ExceptionInfo[PlatformError]) -> Code:
    return error.value.code


def test_members_come_and_go_all_or_none(store: Store) -> None:
    assert store.join("vision", ["bob", "alice", "bob"], "root", NOW) == ["bob", "alice"]
    assert store.groups()[0].members == ("alice", "bob")
    assert store.leave("vision", ["bob"], "root", NOW) == ["bob"]
    assert store.leave("vision", ["bob"], "root", NOW) == []
    with pytest.raises(PlatformError, match="'dave'") as caught:
        store.join("vision", ["bob", "dave"], "root", NOW)
    assert code_of(caught) is Code.NOT_FOUND
    assert store.groups()[0].members == ("alice",)


def test_a_user_may_come_with_her_groups_or_not_at_all(store: Store) -> None:
    store.add_user("carol", [], SiteAccount(), "root", NOW, ["vision"])
    assert store.groups()[0].members == ("carol",)
    with pytest.raises(PlatformError, match="There is no group 'sound'"):
        store.add_user("dave", [], SiteAccount(), "root", NOW, ["vision", "sound"])
    assert [user.name for user in store.users()] == ["alice", "bob", "carol"]


def test_a_group_with_somebody_in_it_is_not_removed(store: Store) -> None:
    store.join("vision", ["alice"], "root", NOW)
    with pytest.raises(PlatformError, match="alice would lose") as caught:
        store.remove_group("vision", "root", NOW)
    assert code_of(caught) is Code.CONFLICT
    store.remove_user("alice", "root", NOW)
    store.remove_group("vision", "root", NOW)
    assert store.groups() == []


def test_names_that_are_taken_or_unknown(store: Store) -> None:
    with pytest.raises(PlatformError, match="already") as caught:
        store.add_group("vision", "root", NOW)
    assert code_of(caught) is Code.CONFLICT
    with pytest.raises(PlatformError) as caught:
        store.remove_group("sound", "root", NOW)
    assert code_of(caught) is Code.NOT_FOUND


def test_a_removed_group_takes_its_quotas_along_and_a_new_one_starts_with_none(store: Store) -> None:
    store.set_quotas(Owner(group="vision"), {"gpus": 3}, "root", NOW)
    store.remove_group("vision", "root", NOW)
    store.add_group("vision", "root", NOW)
    assert store.group_quota("vision") == {}
    assert store._db.rows("select * from quota") == []


def test_whose_value_is_in_force(store: Store) -> None:
    store.add_group("sound", "root", NOW)
    store.set_quotas(Owner(), {"gpus": 2, "pids": 100}, "root", NOW)
    store.set_quotas(Owner(group="vision"), {"gpus": 3}, "root", NOW)
    store.set_quotas(Owner(group="sound"), {"gpus": 1}, "root", NOW)
    assert store.quota("alice")["gpus"] == 2
    store.join("sound", ["alice"], "root", NOW)
    assert store.quota("alice")["gpus"] == 1
    store.join("vision", ["alice"], "root", NOW)
    assert (store.quota("alice")["gpus"], store.quota("alice")["pids"]) == (3, 100)
    store.set_quotas(Owner("alice"), {"gpus": 0, "lease": 3600}, "root", NOW)
    assert (store.quota("alice")["gpus"], store.quota("alice")["lease"]) == (0, 3600)
    store.set_quotas(Owner("alice"), {"gpus": None}, "root", NOW)
    assert (store.quota("alice")["gpus"], store.quota("alice")["lease"]) == (3, 3600)
    assert store.quota("bob")["gpus"] == store.quota()["gpus"] == 2


def test_a_quota_below_what_is_held_ends_nothing_and_grants_nothing(store: Store) -> None:
    store.set_quotas(Owner("alice"), {"gpus": 2}, "root", NOW)
    lease = store.grant("alice", DeviceRequest(2), HOUR, "root", NOW)
    store.set_quotas(Owner("alice"), {"gpus": 1, "gpu_hours": KEYS["gpu_hours"].parse("1/7d")}, "root", NOW)
    assert store.held_leases() == [lease]
    with pytest.raises(PlatformError, match="may hold 1 GPU at once and holds 2") as caught:
        store.grant("alice", DeviceRequest(1), HOUR, "root", NOW)
    assert code_of(caught) is Code.QUOTA_EXCEEDED


def test_gpu_hours_of_released_leases_count_until_the_window_has_passed_them(store: Store) -> None:
    store.set_quotas(Owner("alice"), {"gpu_hours": KEYS["gpu_hours"].parse("4/2d")}, "root", NOW)
    lease = store.grant("alice", DeviceRequest(1), 3 * HOUR, "root", NOW)
    store.expire(lease.id, "over", "gateway", NOW + 3 * HOUR)
    store.released(lease.id, "gateway", NOW + 3 * HOUR)
    with pytest.raises(PlatformError, match="3 were held, 0 are still granted, and 2 more") as caught:
        store.grant("alice", DeviceRequest(1), 2 * HOUR, "root", NOW + 4 * HOUR)
    assert code_of(caught) is Code.QUOTA_EXCEEDED
    assert store.grant("bob", DeviceRequest(1), 9 * HOUR, "root", NOW + 4 * HOUR)
    # One of the three hours has left the window of two days.
    assert store.grant("alice", DeviceRequest(1), 2 * HOUR, "root", NOW + 49 * HOUR)


def test_the_front_door_knows_everybodys_quota_of_sessions(store: Store) -> None:
    store.set_quotas(Owner(), {"sessions": 9}, "root", NOW)
    store.set_quotas(Owner(group="vision"), {"sessions": 5, "gpus": 1}, "root", NOW)
    store.add_group("sound", "root", NOW)
    store.join("vision", ["alice", "bob"], "root", NOW)
    store.join("sound", ["alice"], "root", NOW)
    store.set_quotas(Owner("bob"), {"sessions": 3}, "root", NOW)
    store.add_user("carol", [], SiteAccount(), "root", NOW)
    assert {account.name: account.sessions for account in store.accounts()} == {
        name: store.quota(name)["sessions"] for name in ("alice", "bob", "carol")
    }
    assert [account.sessions for account in store.accounts()] == [5, 3, 9]


def test_the_quota_lease_is_the_length_of_a_grant_that_names_none(store: Store) -> None:
    store.set_quotas(Owner("alice"), {"lease": 2 * 3600}, "root", NOW)
    lease = store.grant("alice", DeviceRequest(1), None, "root", NOW)
    assert lease.expires_at - lease.granted_at == 2 * HOUR
