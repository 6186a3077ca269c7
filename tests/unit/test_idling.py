"""What is idle is told of, stopped, held and released: the use case over a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import idling
from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.idleness import Idle, Step, Stretch
from gateway.idling import Idling
from gateway.leases import Lease, State
from gateway.quotas import UNLIMITED, Owner
from gateway.signs import GpuSign, Look
from tests.support.stores import gpu
from tests.support.world import World, until, world

ALICE, BOB = 1, 2
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Machine:
    """A world whose workspaces do what a test says, and the use case that looks at them."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.does: dict[int, Look] = {}
        self.begin()

    def begin(self) -> None:
        """A gateway that knows nothing but what the store has kept."""
        here = self.here
        self.idling = Idling(here.desk, here.broker, here.settling, here.timekeeper, here.clock)
        self.idling.look = self.look

    async def look(self, leases: Sequence[Lease]) -> Mapping[int, Look]:
        """Idle, unless the test says otherwise."""
        running = self.here.broker.running()
        holding = {
            user_id: tuple(
                GpuSign(id_, 0, 0, 0) for each in leases for id_ in each.devices if each.user_id == user_id
            )
            for user_id in {lease.user_id for lease in leases} | running
        }
        idle = Look(False, True, 0.0, 0.0)
        return {
            user_id: replace(self.does.get(user_id, idle), running=user_id in running, gpus=gpus)
            for user_id, gpus in holding.items()
        }

    async def pass_time(self, minutes: float) -> None:
        """So much time, with looks as the use case wants them."""
        end = self.here.time + minutes * MINUTE
        while self.here.time < end:
            self.here.time += timedelta(seconds=self.idling.every)
            await self.idling.attend()
            if self.idling._stopping:
                await asyncio.wait(self.idling._stopping.values())
            await self.here.settling.settle_leases()

    def said(self, user_id: int = ALICE) -> list[str]:
        """What she was told since this was asked last."""
        heard = [text for to, text in self.here.announced if to == user_id]
        self.here.announced.clear()
        return heard


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    """One whose gateway looks every 30 seconds: sixty looks a window."""
    monkeypatch.setattr(idling, "SLOWEST", 30.0)
    async with world(tmp_path / "state") as here:
        made = Machine(here)
        yield made
        made.idling.close()
        await made.idling.wait_closed()
        here.broker.close()


async def test_idle_gpus_go_step_by_step_to_the_next(machine: Machine) -> None:
    here = machine.here
    lease = here.grant("alice", 0)
    await here.enter(ALICE)
    await machine.pass_time(23)
    assert machine.said() == []
    await machine.pass_time(2)
    (notice,) = machine.said()
    assert notice.startswith("Your GPUs have had nothing to do for 30m. If that goes on, your container is")
    await machine.pass_time(5)
    (warning,) = machine.said()
    assert warning.startswith("Your GPUs have still nothing to do: your container is stopped at ")
    assert warning.endswith("or keep them a while with: gpu extend")
    assert here.told == []
    await machine.pass_time(5)
    ((user_id, reason),) = here.told
    assert user_id == ALICE
    assert reason.startswith("Your GPUs had nothing to do for 30m and are kept for you until ")
    assert not (await here.backend.inspect(ALICE)).running  # type: ignore[union-attr]
    assert here.lease(lease).live
    await machine.pass_time(12)
    assert here.lease(lease).live
    await machine.pass_time(4)
    ended = here.lease(lease)
    assert (ended.state, ended.reason) == (
        State.RELEASED,
        "Its GPUs had nothing to do for 30m, and nobody came for them within 15m.",
    )
    farewell = here.store.farewell(ALICE)
    assert farewell is not None
    assert farewell.reason == reason
    assert here.store.idle() == {}


