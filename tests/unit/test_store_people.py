"""Users, keys and quotas in the store: ids and keys belong to one person, for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import Code, PlatformError
from gateway.keys import PublicKey
from gateway.sqlite.store import Store
from gateway.users import SiteAccount
from tests.support.stores import NOW, add_people, key_line, stocked


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stocked(tmp_path / "state", 0) as opened:
        yield opened


def key(seed: str) -> PublicKey:
    return PublicKey.parse(key_line(seed))


def events(store: Store) -> list[tuple[str, str, str]]:
    return [
        (row["actor"], row["verb"], row["subject"])
        for row in store._db.rows("select * from event order by id")
    ]


def test_a_new_user_is_found_by_name_with_all_that_was_said(store: Store) -> None:
    added = store.add_user("alice", [key("a")], SiteAccount(2001, 100, "/nfs/home/alice"), "root", NOW)
    assert store.user("alice") == added
    assert (added.uid, added.gid, added.home, added.enabled, added.created_at) == (
        2001,
        100,
        "/nfs/home/alice",
        True,
        NOW,
    )
    assert events(store) == [("root", "user add", "alice"), ("root", "key add", "alice")]


def test_a_name_used_again_is_another_person(store: Store) -> None:
    first = store.add_user("alice", [key("a")], SiteAccount(), "root", NOW)
    store.remove_user("alice", "root", NOW)
    second = store.add_user("alice", [key("a")], SiteAccount(), "root", NOW)
    assert (second.id, second.uid) == (first.id + 1, first.uid + 1)
    store.remove_user("alice", "root", NOW)
    # Even when every row is gone.
    with store._db.write():
        for table in ("workspace", "quota", "user"):
            store._db.change(f"delete from {table}")
    assert store.add_user("alice", [], SiteAccount(), "root", NOW).id == second.id + 1


def test_a_site_uid_may_come_back_with_its_person(store: Store) -> None:
    site = SiteAccount(2001)
    store.add_user("alice", [], site, "root", NOW)
    store.remove_user("alice", "root", NOW)
    assert store.add_user("alice", [], site, "root", NOW).uid == 2001


@pytest.mark.parametrize(
    ("name", "keys", "site", "why"),
    [
        ("alice", [], SiteAccount(), "There is a user 'alice' already"),
        ("bob", [], SiteAccount(2001), "uid 2001 is alice's"),
        ("bob", [], SiteAccount(2002, home="/nfs/alice/sub"), "/nfs/alice, which is not hers, overlap"),
        ("bob", ["b", "alice"], SiteAccount(), "one key is one person's"),
    ],
)
def test_what_is_somebodys_is_refused_and_nothing_is_left(
    store: Store, name: str, keys: list[str], site: SiteAccount, why: str
) -> None:
    store.add_user("alice", [key("alice")], SiteAccount(2001, home="/nfs/alice"), "root", NOW)
    before = events(store)
    with pytest.raises(PlatformError, match=why) as caught:
        store.add_user(name, [key(seed) for seed in keys], site, "root", NOW)
    assert caught.value.code is Code.CONFLICT
    assert [user.name for user in store.users()] == ["alice"]
    assert len(store.keys()) == 1
    assert events(store) == before


def test_the_platforms_own_files_are_nobodys_home(store: Store) -> None:
    inside = str(store._db.path.parent / "workspaces" / "1" / "home")
    with pytest.raises(PlatformError, match="not hers, overlap") as caught:
        store.add_user("bob", [], SiteAccount(2002, home=inside), "root", NOW)
    assert caught.value.code is Code.CONFLICT


def test_accounts_are_everybody_with_their_keys(store: Store) -> None:
    add_people(store, "alice", "bob", "carol")
    store.add_keys("alice", [key("second")], "root", NOW)
    store.set_enabled("bob", False, "root", NOW)
    store.remove_user("carol", "root", NOW)
    accounts = {account.name: account for account in store.accounts()}
    assert set(accounts) == {"alice", "bob"}
    assert accounts["alice"].keys == {each.blob: each.fingerprint for each in (key("alice"), key("second"))}
    assert (accounts["alice"].enabled, accounts["bob"].enabled) == (True, False)


def test_disabling_twice_is_one_event(store: Store) -> None:
    add_people(store, "alice")
    store.set_enabled("alice", False, "root", NOW)
    store.set_enabled("alice", False, "root", NOW)
    assert [event for event in events(store) if event[1] == "user disable"] == [
        ("root", "user disable", "alice")
    ]
    store.set_enabled("alice", True, "root", NOW)
    assert store.user("alice").enabled


def test_an_event_says_what_was_and_what_is(store: Store) -> None:
    add_people(store, "alice")
    store.set_quota("alice", "gpus", 3, "root (sudo: bob)", NOW)
    row = store._db.rows("select * from event order by id desc limit 1")[0]
    assert (row["actor"], row["verb"], row["subject"]) == ("root (sudo: bob)", "quota set", "alice")
    assert (json.loads(row["before"]), json.loads(row["after"])) == ({"gpus": 8}, {"gpus": 3})


def test_removing_a_user_keeps_her_files_for_thirty_days(store: Store) -> None:
    add_people(store, "alice", "bob")
    store.remove_user("alice", "root", NOW)
    assert {each.user for each in store.keys(None)} == {"bob"}
    assert store.purgeable(NOW + timedelta(days=30) - timedelta(microseconds=1)) == []
    assert store.purgeable(NOW + timedelta(days=30)) == [1]
    store.purged(1, NOW)
    store.purged(2, NOW)
    assert store.purgeable(NOW + timedelta(days=300)) == []
    assert [event[1] for event in events(store)].count("user purge") == 1
    with pytest.raises(PlatformError, match="no user 'alice'"):
        store.user("alice")


def test_a_key_that_she_has_is_not_added_twice(store: Store) -> None:
    add_people(store, "alice")
    assert store.add_keys("alice", [key("alice"), key("new"), key("new")], "root", NOW) == [key("new")]
    assert len(store.keys("alice")) == 2


def test_keys_are_all_added_or_none(store: Store) -> None:
    add_people(store, "alice", "bob")
    with pytest.raises(PlatformError) as caught:
        store.add_keys("alice", [key("new"), key("bob")], "root", NOW)
    assert caught.value.code is Code.CONFLICT
    assert len(store.keys("alice")) == 1


def test_a_removed_key_may_go_to_another(store: Store) -> None:
    add_people(store, "alice", "bob")
    assert store.remove_key(key("alice").fingerprint, "root", NOW) == "alice"
    assert store.keys("alice") == []
    assert store.add_keys("bob", [key("alice")], "root", NOW) == [key("alice")]
    with pytest.raises(PlatformError, match="There is no key") as caught:
        store.remove_key("SHA256:nope", "root", NOW)
    assert caught.value.code is Code.NOT_FOUND


def test_a_stored_key_is_what_was_given(store: Store) -> None:
    given = replace(key("x"), comment="\x1b[2Jalice")
    store.add_user("alice", [given], SiteAccount(), "root", NOW)
    (stored,) = store.keys()
    assert (stored.user, stored.type, stored.fingerprint, stored.comment, stored.added_at) == (
        "alice",
        "ssh-ed25519",
        given.fingerprint,
        "\x1b[2Jalice",
        NOW,
    )


def test_quotas_of_everybody_and_of_one(store: Store) -> None:
    add_people(store, "alice")
    store.add_user("bob", [], SiteAccount(), "root", NOW)
    assert (store.quota()["gpus"], store.quota("alice")["gpus"], store.quota("bob")["gpus"]) == (1, 8, 1)
    store.set_quota(None, "gpus", 2, "root", NOW)
    store.set_quota(None, "gpus", 3, "root", NOW)
    assert (store.quota()["gpus"], store.quota("alice")["gpus"], store.quota("bob")["gpus"]) == (3, 8, 3)
    with pytest.raises(PlatformError, match="no user 'dave'"):
        store.set_quota("dave", "gpus", 1, "root", NOW)


@pytest.mark.parametrize("action", ["user", "set_enabled", "remove_user", "add_keys", "keys", "quota"])
def test_an_unknown_user_is_not_found(store: Store, action: str) -> None:
    arguments = {
        "set_enabled": (False, "root", NOW),
        "remove_user": ("root", NOW),
        "add_keys": ([], "root", NOW),
    }
    with pytest.raises(PlatformError, match="There is no user 'dave'; see: gpuadmin user list") as caught:
        getattr(store, action)("dave", *arguments.get(action, ()))
    assert caught.value.code is Code.NOT_FOUND
