"""What operators want and what the broker shows: rows both ways between two processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import Code, PlatformError
from gateway.sqlite.store import Store
from gateway.sqlite.wanted import Answer
from gateway.store import LiveConnection, LiveSession, Wanted
from tests.support.stores import NOW, open_store, stocked


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stocked(tmp_path / "state", 0, "alice", "bob") as opened:
        yield opened


def test_what_is_wanted_is_seen_in_order_until_it_is_done(store: Store) -> None:
    first = store.want("recreate", "1", "root", NOW)
    second = store.want("kill", "c1", "root", NOW)
    assert store.wanted() == [Wanted(first, "recreate", "1", "root"), Wanted(second, "kill", "c1", "root")]
    assert store.answer(first) is None
    store.done(first, None, NOW)
    store.done(second, "The engine does not answer.", NOW)
    store.done(second, None, NOW)
    assert (store.answer(first), store.answer(second)) == (
        Answer(None),
        Answer("The engine does not answer."),
    )
    assert store.wanted() == []
    with pytest.raises(PlatformError) as caught:
        store.answer(99)
    assert caught.value.code is Code.NOT_FOUND


def connection(id_: str, user: str, *sessions: LiveSession) -> LiveConnection:
    return LiveConnection(
        id_, {"alice": 1, "bob": 2}[user], user, "192.0.2.7:4022", "SHA256:x", NOW, sessions
    )


SHELL = LiveSession("c1-0", "shell", "", NOW)
EXEC = LiveSession("c1-1", "exec", "make -j2 \x1b[2J", NOW + timedelta(seconds=1))


def test_connections_are_replaced_whole(store: Store) -> None:
    shown = [connection("c1", "alice", SHELL, EXEC), connection("c2", "bob")]
    store.show_connections(list(reversed(shown)))
    assert store.connections() == shown
    shown = [replace(shown[0], sessions=(EXEC,))]
    store.show_connections(shown)
    assert store.connections() == shown
    store.show_connections([])
    assert store.connections() == []


def test_the_same_connections_again_write_nothing(store: Store, tmp_path: Path) -> None:
    shown = [connection("c1", "alice", SHELL, EXEC), connection("c2", "bob")]
    store.show_connections(shown)
    with closing(open_store(tmp_path / "state")) as watcher:
        before = watcher.data_version()
        store.show_connections(list(reversed(shown)))
        assert watcher.data_version() == before
        store.show_connections(shown[:1])
        assert watcher.data_version() != before


def test_an_event_can_be_recorded_alone(store: Store) -> None:
    store.record("gateway", "start", "gateway", "0.1.0", NOW)
    (row,) = store._db.rows("select * from event where verb = 'start'")
    assert (row["at"], row["actor"], row["subject"], row["reason"]) == (
        "2026-11-23T15:00:00.123456Z",
        "gateway",
        "gateway",
        "0.1.0",
    )


def test_the_instance_is_made_once(store: Store, tmp_path: Path) -> None:
    assert int(store.instance(), 16) < 1 << 16
    with closing(open_store(tmp_path / "state")) as again:
        assert again.instance() == store.instance()
