"""An honest Backend in memory: it passes the same contract suite as the engine's.

Owns containers that are only records. Tests of use cases drive the world through the methods below the
port: what images exist, what fails to start, what ends and who runs processes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count

from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.ports import ContainerEnd, Progress
from gateway.transfers import Transfer
from gateway.workspaces import Container, ContainerSpec, Limits, spec_hash

Serve = Callable[[ImageVersion, Callable[[Transfer], None]], Awaitable[None]]


async def _at_once(image: ImageVersion, told: Callable[[Transfer], None]) -> None:
    """A registry next door."""


class FakeBackend:
    """Containers in memory. `images` are the ids that exist; `broken` maps a command to why it does not
    start. `away` makes every call raise UNAVAILABLE, as an engine that does not answer.
    """

    def __init__(self, images: Sequence[str] = ()) -> None:
        self.images = set(images)
        self.broken: dict[str, str] = {}
        self.away = False
        self.networks: dict[int, str] = {}
        self.started: list[ContainerSpec] = []
        self.limits: dict[int, Limits] = {}
        self.memory_in_use: dict[int, int] = {}
        self.fail_limits: set[int] = set()
        self.barred: set[int] = set()
        self.fetched: list[str] = []
        self.serve: Serve = _at_once
        self._containers: dict[int, Container] = {}
        self._processes: defaultdict[int, int] = defaultdict(int)
        self._listeners: set[asyncio.Queue[ContainerEnd]] = set()
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ids = count(1)

    async def start(self, spec: ContainerSpec, progress: Progress) -> Container:
        """See the port."""
        async with self._locks[spec.workspace_id]:
            await self._turn()
            found = self._containers.get(spec.workspace_id)
            if found and found.running and found.spec_hash == spec_hash(spec):
                self._limit(spec.workspace_id, spec.limits)
                return found
            progress("starting your container")
            await self._turn()
            self._end(spec.workspace_id, 143)
            self._containers.pop(spec.workspace_id, None)
            self.networks[spec.workspace_id] = spec.subnet
            if spec.image not in self.images:
                raise PlatformError(Code.NOT_FOUND, f"the image {spec.image} is not on this machine")
            if spec.command[0] in self.broken:
                raise PlatformError(Code.UNAVAILABLE, f"refused to start ({self.broken[spec.command[0]]})")
            made = Container(
                spec.workspace_id, f"fake{next(self._ids)}", spec_hash(spec), True, spec.gpus, spec.image
            )
            self._containers[spec.workspace_id] = made
            self.limits[spec.workspace_id] = spec.limits
            self.started.append(spec)
            return made

    async def holds(self, digest: str) -> bool:
        """See the port."""
        await self._turn()
        return digest in self.images

    async def fetch(self, image: ImageVersion, told: Callable[[Transfer], None]) -> None:
        """See the port: as long as `serve` takes."""
        await self._turn()
        self.fetched.append(image.digest)
        await self.serve(image, told)
        self.images.add(image.digest)

    async def inspect(self, workspace_id: int) -> Container | None:
        """See the port."""
        await self._turn()
        return self._containers.get(workspace_id)

    async def list(self) -> Sequence[Container]:
        """See the port."""
        await self._turn()
        return [self._containers[key] for key in sorted(self._containers)]

    async def limit(self, workspace_id: int, limits: Limits) -> None:
        """See the port."""
        async with self._locks[workspace_id]:
            await self._turn()
            if workspace_id in self.fail_limits:
                raise PlatformError(Code.UNAVAILABLE, "refused to change the container's limits")
            found = self._containers.get(workspace_id)
            if found is not None and found.running:
                self._limit(workspace_id, limits)

    def _limit(self, workspace_id: int, limits: Limits) -> None:
        before = self.limits[workspace_id]
        in_use = self.memory_in_use.get(workspace_id, 0) > limits.memory
        memory = before.memory if in_use else limits.memory
        self.limits[workspace_id] = replace(limits, memory=memory, shm=before.shm)

    async def stop(self, workspace_id: int, grace: timedelta) -> None:
        """See the port."""
        async with self._locks[workspace_id]:
            await self._turn()
            self._end(workspace_id, 143)

    async def remove(self, workspace_id: int) -> None:
        """See the port."""
        async with self._locks[workspace_id]:
            await self._turn()
            self._end(workspace_id, 137)
            self._containers.pop(workspace_id, None)

    async def remove_network(self, workspace_id: int) -> None:
        """See the port."""
        async with self._locks[workspace_id]:
            await self._turn()
            if workspace_id in self._containers:
                raise PlatformError(Code.UNAVAILABLE, "refused to remove the network: a container is on it")
            self.networks.pop(workspace_id, None)

    async def processes(self, workspace_id: int) -> int:
        """See the port."""
        await self._turn()
        return self._processes[workspace_id]

    async def reaches(self, workspace_id: int) -> bool:
        """See the port."""
        await self._turn()
        return workspace_id not in self.barred

    async def ends(self) -> AsyncIterator[ContainerEnd]:
        """See the port."""
        queue: asyncio.Queue[ContainerEnd] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    def end(self, workspace_id: int, exit_code: int, oom_killed: bool = False) -> None:
        """The container ends by itself."""
        self._end(workspace_id, exit_code, oom_killed)

    def run_processes(self, workspace_id: int, number: int) -> None:
        """The user's processes in a container are `number` now."""
        self._processes[workspace_id] = number

    async def _turn(self) -> None:
        """What every call to a real engine does: let others run, and perhaps fail."""
        await asyncio.sleep(0)
        if self.away:
            raise PlatformError(Code.UNAVAILABLE, "the container engine does not answer; ask your operator")

    def _end(self, workspace_id: int, exit_code: int, oom_killed: bool = False) -> None:
        found = self._containers.get(workspace_id)
        if found is None or not found.running:
            return
        self._containers[workspace_id] = replace(
            found, running=False, exit_code=exit_code, oom_killed=oom_killed
        )
        self._processes.pop(workspace_id, None)
        for queue in self._listeners:
            queue.put_nowait(ContainerEnd(workspace_id, found.container_id, exit_code, oom_killed))
