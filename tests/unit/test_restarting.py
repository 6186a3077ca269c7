"""Containers that show other GPUs than are held, over a real store: made anew at once, or with notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.devices import Health
from gateway.errors import Code, PlatformError
from gateway.restarts import LONGEST, NOTICE
from tests.support.stores import gpu
from tests.support.world import World, at, until, world

ALICE = 1
MINUTE = timedelta(minutes=1)
SOON = "Your container restarts at 2026-11-23 15:10 UTC to show GPU 3; "
WHY = "A new container is made to show GPU 3; log in again."


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    """Alice's container runs without a GPU."""
    async with world(tmp_path / "state") as made:
        made.broker.inventory = {device.id: device for device in made.store.devices()}
        await made.enter(ALICE)
        yield made


async def look(here: World) -> None:
    """Look once, and wait for all that it began."""
    await here.restarting.look()
    await asyncio.gather(*here.restarting._under_way.values())


async def shown(here: World) -> tuple[str, ...] | None:
    container = await here.backend.inspect(ALICE)
    return container.gpus if container is not None and container.running else None


def ids(*indexes: int) -> tuple[str, ...]:
    return tuple(sorted(gpu(index).id for index in indexes))


async def ask(here: World, words: str) -> tuple[int, str]:
    """The status, and everything that `gpu` said."""
    said: list[str] = []
    status = await here.answering.answer(ALICE, words.split(), lambda text, error: said.append(text))
    return status, "".join(said)


async def test_where_nobody_is_in_it_applies_at_once(here: World) -> None:
    lease = here.grant("alice", 3)
    await look(here)
    assert await shown(here) == ids(3)
    assert here.lease(lease).shown
    assert (here.told, here.announced) == ([], [])
    await look(here)
    assert len(here.backend.started) == 2


async def test_a_container_that_does_not_run_is_not_started(here: World) -> None:
    here.grant("bob", 0)
    await look(here)
    assert len(here.backend.started) == 1


@pytest.mark.parametrize("by", ["session", "process"])
async def test_who_is_in_is_told_once_and_restarted_when_the_moment_has_come(here: World, by: str) -> None:
    here.present.update({ALICE} if by == "session" else ())
    here.backend.run_processes(ALICE, int(by == "process"))
    here.grant("alice", 3)
    await look(here)
    here.time = at(0) + NOTICE - timedelta(seconds=1)
    await look(here)
    assert await shown(here) == ()
    ((user_id, text),) = here.announced
    assert (user_id, text.startswith(SOON)) == (ALICE, True)
    assert f"  {SOON}" in await here.enter(ALICE)
    asked: list[str] = []

    async def part(user_id: int, reason: str) -> None:
        assert await shown(here) == (), "her programs save their work first"
        asked.append(reason)
        here.present.clear()

    here.restarting.part = part
    here.time = at(0) + NOTICE
    await look(here)
    assert await shown(here) == ids(3)
    assert (asked, here.told) == ([WHY], [(ALICE, WHY)])
    assert here.store.restarts() == []
    farewell = here.store.farewell(ALICE)
    assert farewell is not None
    assert farewell.reason == WHY


async def test_when_she_leaves_it_applies_at_once(here: World) -> None:
    here.present.add(ALICE)
    here.grant("alice", 3)
    await look(here)
    here.present.clear()
    await look(here)
    assert await shown(here) == ids(3)
    assert here.told == []
    await look(here)
    assert here.store.restarts() == []
    assert SOON not in await here.enter(ALICE)


async def test_who_is_on_the_way_in_is_not_thrown_out(here: World) -> None:
    """She has her line to the runner and no session yet."""
    here.grant("alice", 3)
    with here.broker.room(ALICE).arrival():
        await here.broker.renew(ALICE)
        assert await shown(here) == ()
        await look(here)
    assert len(here.announced) == 1