async def test_who_works_is_there_or_comes_back_keeps_her_gpus(machine: Machine) -> None:
    here = machine.here
    lease = here.grant("alice", 0)
    await here.enter(ALICE)
    machine.does[ALICE] = Look(False, True, 1.0, 0.0)
    await machine.pass_time(90)
    machine.does[ALICE] = Look(True, True, 0.0, 0.0)
    await machine.pass_time(90)
    assert machine.said() == []
    del machine.does[ALICE]
    await machine.pass_time(43)
    assert here.store.idle()[ALICE].step is Step.HELD
    await here.enter(ALICE)
    machine.does[ALICE] = Look(True, True, 0.0, 0.0)
    await machine.pass_time(30)
    assert here.store.idle() == {}
    assert here.lease(lease).live


@pytest.mark.parametrize("minutes", [24, 27, 32, 36, 45])
async def test_another_gateway_goes_on_where_one_was_killed(machine: Machine, minutes: int) -> None:
    """With the step that was reached, and with what was seen; at each step."""
    here = machine.here
    lease = here.grant("alice", 0)
    await here.enter(ALICE)
    await machine.pass_time(minutes)
    before = here.store.idle().get(ALICE)
    here.restart()
    await here.broker.adopt()
    machine.begin()
    await machine.pass_time(1)
    after = here.store.idle().get(ALICE)
    assert before is None or after == before
    await machine.pass_time(52 - minutes)
    assert here.lease(lease).state is State.RELEASED
    assert len(here.told) == 1
    assert len(machine.said()) == 2


async def test_what_was_not_seen_for_long_is_not_idle(machine: Machine) -> None:
    here = machine.here
    lease = here.grant("alice", 0)
    await here.enter(ALICE)
    await machine.pass_time(20)
    here.restart()
    here.time += 3 * HOUR
    await here.broker.adopt()
    machine.begin()
    await machine.pass_time(22)
    assert here.lease(lease).live
    assert here.store.idle() == {}


async def test_a_look_that_fails_is_no_look(machine: Machine) -> None:
    here = machine.here
    here.grant("alice", 0)
    await here.enter(ALICE)
    await machine.pass_time(10)

    async def fails(leases: Sequence[Lease]) -> Mapping[int, Look]:
        raise PlatformError(Code.UNAVAILABLE, "The engine is away; start it.")

    machine.idling.look = fails
    for _ in range(120):
        here.time += timedelta(seconds=30)
        with pytest.raises(PlatformError):
            await machine.idling.attend()
    machine.idling.look = machine.look
    await machine.pass_time(13)
    assert here.store.idle() == {}


async def test_the_time_that_a_look_is_late_does_not_count(machine: Machine) -> None:
    here = machine.here
    here.grant("alice", 0)
    await here.enter(ALICE)
    for _ in range(12):
        here.time += 5 * MINUTE
        await machine.idling.attend()
    assert here.store.idle() == {}


async def test_somebody_who_waits_for_such_a_gpu_halves_the_window(machine: Machine) -> None:
    here = machine.here
    here.grant("alice", *range(8))
    here.store.queue("bob", DeviceRequest(1), HOUR, "root", here.time)
    await here.enter(ALICE)
    await machine.pass_time(14)
    assert machine.said()[0].startswith("Your GPUs have had nothing to do for 15m.")
    assert here.store.contended() == {ALICE}


async def test_who_waits_for_another_gpu_or_for_her_own_presses_nobody(machine: Machine) -> None:
    here = machine.here
    here.grant("alice", 0)
    here.grant("carol", *range(1, 8))
    here.store.queue("carol", DeviceRequest(1, (gpu(3).id,)), HOUR, "root", here.time)
    assert here.store.contended() == set()
    here.store.queue("bob", DeviceRequest(1, (gpu(7).id,)), HOUR, "root", here.time)
    assert here.store.contended() == {3}


async def test_a_quota_says_how_long_and_none_is_for_ever(machine: Machine) -> None:
    here = machine.here
    here.store.set_quotas(Owner(), {"idle": 3600}, "root", here.time)
    here.store.set_quotas(Owner("alice"), {"idle": UNLIMITED}, "root", here.time)
    here.grant("alice", 0)
    bobs = here.grant("bob", 1)
    for user_id in (ALICE, BOB):
        await here.enter(user_id)
    await machine.pass_time(47)
    assert here.store.idle() == {}
    await machine.pass_time(3)
    assert list(here.store.idle()) == [BOB]
    here.store.set_quotas(Owner("bob"), {"idle": UNLIMITED}, "root", here.time)
    await machine.pass_time(60)
    assert here.store.idle() == {}
    assert here.lease(bobs).live


