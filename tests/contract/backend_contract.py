"""What every Backend promises, as one suite. A subclass supplies a `world` fixture that runs it for real.

Owns the promises of `gateway.ports.Backend`. Must not know Docker.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Protocol

import pytest

from gateway.errors import Code, PlatformError
from gateway.ports import Backend, ContainerEnd
from gateway.workspaces import Container, ContainerSpec, Limits, spec_hash

GRACE = timedelta(seconds=2)
DEADLINE = 30.0


class World(Protocol):
    """A backend and what a test may do to its surroundings."""

    backend: Backend

    def spec(self, workspace_id: int = 1) -> ContainerSpec:
        """A container that runs until it is ended."""

    def unstartable(self, spec: ContainerSpec) -> ContainerSpec:
        """The same, but it can be made and not started."""

    async def exhaust_memory(self, workspace_id: int) -> None:
        """End the workspace's container by its memory limit; start it first as may be needed."""

    async def end(self, workspace_id: int) -> None:
        """The container's own program exits."""

    async def limits(self, workspace_id: int) -> Limits:
        """What the running container may use, as the kernel has it."""

    async def use_memory(self, workspace_id: int, size: int) -> None:
        """Have the user hold `size` bytes and more."""

    async def run_processes(self, workspace_id: int, number: int) -> None:
        """Have the user run `number` processes."""


def ignore(_: str) -> None:
    """A progress line that nobody reads."""


@contextlib.asynccontextmanager
async def listening(backend: Backend) -> AsyncIterator[asyncio.Queue[ContainerEnd]]:
    """Collect ends; entered when the backend surely listens."""
    queue: asyncio.Queue[ContainerEnd] = asyncio.Queue()
    stream = backend.ends()

    async def collect() -> None:
        async for end in stream:
            queue.put_nowait(end)

    task = asyncio.create_task(collect())
    await asyncio.sleep(0)
    try:
        yield queue
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await stream.aclose()  # type: ignore[attr-defined]