async def test_she_puts_it_off_for_two_hours_and_no_longer(here: World) -> None:
    here.present.add(ALICE)
    here.grant("alice", 3)
    # Though nobody has looked yet.
    assert await ask(here, "later --for 30m") == (
        0,
        "Your container restarts at 2026-11-23 15:40 UTC, not at 2026-11-23 15:10 UTC.\n",
    )
    assert "2026-11-23 15:40Z to show GPU 3" in (await ask(here, "status"))[1]
    assert (await ask(here, "later"))[0] == 0
    status, said = await ask(here, "later --for 1m")
    assert (status, "can be put off until 2026-11-23 17:00 UTC, no later" in said) == (1, True)
    here.time = at(0) + LONGEST - timedelta(seconds=1)
    await look(here)
    assert await shown(here) == ()
    assert "17:00 UTC to show GPU 3" in await here.enter(ALICE)
    here.time = at(0) + LONGEST
    await look(here)
    assert await shown(here) == ids(3)


async def test_she_has_it_at_once(here: World) -> None:
    here.present.add(ALICE)
    here.grant("alice", 3)
    status, said = await ask(here, "apply")
    assert (status, said.startswith("Your container restarts now")) == (0, True)
    await look(here)
    assert await shown(here) == ids(3)
    assert here.told == [(ALICE, WHY)]


@pytest.mark.parametrize("words", ["apply", "later"])
async def test_where_nothing_is_to_change_that_is_said(here: World, words: str) -> None:
    status, said = await ask(here, words)
    assert (status, said.startswith("gpu: Your container shows the GPUs that you hold, ")) == (1, True)
    assert len(here.backend.started) == 1


async def test_the_moment_survives_the_gateway_and_a_clock_that_is_set(here: World) -> None:
    await here.timekeeper.now()
    here.present.add(ALICE)
    here.grant("alice", 3)
    assert (await ask(here, "later --for 30m"))[0] == 0
    here.restart()
    here.broker.inventory = {device.id: device for device in here.store.devices()}
    await look(here)
    here.set_clock(timedelta(hours=5))
    await look(here)
    (restart,) = here.store.restarts()
    assert restart.due_at == at(5) + NOTICE + 30 * MINUTE
    assert (await shown(here), len(here.announced)) == ((), 1)
    here.time = restart.due_at
    await look(here)
    assert await shown(here) == ids(3)


async def test_a_second_change_is_told_and_waits_for_the_same_moment(here: World) -> None:
    here.present.add(ALICE)
    here.grant("alice", 3)
    await look(here)
    here.grant("alice", 5)
    here.time = at(0) + 5 * MINUTE
    await look(here)
    assert "15:10 UTC to show GPU 3 and GPU 5" in here.announced[-1][1]
    here.time = at(0) + NOTICE
    await look(here)
    assert await shown(here) == ids(3, 5)


async def test_a_change_that_is_undone_restarts_nothing(here: World) -> None:
    here.present.add(ALICE)
    lease = here.grant("alice", 3)
    await look(here)
    here.store.end_lease(lease.id, "root", here.time)
    await here.settling.settle(ALICE)
    await look(here)
    assert here.store.restarts() == []
    here.time = at(1)
    await look(here)
    assert (len(here.backend.started), here.told) == (1, [])


async def test_a_lease_that_ends_stops_the_container_at_its_time_whatever_was_put_off(here: World) -> None:
    """Only what begins is put off."""
    first = here.grant("alice", 0, hours=1)
    await look(here)
    here.present.add(ALICE)
    here.grant("alice", 3)
    assert (await ask(here, "later"))[0] == 0
    here.time = at(1)
    await here.settling.settle_leases()
    assert await shown(here) is None
    assert here.told == [(ALICE, f"Your lease {first.id} ended at its time.")]
    await look(here)
    assert here.store.restarts() == []
    await here.enter(ALICE)
    assert await shown(here) == ids(3)


async def test_another_gpu_in_the_place_of_one_that_failed_applies_the_same_way(here: World) -> None:
    here.grant("alice", 0)
    await look(here)
    here.present.add(ALICE)
    fail(here, 0)
    here.store.replace_lost(here.time)
    await look(here)
    assert "15:10 UTC to show GPU 1; " in here.announced[-1][1]
    assert (await ask(here, "apply"))[0] == 0
    await look(here)
    assert await shown(here) == ids(1)