async def test_a_workspace_without_gpus_is_stopped_after_days(machine: Machine) -> None:
    here = machine.here
    here.store.set_quotas(Owner("alice"), {"idle_workspace": 7200}, "root", here.time)
    await here.enter(ALICE)
    await here.enter(BOB)
    await machine.pass_time(95)
    assert here.store.idle() == {}
    await machine.pass_time(4)
    (said,) = machine.said()
    assert said == (
        "Your workspace has had nothing to do for 2h. If that goes on, your container is stopped at "
        "2026-11-23 16:46 UTC. Your files stay."
    )
    await machine.pass_time(12)
    assert here.told == [(ALICE, "Your workspace had nothing to do for 2h.")]
    assert here.broker.running() == {BOB}
    assert here.store.idle() == {}


async def test_programs_save_their_work_first_and_she_who_comes_meanwhile_is_not_stopped(
    machine: Machine,
) -> None:
    here = machine.here
    here.grant("alice", 0)
    await here.enter(ALICE)
    asked: list[str] = []
    saved = asyncio.Event()

    async def part(user_id: int, reason: str) -> None:
        asked.append(reason)
        await saved.wait()

    here.settling.part = part
    while not asked:
        here.time += timedelta(seconds=30)
        await machine.idling.attend()
        await asyncio.sleep(0)
    assert asked == ["Your GPUs had nothing to do for 30m."]
    # What saves its work works: that is no reason to go on for ever.
    machine.does[ALICE] = Look(False, True, 2.0, 0.0)
    here.time += timedelta(seconds=30)
    await machine.idling.attend()
    assert machine.idling._stopping
    machine.does[ALICE] = Look(True, True, 2.0, 0.0)
    await machine.idling.attend()
    await until(lambda: not machine.idling._stopping)
    await machine.idling.attend()
    assert here.broker.running() == {ALICE}
    assert here.store.idle() == {}
    assert machine.said()[-1] == "Your container is not stopped now."


async def test_who_holds_it_off_while_her_programs_save_their_work_is_not_stopped(machine: Machine) -> None:
    here = machine.here
    here.grant("alice", 0)
    await here.enter(ALICE)
    asked: list[str] = []

    async def part(user_id: int, reason: str) -> None:
        asked.append(reason)
        await asyncio.Event().wait()

    here.settling.part = part
    while not asked:
        here.time += timedelta(seconds=30)
        await machine.idling.attend()
        await asyncio.sleep(0)
    kept = here.store.hold_off(ALICE, here.time)
    assert kept is not None
    await machine.idling.attend()
    await until(lambda: not machine.idling._stopping)
    assert here.broker.running() == {ALICE}
    assert here.store.idle() == {ALICE: kept.idle}


async def test_a_stop_that_was_held_off_at_its_last_moment_is_none(machine: Machine) -> None:
    here = machine.here
    here.grant("alice", 0)
    await here.enter(ALICE)

    async def part(user_id: int, reason: str) -> None:
        here.store.hold_off(ALICE, here.time)

    here.settling.part = part
    await machine.pass_time(36)
    assert here.store.idle()[ALICE].extensions == 1
    assert here.broker.running() == {ALICE}


async def test_a_container_that_was_made_anew_meanwhile_is_not_stopped(machine: Machine) -> None:
    here = machine.here
    lease = here.grant("alice", 0)
    await here.enter(ALICE)
    asked: list[str] = []
    saved = asyncio.Event()

    async def part(user_id: int, reason: str) -> None:
        asked.append(reason)
        await saved.wait()

    here.settling.part = part
    while not asked:
        here.time += timedelta(seconds=30)
        await machine.idling.attend()
        await asyncio.sleep(0)
    here.store.end_lease(lease.id, "root", here.time, at_once=True)
    await here.settling.settle(ALICE, at_once=True)
    await here.enter(ALICE)
    saved.set()
    await until(lambda: not machine.idling._stopping)
    assert here.broker.running() == {ALICE}


