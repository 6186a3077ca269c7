"""Processes that change leases are killed at each statement: all of a change is there, or nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from gateway.devices import DeviceRequest
from gateway.leases import Lease, State
from gateway.sqlite.store import Store
from tests.support.stores import NOW, add_people, gpu, open_store

HOUR = timedelta(hours=1)
Work = Callable[[Store], object]


def _grant(store: Store) -> None:
    store.grant("bob", DeviceRequest(2), HOUR, "root", NOW)


def _extend(store: Store) -> None:
    store.extend(1, HOUR, "root", NOW)


def _expire(store: Store) -> None:
    store.expire(1, "It is over.", "gateway", NOW)


def _release(store: Store) -> None:
    store.released(2, "gateway", NOW)


def _remove(store: Store) -> None:
    store.remove_user("alice", "root", NOW)


@pytest.mark.parametrize("work", [_grant, _extend, _expire, _release, _remove])
def test_a_change_is_whole_wherever_its_process_is_killed(tmp_path: Path, work: Work) -> None:
    """A database each time, from the first statement to the last, and once to the end."""
    before, after = _played(tmp_path / "none", work, 0), _played(tmp_path / "all", work, None)
    assert before != after
    seen = []
    for number in count(1):
        outcome = _played(tmp_path / str(number), work, number)
        assert outcome in (before, after)
        seen.append(outcome == after)
        if seen[-1]:
            break
    # Several statements, of which only the last makes the change.
    assert len(seen) > 3


def _played(state: Path, work: Work, statement: int | None) -> tuple[object, ...]:
    """What is recorded after `work` whose process is killed before that statement, counted from 1.

    With 0 it is not started; with None nobody kills it.
    """
    with closing(open_store(state)) as store:
        store.sync_devices([gpu(index) for index in range(4)], NOW)
        add_people(store, "alice", "bob")
        for _ in range(2):
            store.grant("alice", DeviceRequest(1), HOUR, "root", NOW)
        store.expire(2, "It is over.", "gateway", NOW)
    if statement != 0:
        child = multiprocessing.get_context("fork").Process(target=_work, args=(state, work, statement))
        child.start()
        child.join(60)
        assert child.exitcode in (0, -signal.SIGKILL)
    with closing(open_store(state, check=True)) as store:
        return _recorded(store)


def _work(state: Path, work: Work, statement: int | None) -> None:
    store = open_store(state)
    numbers = count(1)

    def kill_at(sql: str) -> None:
        if next(numbers) == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    store._db._tables.conn.set_trace_callback(kill_at)
    work(store)
    os._exit(0)


def _recorded(store: Store) -> tuple[object, ...]:
    leases: list[Lease] = store.leases(NOW - HOUR)
    held = [device for lease in leases if lease.state is not State.RELEASED for device in lease.devices]
    assert len(held) == len(set(held))
    events = store._db.rows("select actor, verb, subject, after from event order by id")
    return leases, events, store.wanted(), [user.name for user in store.users()]
