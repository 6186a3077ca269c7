"""What touches containers: by the broker when one runs, and by gpuadmin itself when none does."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from admin import acting
from admin.main import cli
from gateway.devices import DeviceRequest
from gateway.leases import State
from gateway.sqlite.store import Store
from gateway.store import LiveConnection, LiveSession
from gateway.wishes import Wishes
from tests.support.stores import NOW, open_store, stocked

Gpuadmin = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    with stocked(state, 2, "alice") as opened:
        yield opened


@pytest.fixture
def gpuadmin(state: Path, tmp_path: Path) -> Gpuadmin:
    # A pool of its own: another installation on this machine may have the default one.
    config = tmp_path / "config.toml"
    config.write_text('[network]\npool = "10.197.64.0/24"\n')
    return lambda *words: CliRunner().invoke(cli, ["--config", str(config), "--state", str(state), *words])


@contextmanager
def broker(state: Path, answer: Callable[[Store, int], None]) -> Iterator[None]:
    """Another party that has the broker's lock and answers what is wanted, until the block ends."""
    lock = os.open(state / "broker.lock", os.O_RDWR | os.O_CREAT, 0o640)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    ended = threading.Event()

    def serve() -> None:
        with closing(open_store(state)) as store:
            while not ended.wait(0.01):
                for wanted in store.wanted():
                    answer(store, wanted.id)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)
        os.close(lock)


def test_a_running_broker_does_it(state: Path, store: Store, gpuadmin: Gpuadmin) -> None:
    with broker(state, lambda store, id_: store.done(id_, None, NOW)):
        result = gpuadmin("workspace", "recreate", "alice")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "new one" in result.stdout
    verbs = [(row["verb"], row["subject"]) for row in store._db.rows("select verb, subject from wanted")]
    assert verbs == [("recreate", "1")]


def test_the_brokers_sentence_is_told_with_what_is_true_all_the_same(
    state: Path, store: Store, gpuadmin: Gpuadmin
) -> None:
    lease = store.grant("alice", DeviceRequest(1), timedelta(hours=1), "root", NOW)
    with broker(state, lambda store, id_: store.done(id_, "The engine does not answer.", NOW)):
        result = gpuadmin("release", "alice")
    assert (result.exit_code, result.stdout) == (75, "")
    assert result.stderr == "gpuadmin: alice is to be released, but: The engine does not answer.\n"
    assert store.lease(lease.id).state is State.GRACE


def test_a_broker_that_never_answers_is_not_waited_for_for_ever(
    state: Path, store: Store, gpuadmin: Gpuadmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "_WITHIN", 0.5)
    monkeypatch.setattr(acting, "_TELL_EVERY", 0.2)
    with broker(state, lambda store, id_: None):
        result = gpuadmin("workspace", "recreate", "alice")
    assert result.exit_code == 75
    assert "Waiting for the gateway" in result.stderr
    assert "it is recorded and will be done" in result.stderr
    assert len(store.wanted()) == 1


def test_without_a_broker_gpuadmin_does_it_itself(state: Path, store: Store, gpuadmin: Gpuadmin) -> None:
    first = store.grant("alice", DeviceRequest(1), timedelta(hours=1), "root", NOW.replace(year=2126))
    second = store.grant("alice", DeviceRequest(1), timedelta(hours=1), "root", NOW.replace(year=2126))
    result = gpuadmin("release", str(first.id))
    assert (result.exit_code, result.stderr) == (0, "")
    assert (store.lease(first.id).state, store.lease(second.id).state) == (State.RELEASED, State.GRANTED)
    assert store.wanted() == []
    # The gateway's own log of it is kept, as lines of JSON.
    lines = (state / "gpuadmin.log").read_text().splitlines()
    assert "lease_released" in {json.loads(line)["event"] for line in lines}
    result = gpuadmin("user", "remove", "alice")
    assert (result.exit_code, result.stderr) == (0, "")
    assert store.held_leases() == []
    assert store.users() == []


def test_gpuadmin_in_the_brokers_place_waits_no_longer_than_for_a_broker(
    state: Path, store: Store, gpuadmin: Gpuadmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that save their work may take minutes, in which no gateway could start."""

    async def saving(wishes: Wishes) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(acting, "_WITHIN", 0.5)
    monkeypatch.setattr(Wishes, "grant", saving)
    result = gpuadmin("workspace", "stop", "alice")
    assert result.exit_code == 75
    assert "it is recorded and will be done" in result.stderr
    assert len(store.wanted()) == 1
    assert not acting.broker_runs(state)


def test_a_broker_that_dies_is_followed_by_gpuadmin(
    state: Path, store: Store, gpuadmin: Gpuadmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    result: list[Result] = []
    with broker(state, lambda store, id_: None):
        command = threading.Thread(target=lambda: result.append(gpuadmin("workspace", "recreate", "alice")))
        command.start()
        deadline = threading.Event()
        while not store.wanted():
            assert not deadline.wait(0.01)
        # It has asked, and the one who should answer ends here.
    command.join(60)
    assert result[0].exit_code == 0, result[0].output
    assert store.wanted() == []


SHOWN = LiveConnection(
    "c1", 1, "alice", "192.0.2.7:40", "SHA256:x", NOW, (LiveSession("c1-0", "exec", "make \x1b[2J", NOW),)
)


def test_sessions_are_listed_and_ended_by_either_id(state: Path, store: Store, gpuadmin: Gpuadmin) -> None:
    store.show_connections([SHOWN])
    with broker(state, lambda store, id_: store.done(id_, None, NOW)):
        (record,) = json.loads(gpuadmin("session", "list", "--json").stdout)
        assert (record["id"], record["user"], record["peer"]) == ("c1", "alice", "192.0.2.7:40")
        assert record["sessions"] == [
            {"id": "c1-0", "kind": "exec", "command": "make \x1b[2J", "started_at": "2026-11-23T15:00:00Z"}
        ]
        assert r"c1-0 make \x1b[2J" in gpuadmin("session", "list").stdout
        assert json.loads(gpuadmin("workspace", "list", "--json").stdout)[0]["connections"] == 1
        assert gpuadmin("session", "kill", "c1").exit_code == 0
        assert gpuadmin("session", "kill", "c1-0").exit_code == 0
        assert gpuadmin("session", "kill", "c2").exit_code == 1
    assert [row["subject"] for row in store._db.rows("select subject from wanted order by id")] == [
        "c1",
        "c1-0",
    ]


def test_a_dead_brokers_sessions_are_not_shown(store: Store, gpuadmin: Gpuadmin) -> None:
    store.show_connections([SHOWN])
    assert json.loads(gpuadmin("session", "list", "--json").stdout) == []
    assert gpuadmin("session", "kill", "c1").exit_code == 1
    assert store.wanted() == []


def test_a_broker_keeps_the_inventory_and_gpuadmin_leaves_it_alone(
    state: Path, store: Store, gpuadmin: Gpuadmin
) -> None:
    store.grant("alice", DeviceRequest(1), timedelta(hours=1), "root", NOW)
    with broker(state, lambda store, id_: None):
        first, second = json.loads(gpuadmin("gpu", "list", "--json").stdout)
    assert (first["index"], first["user"], first["expires_at"], first["problem"]) == (
        0,
        "alice",
        "2026-11-23T16:00:00Z",
        None,
    )
    assert (second["user"], second["lease"], second["memory"]) == (None, None, 141 << 30)
