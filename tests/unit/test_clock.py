"""A clock that is set while leases run: they last as long as they were granted for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from admin.call import Call
from admin.main import cli
from gateway import boot
from gateway.clock import Clock, moves_leases, step
from gateway.devices import DeviceRequest
from gateway.leases import State
from gateway.sqlite.store import Store
from gateway.users import RETENTION
from tests.support.stores import NOW, open_store, stocked
from tests.support.world import World, world

ALICE = 1
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NOTHING = timedelta(0)


def clock(set_by: timedelta = NOTHING, after: timedelta = NOTHING, uptime: timedelta = HOUR) -> Clock:
    """`after` later, by a clock that was set meanwhile."""
    return Clock("this", NOW + after + set_by, uptime + after)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path / "state") as made:
        yield made


@pytest.mark.parametrize("by", [DAY, -DAY, timedelta(minutes=1), -timedelta(minutes=1)])
def test_a_clock_that_was_set(by: timedelta) -> None:
    assert step("this", clock().began, clock(by, after=HOUR)) == by


@pytest.mark.parametrize("by", [NOTHING, timedelta(seconds=59), -timedelta(seconds=59)])
def test_what_nobody_notices_is_no_step(by: timedelta) -> None:
    assert step("this", clock().began, clock(by, after=30 * DAY)) == NOTHING


def test_another_boot_tells_nothing() -> None:
    assert step("other", clock().began, clock(DAY)) is None


@pytest.mark.parametrize(
    ("by", "now", "uptime", "follow"),
    [
        (DAY, NOW, HOUR, True),
        (-DAY, NOW, timedelta(minutes=10), True),
        (DAY, NOW, timedelta(minutes=9), False),
        (NOW - datetime(1970, 1, 1, tzinfo=UTC), NOW, HOUR, False),
    ],
)
def test_a_machine_that_booted_with_a_wrong_clock_moves_no_lease(
    by: timedelta, now: datetime, uptime: timedelta, follow: bool
) -> None:
    assert moves_leases(by, Clock("this", now, uptime)) is follow


def test_the_look_agrees_with_the_kernel() -> None:
    first = boot.look()
    began = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    assert abs(first.began.timestamp() - int(began.split()[1])) < 2
    assert step(first.boot, first.began, boot.look()) == NOTHING


@pytest.mark.parametrize("by", [DAY, -DAY])
async def test_a_clock_a_day_wrong_that_is_put_right_loses_no_lease(here: World, by: timedelta) -> None:
    before = here.grant("alice", 0, hours=8)
    await here.enter(ALICE)
    await here.settling.settle_leases()
    here.set_clock(by)
    await here.settling.settle_leases()
    assert here.lease(before).expires_at == before.expires_at + by
    meanwhile = here.grant("bob", 1, hours=8)
    here.restart()
    here.time += HOUR
    await here.settling.settle_leases()
    here.set_clock(-by)
    await here.settling.settle_leases()
    assert here.lease(before) == replace(before, state=State.ACTIVE, shown=True)
    assert here.lease(meanwhile).state is State.GRANTED
    assert here.lease(meanwhile).expires_at == NOW + 8 * HOUR
    assert here.told == []
    here.time = NOW + 8 * HOUR
    await here.settling.settle_leases()
    assert [here.lease(each).state for each in (before, meanwhile)] == [State.RELEASED, State.RELEASED]


async def test_a_clock_that_is_set_while_the_gateway_is_away(here: World) -> None:
    lease = here.grant("alice", 0, hours=8)
    await here.settling.settle_leases()
    here.stop()
    here.set_clock(DAY)
    here.time += HOUR
    here._start()
    await here.settling.settle_leases()
    assert here.lease(lease).live
    assert here.lease(lease).expires_at - here.time == 7 * HOUR


async def test_it_is_said(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    await here.settling.settle_leases()
    here.set_clock(-DAY)
    await here.settling.settle_leases()
    await here.settling.settle_leases()
    assert capsys.readouterr().err.count('"event": "clock_set", "seconds": -86400') == 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stocked(tmp_path / "state", 1, "alice", "bob") as opened:
        yield opened


def test_files_that_wait_for_their_deletion_wait_as_long_as_promised(store: Store) -> None:
    store.keep_time(clock())
    store.remove_user("alice", "root", NOW)
    store.remove_workspace("bob", "root", NOW)
    (removal,) = store.removals()
    store.put_away(removal.id, NOW)
    far = 2 * RETENTION
    assert store.keep_time(clock(far)) == far
    assert store.purgeable(NOW + far) == store.purgeable_removals(NOW + far) == []
    assert store.keep_time(clock(after=RETENTION)) == -far
    assert store.purgeable(NOW + RETENTION) == [1]
    assert store.purgeable_removals(NOW + RETENTION) == [removal.id]


def test_what_is_over_stays_where_it_was(store: Store) -> None:
    store.keep_time(clock())
    lease = store.grant("alice", _one(), HOUR, "root", NOW)
    store.end_lease(lease.id, "root", NOW)
    store.released(lease.id, "root", NOW)
    over = store.lease(lease.id)
    assert store.keep_time(clock(DAY)) == DAY
    assert store.lease(lease.id) == over


def test_a_new_boot_and_a_first_look_move_nothing(store: Store) -> None:
    lease = store.grant("alice", _one(), HOUR, "root", NOW)
    assert store.keep_time(clock()) == NOTHING
    assert store.keep_time(Clock("next", NOW + 5 * DAY, timedelta(minutes=1))) == NOTHING
    assert store.keep_time(Clock("next", NOW, timedelta(minutes=2))) == -5 * DAY - timedelta(minutes=1)
    assert store.lease(lease.id) == lease


def test_two_who_look_at_once_move_it_once(store: Store, tmp_path: Path) -> None:
    store.keep_time(clock())
    lease = store.grant("alice", _one(), HOUR, "root", NOW)
    with closing(open_store(tmp_path / "state")) as other:
        assert [each.keep_time(clock(DAY)) for each in (store, other)] == [DAY, NOTHING]
    assert store.lease(lease.id).expires_at == lease.expires_at + DAY


def test_gpuadmin_sees_it_before_it_grants(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep_time(clock())
    lease = store.grant("alice", _one(), HOUR, "root", NOW)
    monkeypatch.setattr(boot, "look", lambda: clock(-DAY))
    call = Call(None, tmp_path / "state")
    try:
        assert call.store.lease(lease.id).expires_at == lease.expires_at - DAY
    finally:
        call.close()


def test_doctor_sees_a_clock_that_fell_back_while_the_machine_was_off(store: Store, tmp_path: Path) -> None:
    """An empty battery: nothing moves across a boot, so somebody has to be told."""
    store.record("root", "note", "this machine", "", datetime(2099, 1, 1, tzinfo=UTC))
    done = CliRunner().invoke(cli, ["--state", str(tmp_path / "state"), "doctor", "--json"])
    (found,) = [each for each in json.loads(done.stdout) if each["check"] == "clock"]
    assert (found["status"], "the newest record is of 2099-01-01" in found["found"]) == ("fail", True)


def _one() -> DeviceRequest:
    return DeviceRequest(1, ())
