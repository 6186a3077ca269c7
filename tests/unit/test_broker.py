"""The broker's use cases over a real store: containers, leases and sessions stay in step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import settling as settlings
from gateway.errors import Code, PlatformError
from gateway.leases import State
from gateway.workspaces import Container
from tests.support.stores import NOW, add_people, gpu
from tests.support.world import IMAGE, World, at, until, world

ALICE, BOB, CAROL = 1, 2, 3


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    """A gateway with three users and eight GPUs, none granted."""
    async with world(tmp_path / "state") as made:
        yield made
        made.broker.close()
        assert made.open_links() == []


async def container(here: World, user_id: int) -> Container | None:
    return await here.backend.inspect(user_id)


async def running(here: World, user_id: int) -> tuple[str, ...] | None:
    """The devices that a user's running container shows; None when none runs."""
    found = await container(here, user_id)
    return found.gpus if found is not None and found.running else None


def ids(*indexes: int) -> tuple[str, ...]:
    return tuple(sorted(gpu(index).id for index in indexes))


class Gate:
    """Holds one method of the engine until it is opened."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self._method = method
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, *args: Any) -> Any:
        """The method, when the gate opens."""
        self.reached.set()
        await self.opened.wait()
        return await self._method(*args)


async def refused(work: Awaitable[Any], code: Code) -> str:
    with pytest.raises(PlatformError) as caught:
        await work
    assert caught.value.code is code
    return caught.value.message


async def test_twenty_at_once_start_one_container(here: World) -> None:
    names = [f"c{number}" for number in range(20)]
    await asyncio.gather(*(here.enter(ALICE, name) for name in names))
    assert len(here.backend.started) == 1
    assert here.folders.prepared == here.folders.cleared == [ALICE]
    assert len(here.links) == 1


async def test_twenty_users_at_once_start_one_each(here: World) -> None:
    add_people(here.store, *(f"user{number}" for number in range(20)))
    users = [user.id for user in here.store.users()]
    await asyncio.gather(*(here.enter(user_id) for user_id in users))
    assert sorted(spec.workspace_id for spec in here.backend.started) == sorted(users)


async def test_the_next_connection_finds_the_same_container(here: World) -> None:
    await here.enter(ALICE)
    before = await container(here, ALICE)
    await here.enter(ALICE, "c2")
    assert await container(here, ALICE) == before


async def test_nobody_starts_for_a_user_who_is_not_there(here: World) -> None:
    await refused(here.enter(99), Code.NOT_FOUND)
    assert here.backend.started == []


async def test_a_grant_applies_at_the_next_login_when_nobody_is_in(here: World) -> None:
    await here.enter(ALICE)
    here.grant("alice", 3)
    greeting = await here.enter(ALICE)
    assert gpu(3).id in greeting
    assert await running(here, ALICE) == ids(3)
    assert len(here.open_links()) == 1


@pytest.mark.parametrize("by", ["session", "process"])
async def test_a_grant_waits_while_she_is_in(here: World, by: str) -> None:
    await here.enter(ALICE)
    here.grant("alice", 3)
    if by == "session":
        here.present.add(ALICE)
    else:
        here.backend.run_processes(ALICE, 1)
    assert "applies when nothing of yours runs" in await here.enter(ALICE)
    assert await running(here, ALICE) == ()
    here.present.clear()
    here.backend.run_processes(ALICE, 0)
    assert "applies when" not in await here.enter(ALICE)
    assert await running(here, ALICE) == ids(3)


async def test_a_version_that_waits_is_told_while_she_is_in(here: World) -> None:
    await here.enter(ALICE)
    here.store.add_image("base", "2", "", "gpu-gateway/base:2", "sha256:" + "2" * 64, "root", NOW)
    here.store.promote("gpu-gateway/base:2", "root", NOW)
    here.present.add(ALICE)
    for _ in range(2):
        greeting = await here.enter(ALICE)
        assert greeting.startswith("alice on gpu-gateway/base:1\n")
        assert "A newer version is ready, gpu-gateway/base:2" in greeting


async def test_recreate_applies_it_at_once_and_ends_her_sessions(here: World) -> None:
    await here.enter(ALICE)
    here.grant("alice", 3)
    here.present.add(ALICE)
    await here.broker.end(ALICE, "Log in again.")
    assert here.told == [(ALICE, "Log in again.")]
    assert await container(here, ALICE) is None
    assert here.open_links() == []
    await here.enter(ALICE)
    assert await running(here, ALICE) == ids(3)


async def test_at_its_end_the_container_stops_and_only_then_the_device_is_free(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = here.grant("alice", 0, hours=1)
    await here.enter(ALICE)
    gate = Gate(here.backend.stop)
    monkeypatch.setattr(here.backend, "stop", gate)
    here.time = at(1)
    settling = asyncio.create_task(here.settling.settle_leases())
    await gate.reached.wait()
    assert here.lease(lease).state is State.GRACE
    assert here.told == [(ALICE, f"Your lease {lease.id} ended at its time.")]
    with pytest.raises(PlatformError):
        here.grant("bob", 0)
    gate.opened.set()
    await settling
    assert await running(here, ALICE) is None
    assert here.lease(lease).state is State.RELEASED
    here.grant("bob", 0)


async def test_a_lease_that_runs_on_is_left_alone(here: World) -> None:
    lease = here.grant("alice", 0, hours=1)
    await here.enter(ALICE)
    await here.settling.settle_leases()
    assert here.lease(lease).state is State.ACTIVE
    assert await running(here, ALICE) == ids(0)
    assert here.told == []


async def test_a_container_that_never_showed_the_device_runs_on(here: World) -> None:
    await here.enter(ALICE)
    here.present.add(ALICE)
    lease = here.grant("alice", 0)
    here.store.end_lease(lease.id, "root", here.time)
    await here.settling.settle(ALICE)
    assert here.lease(lease).state is State.RELEASED
    assert await running(here, ALICE) == ()
    assert here.told == []


async def test_a_lease_that_ends_while_its_container_starts_is_not_freed_before(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = here.grant("alice", 0, hours=1)
    gate = Gate(here.backend.start)
    monkeypatch.setattr(here.backend, "start", gate)
    entering = asyncio.create_task(here.enter(ALICE))
    await gate.reached.wait()
    here.time = at(1)
    settling = asyncio.create_task(here.settling.settle_leases())
    await until(lambda: here.lease(lease).state is State.GRACE)
    await asyncio.sleep(0.05)
    assert here.lease(lease).state is State.GRACE
    gate.opened.set()
    await settling
    await asyncio.wait([entering])
    entering.exception()
    assert here.lease(lease).state is State.RELEASED
    assert await running(here, ALICE) != ids(0)


async def test_who_comes_in_while_the_old_container_ends_keeps_the_new_one(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = here.grant("alice", 0, hours=1)
    await here.enter(ALICE)
    gate = Gate(here.backend.stop)
    monkeypatch.setattr(here.backend, "stop", gate)
    here.time = at(1)
    first = asyncio.create_task(here.settling.settle_leases())
    await gate.reached.wait()
    second = asyncio.create_task(here.settling.settle(ALICE))
    entering = asyncio.create_task(here.enter(ALICE))
    gate.opened.set()
    await asyncio.gather(first, second, entering)
    assert await running(here, ALICE) == ()
    assert len(here.told) == 1
    assert here.lease(lease).state is State.RELEASED


async def test_one_container_that_does_not_stop_keeps_nobody_elses_device(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlings, "SETTLE_WITHIN", 0.2)
    stuck, free = here.grant("alice", 0, hours=1), here.grant("bob", 1, hours=1)
    await here.enter(ALICE)
    await here.enter(BOB)
    stop = here.backend.stop
    tries = []

    async def never(workspace_id: int, grace: Any) -> None:
        if workspace_id == ALICE:
            tries.append(workspace_id)
            await asyncio.Event().wait()
        await stop(workspace_id, grace)

    monkeypatch.setattr(here.backend, "stop", never)
    here.time = at(1)
    await here.settling.settle_leases()
    tasks = len(asyncio.all_tasks())
    await here.settling.settle_leases()
    assert len(asyncio.all_tasks()) == tasks
    assert here.lease(free).state is State.RELEASED
    assert here.lease(stuck).state is State.GRACE
    assert tries == [ALICE]
    assert len(here.settling._settling) == 1
    # At the end nobody is left who would use the store.
    here.settling.close()
    await here.settling.wait_closed()
    assert len(asyncio.all_tasks()) == tasks - 1


async def test_one_container_that_fails_to_stop_is_tried_again(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, free = here.grant("alice", 0, hours=1), here.grant("bob", 1, hours=1)
    await here.enter(ALICE)
    await here.enter(BOB)
    stop = here.backend.stop

    async def fails(workspace_id: int, grace: Any) -> None:
        if workspace_id == ALICE:
            raise PlatformError(Code.UNAVAILABLE, "It does not stop; ask your operator.")
        await stop(workspace_id, grace)

    monkeypatch.setattr(here.backend, "stop", fails)
    here.time = at(1)
    await here.settling.settle_leases()
    assert (here.lease(lease).state, here.lease(free).state) == (State.GRACE, State.RELEASED)
    assert "does not stop" in await refused(here.settling.settle(ALICE), Code.UNAVAILABLE)
    monkeypatch.undo()
    await here.settling.settle_leases()
    assert here.lease(lease).state is State.RELEASED


async def test_a_start_that_fails_flags_the_leases_and_leaves_nothing(here: World) -> None:
    lease = here.grant("alice", 0)
    here.backend.broken["run-1"] = "the hook knows no such GPU"
    said = await refused(here.enter(ALICE), Code.UNAVAILABLE)
    assert "the hook knows no such GPU" in said
    assert here.lease(lease).problem == said
    assert await container(here, ALICE) is None
    assert here.open_links() == []
    here.backend.broken.clear()
    await here.enter(ALICE)
    assert here.lease(lease).problem is None


async def test_a_start_that_fails_without_gpus_flags_nothing(here: World) -> None:
    lease = here.grant("bob", 0)
    here.backend.broken["run-1"] = "no space"
    await refused(here.enter(ALICE), Code.UNAVAILABLE)
    assert here.lease(lease).problem is None


async def test_a_fault_of_ours_while_starting_leaves_no_listener(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(*args: Any) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(here.backend, "start", fault)
    with pytest.raises(RuntimeError):
        await here.enter(ALICE)
    assert here.open_links() == []


async def test_an_engine_that_is_away_changes_nothing(here: World) -> None:
    lease = here.grant("alice", 0)
    here.backend.away = True
    await refused(here.enter(ALICE), Code.UNAVAILABLE)
    await refused(here.broker.end(ALICE, "Log in again."), Code.UNAVAILABLE)
    await refused(here.broker.adopt(), Code.UNAVAILABLE)
    here.time = at(9)
    await here.settling.settle_leases()
    assert here.lease(lease).state is State.GRACE
    assert here.lease(lease).problem is None
    here.backend.away = False
    assert here.backend.started == []
    assert here.open_links() == []


async def test_a_container_that_went_unnoticed_is_made_anew(here: World) -> None:
    await here.enter(ALICE)
    here.backend.end(ALICE, 137)
    await asyncio.gather(*(here.enter(ALICE, f"c{number}") for number in range(5)))
    assert len(here.backend.started) == 2
    assert len(here.open_links()) == 1


async def test_what_is_made_anew_shows_what_is_held_then(here: World) -> None:
    here.grant("alice", 0, hours=1)
    await here.enter(ALICE)
    here.backend.end(ALICE, 137)
    here.time = at(1)
    await here.settling.settle_leases()
    await here.enter(ALICE)
    assert await running(here, ALICE) == ()


async def test_a_runner_that_does_not_answer_is_said_and_its_container_runs_on(here: World) -> None:
    await here.enter(ALICE)
    before = await container(here, ALICE)
    here.links[0].deaf = True
    await refused(here.enter(ALICE), Code.UNAVAILABLE)
    assert await container(here, ALICE) == before
    here.links[0].deaf = False
    await here.enter(ALICE)


async def test_out_of_memory_is_told_to_the_sessions(here: World) -> None:
    await here.enter(ALICE)
    watching = asyncio.create_task(here.broker.oversee())
    await until(lambda: here.backend._listeners)
    here.backend.end(ALICE, 137, oom_killed=True)
    await until(lambda: here.told)
    watching.cancel()
    ((user_id, reason),) = here.told
    assert user_id == ALICE
    assert "out of memory" in reason
    assert here.open_links() == []


async def test_the_end_of_a_container_that_was_replaced_is_nobodys(here: World) -> None:
    await here.enter(ALICE)
    watching = asyncio.create_task(here.broker.oversee())
    await until(lambda: here.backend._listeners)
    here.grant("alice", 0)
    await here.enter(ALICE)
    await here.enter(BOB)
    here.backend.end(BOB, 1)
    await until(lambda: here.told)
    watching.cancel()
    assert here.told == [(BOB, "Your container ended; log in again to have it started.")]


async def test_one_user_who_starts_slowly_keeps_nobody_from_being_told(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.enter(ALICE)
    await here.enter(BOB)
    watching = asyncio.create_task(here.broker.oversee())
    await until(lambda: here.backend._listeners)
    gate = Gate(here.backend.start)
    monkeypatch.setattr(here.backend, "start", gate)
    here.grant("alice", 0)
    entering = asyncio.create_task(here.enter(ALICE))
    await gate.reached.wait()
    here.backend.end(BOB, 1)
    await until(lambda: here.told)
    assert [user_id for user_id, _ in here.told] == [BOB]
    gate.opened.set()
    await entering
    watching.cancel()


async def test_a_restart_adopts_what_runs(here: World) -> None:
    here.grant("alice", 0)
    await here.enter(ALICE)
    before = await container(here, ALICE)
    here.restart()
    await here.broker.adopt()
    assert len(here.open_links()) == 1
    await here.enter(ALICE)
    assert await container(here, ALICE) == before
    assert len(here.open_links()) == 1


async def test_a_restart_stops_what_shows_devices_that_nobody_holds(here: World) -> None:
    lease = here.grant("alice", 0, hours=1)
    await here.enter(ALICE)
    await here.enter(BOB)
    here.store.end_lease(lease.id, "root", here.time)
    here.store.released(lease.id, "root", here.time)
    here.restart()
    await here.broker.adopt()
    assert await running(here, ALICE) is None
    assert await running(here, BOB) == ()
    assert len(here.open_links()) == 1


async def test_a_restart_forgets_users_who_were_removed(here: World) -> None:
    await here.enter(ALICE)
    await here.enter(BOB)
    here.store.remove_user("alice", "root", here.time)
    here.restart()
    await here.broker.adopt()
    assert [each.workspace_id for each in await here.backend.list()] == [BOB]
    assert ALICE not in here.backend.networks
    assert BOB in here.backend.networks


async def test_one_container_that_does_not_obey_keeps_no_other_from_being_adopted(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user_id in (ALICE, BOB, CAROL):
        await here.enter(user_id)
    here.store.remove_user("alice", "root", here.time)
    here.restart()

    async def fails(workspace_id: int) -> None:
        raise PlatformError(Code.UNAVAILABLE, "It does not go away; ask your operator.")

    monkeypatch.setattr(here.backend, "remove", fails)
    await refused(here.broker.adopt(), Code.UNAVAILABLE)
    assert len(here.open_links()) == 2


async def test_who_came_in_before_the_adoption_is_not_disturbed(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = here.grant("alice", 0)
    await here.enter(ALICE)
    here.store.end_lease(lease.id, "root", here.time)
    here.store.released(lease.id, "root", here.time)
    here.restart()
    found = await here.backend.list()
    await here.enter(ALICE)
    before = await container(here, ALICE)

    async def stale() -> Any:
        return found

    monkeypatch.setattr(here.backend, "list", stale)
    await here.broker.adopt()
    assert await container(here, ALICE) == before
    assert here.told == []
    assert len(here.open_links()) == 1


async def test_who_comes_in_during_the_adoption_has_one_listener(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.enter(ALICE)
    here.grant("alice", 0)
    here.restart()
    gate = Gate(here.backend.remove)
    monkeypatch.setattr(here.backend, "remove", gate)
    entering = asyncio.create_task(here.enter(ALICE))
    await gate.reached.wait()
    adopting = asyncio.create_task(here.broker.adopt())
    await asyncio.sleep(0.05)
    gate.opened.set()
    await asyncio.gather(entering, adopting)
    assert len(here.open_links()) == 1


async def test_an_image_that_is_gone_is_said(here: World) -> None:
    here.backend.images.discard(IMAGE)
    assert "image" in await refused(here.enter(ALICE), Code.NOT_FOUND)
    assert here.open_links() == []