class BackendContract:
    """The suite; every test stands for one sentence of the port."""

    async def test_the_same_spec_twenty_times_at_once_is_one_container(self, world: World) -> None:
        lines: list[str] = []
        made = await asyncio.gather(*(world.backend.start(world.spec(), lines.append) for _ in range(20)))
        assert len({container.container_id for container in made}) == 1
        assert made[0].running
        assert made[0].spec_hash == spec_hash(world.spec())
        assert len(lines) == 1
        assert list(await world.backend.list()) == [made[0]]

    async def test_twenty_workspaces_at_once_are_twenty_containers(self, world: World) -> None:
        specs = [world.spec(number) for number in range(1, 21)]
        made = await asyncio.gather(*(world.backend.start(spec, ignore) for spec in specs))
        assert [container.workspace_id for container in made] == list(range(1, 21))
        assert list(await world.backend.list()) == made

    async def test_another_spec_replaces_the_container(self, world: World) -> None:
        first = await world.backend.start(world.spec(), ignore)
        other = dataclasses.replace(world.spec(), env=(("COLOUR", "blue"),))
        second = await world.backend.start(other, ignore)
        assert second.container_id != first.container_id
        assert second.spec_hash == spec_hash(other)
        assert list(await world.backend.list()) == [second]

    async def test_a_stopped_container_is_made_anew(self, world: World) -> None:
        first = await world.backend.start(world.spec(), ignore)
        await world.backend.stop(1, GRACE)
        stopped = await world.backend.inspect(1)
        assert stopped is not None
        assert not stopped.running
        assert stopped.exit_code is not None
        second = await world.backend.start(world.spec(), ignore)
        assert second.running
        assert second.container_id != first.container_id

    async def test_stop_and_remove_succeed_again_and_where_nothing_is(self, world: World) -> None:
        for _ in range(2):
            await world.backend.stop(1, GRACE)
            await world.backend.remove(1)
            await world.backend.remove_network(1)
        await world.backend.start(world.spec(), ignore)
        for _ in range(2):
            await world.backend.stop(1, GRACE)
        for _ in range(2):
            await world.backend.remove(1)
        for _ in range(2):
            await world.backend.remove_network(1)
        assert await world.backend.inspect(1) is None
        assert list(await world.backend.list()) == []

    async def test_removes_a_running_container(self, world: World) -> None:
        await world.backend.start(world.spec(), ignore)
        await world.backend.remove(1)
        assert await world.backend.inspect(1) is None

    async def test_an_absent_image_is_not_found(self, world: World) -> None:
        spec = dataclasses.replace(world.spec(), image="sha256:" + "0" * 64)
        with pytest.raises(PlatformError) as caught:
            await world.backend.start(spec, ignore)
        assert caught.value.code is Code.NOT_FOUND
        assert await world.backend.inspect(1) is None

    async def test_a_failed_start_says_why_and_leaves_nothing_half_made(self, world: World) -> None:
        with pytest.raises(PlatformError, match="refused to start") as caught:
            await world.backend.start(world.unstartable(world.spec()), ignore)
        assert caught.value.code is Code.UNAVAILABLE
        assert caught.value.message.isprintable()
        assert list(await world.backend.list()) == []
        assert (await world.backend.start(world.spec(), ignore)).running

    async def test_a_caller_who_gives_up_leaves_nothing_half_made(self, world: World) -> None:
        task: asyncio.Task[Container] = asyncio.create_task(
            world.backend.start(world.spec(), lambda _: task.cancel() and None)
        )
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await world.backend.start(world.spec(), ignore)).running
        assert len(await world.backend.list()) == 1

    async def test_limits_change_while_it_runs(self, world: World) -> None:
        made = await world.backend.start(world.spec(), ignore)
        first = world.spec().limits
        for limits in (
            Limits(first.cpus / 2, first.memory * 2, first.shm, first.pids * 2),
            Limits(first.cpus, first.memory, first.shm, first.pids),
        ):
            for _ in range(2):
                await world.backend.limit(1, limits)
                assert await world.limits(1) == limits
        assert await world.backend.inspect(1) == made

    async def test_a_start_of_what_runs_brings_its_limits_up_to_date(self, world: World) -> None:
        made = await world.backend.start(world.spec(), ignore)
        limits = dataclasses.replace(world.spec().limits, pids=99)
        again = await world.backend.start(dataclasses.replace(world.spec(), limits=limits), ignore)
        assert again.container_id == made.container_id
        assert await world.limits(1) == limits

    async def test_memory_in_use_is_not_taken_away_and_the_rest_changes(self, world: World) -> None:
        made = await world.backend.start(world.spec(), ignore)
        first = world.spec().limits
        await world.use_memory(1, first.memory // 2)
        await world.backend.limit(1, Limits(first.cpus / 2, first.memory // 4, first.shm, first.pids))
        assert await world.limits(1) == dataclasses.replace(first, cpus=first.cpus / 2)
        assert await world.backend.inspect(1) == made

    async def test_limits_of_what_does_not_run_are_no_error(self, world: World) -> None:
        limits = world.spec().limits
        await world.backend.limit(1, limits)
        await world.backend.start(world.spec(), ignore)
        await world.backend.stop(1, GRACE)
        await world.backend.limit(1, dataclasses.replace(limits, pids=99))

    async def test_tells_of_an_end(self, world: World) -> None:
        made = await world.backend.start(world.spec(), ignore)
        async with listening(world.backend) as ends:
            await world.backend.start(world.spec(2), ignore)
            await world.end(1)
            end = await asyncio.wait_for(ends.get(), DEADLINE)
            assert (end.workspace_id, end.container_id) == (1, made.container_id)
            assert end.exit_code is not None
            assert not end.oom_killed
            await world.backend.stop(2, GRACE)
            assert (await asyncio.wait_for(ends.get(), DEADLINE)).workspace_id == 2
            assert ends.empty()

    async def test_tells_that_memory_ran_out(self, world: World) -> None:
        async with listening(world.backend) as ends:
            await world.exhaust_memory(1)
            end = await asyncio.wait_for(ends.get(), DEADLINE)
        assert (end.workspace_id, end.oom_killed) == (1, True)
        found = await world.backend.inspect(1)
        assert found is not None
        assert (found.running, found.oom_killed) == (False, True)

    async def test_counts_the_users_processes_and_not_the_platforms(self, world: World) -> None:
        assert await world.backend.processes(1) == 0
        await world.backend.start(world.spec(), ignore)
        assert await world.backend.processes(1) == 0
        await world.run_processes(1, 2)
        assert await world.backend.processes(1) == 2
        await world.backend.stop(1, GRACE)
        assert await world.backend.processes(1) == 0