async def test_no_container_is_ended_for_one_that_cannot_start(here: World) -> None:
    """With a GPU that is lost, and that nothing replaces, no other starts."""
    here.grant("alice", 0)
    await look(here)
    fail(here, 0)
    here.grant("alice", 5)
    await look(here)
    assert await shown(here) == ids(0)
    fail(here, 7)
    await look(here)
    assert await shown(here) == ids(0, 5)


async def test_gpus_that_cannot_be_opened_are_given_back_the_same_way(here: World) -> None:
    here.grant("alice", 3)
    await look(here)
    room = here.broker.room(ALICE)
    room.barred, room.made_from = True, None
    here.present.add(ALICE)
    await look(here)
    assert SOON in here.announced[-1][1]
    here.present.clear()
    await look(here)
    assert (await shown(here), room.barred, len(here.backend.started)) == (ids(3), False, 3)


async def test_what_somebody_else_ended_meanwhile_is_not_ended_again(here: World) -> None:
    here.present.add(ALICE)
    here.grant("alice", 3)

    async def part(user_id: int, reason: str) -> None:
        await here.broker.end(ALICE, "An operator ended it.")
        await here.enter(ALICE)

    here.restarting.part = part
    assert (await ask(here, "apply"))[0] == 0
    await look(here)
    assert here.told == [(ALICE, "An operator ended it.")]
    assert (await shown(here), len(here.backend.started)) == (ids(3), 2)


async def test_who_gives_the_new_gpus_back_while_work_is_saved_keeps_her_sessions(here: World) -> None:
    here.present.add(ALICE)
    here.grant("alice", 3)

    async def part(user_id: int, reason: str) -> None:
        here.store.give_back(ALICE, None, here.time)
        await here.settling.settle(ALICE)

    here.restarting.part = part
    assert (await ask(here, "apply"))[0] == 0
    await look(here)
    await look(here)
    assert (here.told, len(here.backend.started), here.store.restarts()) == ([], 1, [])


async def test_who_is_about_to_lose_her_container_is_not_told_of_another(here: World) -> None:
    here.present.add(ALICE)
    room = here.broker.room(ALICE)
    room.parting = "Your lease 3 ended at its time. Your container is stopped when that is saved."
    here.grant("alice", 3)
    await look(here)
    assert (here.announced, here.store.restarts()) == ([], [])
    room.parting = None
    await look(here)
    assert len(here.announced) == 1


async def test_one_that_fails_is_tried_again_and_keeps_nobody_else(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.enter(2)
    here.grant("alice", 3)
    here.grant("bob", 4)
    count = here.backend.processes

    async def fails(workspace_id: int) -> int:
        if workspace_id == ALICE:
            raise PlatformError(Code.UNAVAILABLE, "The engine does not answer; try again.")
        return await count(workspace_id)

    monkeypatch.setattr(here.backend, "processes", fails)
    await look(here)
    assert await shown(here) == ()
    bobs = await here.backend.inspect(2)
    assert bobs is not None
    assert bobs.gpus == ids(4)
    monkeypatch.undo()
    await look(here)
    assert await shown(here) == ids(3)


async def test_nobody_waits_for_programs_that_save_their_work(here: World) -> None:
    await here.enter(2)
    here.present.add(ALICE)
    here.grant("alice", 3)
    saved = asyncio.Event()

    async def part(user_id: int, reason: str) -> None:
        await saved.wait()

    here.restarting.part = part
    assert (await ask(here, "apply"))[0] == 0
    await here.restarting.look()
    here.grant("bob", 4)
    await here.restarting.look()
    await until(lambda: 2 not in here.restarting._under_way)
    assert await shown(here) == ()
    status, said = await ask(here, "later")
    assert (status, "is being restarted already" in said) == (1, True)
    saved.set()
    await until(lambda: not here.restarting._under_way)
    assert await shown(here) == ids(3)


def fail(here: World, *indexes: int) -> None:
    """These GPUs are lost, as the gateway sees it."""
    here.store.sync_devices([gpu(index) for index in range(8) if index not in indexes], here.time)
    here.broker.inventory = {device.id: device for device in here.store.devices()}
    assert here.broker.inventory[gpu(indexes[0]).id].state is Health.LOST