async def test_who_comes_in_at_the_last_moment_has_her_gpus(machine: Machine) -> None:
    """The look at her workspace is of before; her container starts while its leases are about to end."""
    here = machine.here
    lease = here.grant("alice", 0)
    await here.enter(ALICE)
    await machine.pass_time(40)
    async with here.broker.room(ALICE).lock:
        await machine.pass_time(12)
    assert here.store.idle()[ALICE].step is Step.HELD

    async def of_before(leases: Sequence[Lease]) -> Mapping[int, Look]:
        return {ALICE: Look(False, False, 0.0, 0.0, (GpuSign(gpu(0).id, 0, 0, 0),))}

    machine.idling.look = of_before
    await here.enter(ALICE)
    await machine.idling.attend()
    machine.idling.look = machine.look
    machine.does[ALICE] = Look(True, True, 0.0, 0.0)
    await machine.pass_time(1)
    assert here.lease(lease).live
    assert here.store.idle() == {}


async def test_only_what_was_idle_is_released(machine: Machine) -> None:
    """A lease that she was granted while the others were held for her is another matter."""
    here = machine.here
    old = here.grant("alice", 0)
    await here.enter(ALICE)
    await machine.pass_time(40)
    new = here.grant("alice", 1)
    here.store.shown([new.id], here.time)
    await machine.pass_time(14)
    assert here.lease(old).state is State.RELEASED
    assert here.lease(new).live


async def test_who_holds_it_off_is_stopped_later_and_no_more_than_twice(machine: Machine) -> None:
    here = machine.here
    here.grant("alice", 0)
    await here.enter(ALICE)
    assert here.store.hold_off(ALICE, here.time) is None
    await machine.pass_time(26)
    for _ in range(2):
        kept = here.store.hold_off(ALICE, here.time)
        assert kept is not None
        assert kept.until == here.time + 15 * MINUTE
        await machine.pass_time(14)
        assert here.told == []
    with pytest.raises(PlatformError, match="You held it off 2 times") as refused:
        here.store.hold_off(ALICE, here.time)
    assert refused.value.code is Code.CONFLICT
    await machine.pass_time(2)
    assert len(here.told) == 1
    assert here.store.hold_off(ALICE, here.time) is None


async def test_a_clock_that_is_set_moves_what_was_said_and_empties_the_window(machine: Machine) -> None:
    here = machine.here
    lease = here.grant("alice", 0)
    await here.enter(ALICE)
    await machine.pass_time(26)
    before = here.store.idle()[ALICE]
    here.set_clock(timedelta(days=1))
    await machine.pass_time(20)
    assert here.store.idle()[ALICE] == replace(before, at=before.at + timedelta(days=1))
    assert here.lease(lease).live


def test_traces_come_back_as_they_were_kept_and_old_ones_go(machine: Machine) -> None:
    here = machine.here
    trace = [Stretch(here.time + number * MINUTE, 30.0, 1.5 * number, number == 1) for number in range(3)]
    here.store.keep_traces({(ALICE, True): trace, (BOB, False): trace[:1]}, here.time)
    assert here.store.traces() == {(ALICE, True): trace, (BOB, False): trace[:1]}
    here.store.keep_traces({}, here.time + 32 * MINUTE)
    assert here.store.traces() == {(ALICE, True): trace[2:], (BOB, False): trace[:1]}


def test_each_step_is_an_event(machine: Machine) -> None:
    here = machine.here
    here.store.set_idle(ALICE, Idle(Step.NOTICED, here.time, True), here.time)
    here.store.set_idle(ALICE, Idle(Step.NOTICED, here.time, True), here.time)
    here.store.hold_off(ALICE, here.time)
    here.store.set_idle(ALICE, None, here.time)
    events = here.store._db.rows("select actor, subject, before, after from event where verb = 'idle'")
    assert [(each["actor"], each["after"]) for each in events] == [
        ("gateway", '{"state": "noticed"}'),
        ("alice", '{"state": "noticed"}'),
        ("gateway", '{"state": "in use"}'),
    ]
