"""Databases of earlier versions: what they hold is there after the upgrade, and the rules with it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database

from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.leases import Lease, State
from gateway.sqlite.rows import stamp
from gateway.sqlite.schema import migrations
from tests.support.stores import NOW, add_people, gpu, open_store

HOUR = timedelta(hours=1)
NOW_, END, LATER = stamp(NOW), stamp(NOW + HOUR), stamp(NOW + 2 * HOUR)


def _earlier(state: Path, before: str) -> Database:
    """A database as it was before the step `before`."""
    state.mkdir(mode=0o750)
    database = Database(state / "gateway.db", execute_plugins=False)
    database.execute("pragma journal_mode = wal")
    migrations.apply(database, stop_before=before)
    return database


def test_leases_of_before_the_queue_stand_as_they_stood(tmp_path: Path) -> None:
    with closing(_earlier(tmp_path / "state", "m016_lifecycle")) as database, database.conn:
        database.execute(
            "insert into user (name, uid, gid, created_at) values ('alice', 20000, 20000, ?)", [NOW_]
        )
        for index in range(2):
            device = gpu(index)
            database.execute(
                "insert into device (id, node, number, model, memory) values (?, 'local', ?, ?, ?)",
                [device.id, index, device.model, device.memory],
            )
        for id_, lease_state, released_at in (
            (1, "live", None),
            (2, "ending", None),
            (5, "released", LATER),
        ):
            database.execute(
                "insert into lease (id, user_id, state, granted_at, expires_at, released_at)"
                " values (?, 1, ?, ?, ?, ?)",
                [id_, lease_state, NOW_, END, released_at],
            )
        rows = [(1, gpu(0).id, None), (2, gpu(1).id, None), (5, gpu(0).id, LATER)]
        database.conn.executemany("insert into lease_device values (?, ?, ?)", rows)
    with closing(open_store(tmp_path / "state")) as store:
        live, over = store.held_leases()
        assert (live, over) == tuple(
            Lease(id_, 1, "alice", (gpu(index).id,), state, NOW, NOW + HOUR, shown=True, told_at=NOW)
            for id_, index, state in ((1, 0, State.ACTIVE), (2, 1, State.GRACE))
        )
        released = store.lease(5)
        assert (released.state, released.released_at) == (State.RELEASED, NOW + 2 * HOUR)
        add_people(store, "bob")
        with pytest.raises(PlatformError) as refused:
            store.grant("bob", DeviceRequest(1), HOUR, "root", NOW)
        assert refused.value.code is Code.NO_CAPACITY
        store.released(2, "gateway", NOW)
        assert store.grant("bob", DeviceRequest(1), HOUR, "root", NOW).id == 6
    with closing(sqlite3.connect(tmp_path / "state" / "gateway.db")) as connection:
        assert connection.execute("pragma foreign_key_check").fetchall() == []
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("insert into lease_device values (2, ?, null)", [gpu(0).id])
