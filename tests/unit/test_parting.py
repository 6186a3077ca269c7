"""How long is waited for programs that save their work, and what their user knows of it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import Code, PlatformError
from gateway.journal import heard
from gateway.leases import Lease
from gateway.notices import LONGEST_REASON
from gateway.parting import Parting
from tests.support.world import Link, World, until, world

PATIENCE = timedelta(minutes=10)
WHY = "Your lease 1 ended at its time."
SAID = (
    "Your lease 1 ended at its time. Your container is stopped when the programs that save their work and "
    "~/.config/gpu/on-stop have ended, at 2026-11-23 15:10 UTC at the latest."
)


class Room:
    """alice's container with a GPU, and everything that her terminals were shown."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lease: Lease = world.grant("alice", 0)
        self.shown: list[tuple[int, str]] = []
        self.logged: list[str] = []
        world.broker.announce = lambda user_id, text: self.shown.append((user_id, text))
        self.parting = Parting(world.broker, PATIENCE, lambda: world.time)

    @property
    def link(self) -> Link:
        """Where her runner dials in now."""
        return self.world.open_links()[-1]

    def wind_down(self, patience: timedelta | None = None) -> asyncio.Task[None]:
        """Begin to wait."""
        return asyncio.create_task(self.parting.wind_down(1, WHY, patience))

    async def asked(self, times: int = 1) -> None:
        """Wait until her runner was told."""
        await until(lambda: len(self.link.parts) == times)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with world(tmp_path / "state") as made:
        found = Room(made)
        await made.enter(1)
        with heard(lambda what, fields: found.logged.append(what)):
            yield found


async def test_when_there_is_nothing_to_wait_for_nobody_waits_or_is_told(room: Room) -> None:
    await room.parting.wind_down(1, WHY)
    assert room.link.parts == [(WHY, 600)]
    assert (room.shown, room.logged) == ([], [])


async def test_her_terminals_show_until_when_and_a_login_is_greeted_with_it(room: Room) -> None:
    """With her lease over and nobody in, a login would make the container anew: not while work is saved."""
    room.link.begins, room.link.parted = (2, True), asyncio.Future()
    waiting = room.wind_down()
    await room.asked()
    assert room.shown == [(1, SAID)]
    room.world.store.end_lease(room.lease.id, "root", room.world.time)
    assert (await room.world.enter(1)).splitlines()[1:] == ["  no GPU", f"  {SAID}"]
    assert len(room.world.backend.started) == 1
    assert not waiting.done()
    room.link.parted.set_result(None)
    await waiting
    assert SAID not in await room.world.enter(1)
    assert len(room.world.backend.started) == 2
    assert room.logged[0] == "parting"


@pytest.mark.parametrize("begins", [None, (1, False)])
async def test_a_runner_that_never_ends_costs_the_patience_and_no_more(
    room: Room, begins: tuple[int, bool] | None
) -> None:
    """One that is hostile may say nothing at all, and then nobody is shown anything."""
    room.link.begins, room.link.parted = begins, asyncio.Future()
    await room.parting.wind_down(1, WHY, timedelta(seconds=0.05))
    assert len(room.shown) == (begins is not None)
    assert room.logged[-1] == "parting_timed_out"
    assert room.world.broker.room(1).parting is None


async def test_a_runner_that_was_killed_is_asked_again_when_it_is_back(room: Room) -> None:
    """Her terminals are shown it once; the second is told of the time that is left."""
    link = room.link
    link.begins, link.parted = (1, False), asyncio.Future()
    waiting = room.wind_down()
    await room.asked()
    lost, link.parted = link.parted, asyncio.Future()
    lost.set_exception(PlatformError(Code.UNAVAILABLE, "The runner is gone."))
    await room.asked(2)
    link.parted.set_result(None)
    await waiting
    assert len(room.shown) == 1
    assert all(0 < seconds <= 600 for _, seconds in link.parts)


async def test_a_runner_that_is_not_there_is_not_waited_for(room: Room) -> None:
    room.link.deaf = True
    await room.parting.wind_down(1, WHY)
    assert room.link.parts == []


async def test_a_gateway_that_has_just_begun_finds_the_runner_of_a_container_that_runs_on(room: Room) -> None:
    """Else the lease that ended under the former would stop it at once, in the middle of a checkpoint."""
    room.world.restart()
    room.parting = Parting(room.world.broker, PATIENCE, lambda: room.world.time)
    assert room.world.broker.room(1).link is None
    await room.parting.wind_down(1, WHY)
    assert room.link.parts == [(WHY, 600)]
    assert room.world.broker.running() == {1}


async def test_without_a_container_or_an_engine_there_is_nothing_to_wait_for(room: Room) -> None:
    room.world.restart()
    room.parting = Parting(room.world.broker, PATIENCE, lambda: room.world.time)
    room.world.backend.away = True
    await room.parting.wind_down(1, WHY)
    room.world.backend.away = False
    room.world.backend.end(1, 0)
    await room.parting.wind_down(1, WHY)
    assert room.world.broker.running() == set()


async def test_a_container_that_ended_meanwhile_is_not_waited_for(room: Room) -> None:
    link = room.link
    link.parted = asyncio.Future()
    waiting = room.wind_down()
    await room.asked()
    async with room.world.broker.room(1).lock:
        await room.world.broker.stop(1, "An operator stopped it.")
    link.parted.set_exception(PlatformError(Code.UNAVAILABLE, "The runner is gone."))
    await waiting
    await room.parting.wind_down(1, WHY)
    assert len(link.parts) == 1


async def test_who_asks_while_it_goes_on_waits_for_the_same_end(room: Room) -> None:
    room.link.parted = asyncio.Future()
    waiting = [room.wind_down(), room.wind_down(timedelta(seconds=0))]
    await room.asked()
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    room.link.parted.set_result(None)
    await asyncio.gather(*waiting)
    assert len(room.link.parts) == 1


async def test_it_can_be_called_off_and_begun_again(room: Room) -> None:
    room.link.parted = asyncio.Future()
    waiting = room.wind_down()
    await room.asked()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert SAID not in await room.world.enter(1)
    room.link.parted = None
    await room.parting.wind_down(1, WHY)
    assert len(room.link.parts) == 2


async def test_a_long_reason_is_cut_for_the_runner(room: Room) -> None:
    await room.parting.wind_down(1, "x" * 9999)
    assert room.link.parts[0][0] == "x" * LONGEST_REASON
