"""The broker: makes workspaces enterable, ends leases, and keeps both in step with the store.

Owns one room a workspace: its lock, its runner's line, and what its container was made from. Must
not know SSH, Docker or SQL: everything goes through ports.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway import entering, reconcile
from gateway.desk import Desk
from gateway.devices import Device
from gateway.entering import Step
from gateway.errors import PlatformError
from gateway.journal import note
from gateway.leases import Lease
from gateway.ports import Backend, BrokerStore, ContainerEnd, Folders, Now, Progress, RunnerLink
from gateway.users import User
from gateway.workspaces import ContainerSpec, Workspace

GRACE = timedelta(seconds=10)
"""Between SIGTERM and SIGKILL when a container is stopped."""
RUNNER_WITHIN = 15.0
"""Seconds for the runner to dial in after its container started."""
KNOWN_RUNNER_WITHIN = 2.0
"""Seconds for it before we look whether its container is still there."""
ACTOR = "gateway"

Template = Callable[[Workspace], ContainerSpec]
OpenLink = Callable[[User], RunnerLink]
EndSessions = Callable[[int, str], None]
Occupied = Callable[[int], bool]


@dataclass
class _Room:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    link: RunnerLink | None = None
    made_from: str | None = None


@dataclass(frozen=True)
class Entry:
    """A line to the runner, and what to greet a terminal with."""

    line: socket.socket
    greeting: str


class Broker:
    """The use cases. `hash_of` names a spec; `end_sessions` tells a user's sessions why they end."""

    def __init__(
        self,
        desk: Desk,
        backend: Backend,
        folders: Folders,
        template: Template,
        hash_of: Callable[[ContainerSpec], str],
        open_link: OpenLink,
        now: Now,
    ) -> None:
        self._desk = desk
        self._backend = backend
        self._folders = folders
        self._template = template
        self._hash_of = hash_of
        self._open_link = open_link
        self._now = now
        self._rooms: dict[int, _Room] = {}
        self.inventory: Mapping[str, Device] = {}
        self.end_sessions: EndSessions = lambda user_id, reason: None
        self.occupied: Occupied = lambda user_id: False

    async def enter(self, user_id: int, connection_id: str, progress: Progress) -> Entry:
        """Have the user's container running and give one connection a line to its runner.

        Any number of callers at once start it once. Raises PlatformError: UNAVAILABLE when the engine
        or the runner does not answer, or the container does not start; then its live leases are
        flagged when GPUs were asked for.
        """
        room = self._room(user_id)
        async with room.lock:
            workspace = await self._desk.ask(lambda store: store.workspace(user_id))
            spec = self._template(workspace)
            wanted = self._hash_of(spec)
            if room.link is None or room.made_from != wanted:
                await self._make_ready(room, workspace, spec, wanted, progress)
            line = await self._line(room, workspace, spec, connection_id, progress)
            waiting = room.made_from != wanted
        shown = entering.greeting(
            workspace.user.name, workspace.image, workspace.leases, self.inventory, waiting
        )
        return Entry(line, shown)

    async def recreate(self, user_id: int) -> None:
        """End the user's sessions and remove her container; the next login makes it anew."""
        async with self._room(user_id).lock:
            self.end_sessions(user_id, "Your container is being made anew; log in again.")
            self._leave(user_id)
            await self._backend.remove(user_id)

    async def forget(self, user_id: int) -> None:
        """Remove the container and the network of a user who is not there any more; her files stay."""
        async with self._room(user_id).lock:
            self.end_sessions(user_id, "Your account was removed.")
            self._leave(user_id)
            await self._backend.remove(user_id)
            await self._backend.remove_network(user_id)

    async def settle_leases(self) -> None:
        """End leases whose time has come, stop the containers that show their devices, then free these."""
        held = await self._desk.ask(lambda store: store.held_leases())
        now = self._now()
        for due in reconcile.expired(held, now):
            await self._expire(due.lease, now)
        held = await self._desk.ask(lambda store: store.held_leases())
        for user_id in sorted({lease.user_id for lease in held}):
            await self._settle(user_id, [lease for lease in held if lease.user_id == user_id])

    async def adopt(self) -> None:
        """After a start: stop or remove what must not run, and listen for the runners of what may."""
        containers = await self._backend.list()
        users = await self._desk.ask(lambda store: store.users())
        held = await self._desk.ask(lambda store: store.held_leases())
        known = {user.id: user for user in users}
        for action in reconcile.strays(containers, set(known), held):
            if isinstance(action, reconcile.Forget):
                await self.forget(action.workspace_id)
            else:
                await self._stop(action.workspace_id, action.reason)
        for container in containers:
            user = known.get(container.workspace_id)
            if user is not None and container.running:
                room = self._room(user.id)
                if room.link is None:
                    room.link, room.made_from = self._open_link(user), container.spec_hash

    def container_ended(self, end: ContainerEnd) -> None:
        """A container ended by itself or by another's hand: its sessions are told why."""
        reason = "Your container ended; log in again to have it started."
        if end.oom_killed:
            reason = "Your container ran out of memory and was stopped; log in again to have it started."
        note("container_ended", user=end.workspace_id, exit=end.exit_code, oom=end.oom_killed)
        self._leave(end.workspace_id)
        self.end_sessions(end.workspace_id, reason)

    async def oversee(self) -> None:
        """Follow the ends of containers for as long as the gateway runs."""
        async for end in self._backend.ends():
            room = self._room(end.workspace_id)
            async with room.lock:
                current = None
                with suppress(PlatformError):
                    current = await self._backend.inspect(end.workspace_id)
                if current is None or not current.running:
                    self.container_ended(end)

    def close(self) -> None:
        """Stop listening for runners; containers run on."""
        for user_id in list(self._rooms):
            self._leave(user_id)

    def _room(self, user_id: int) -> _Room:
        return self._rooms.setdefault(user_id, _Room())

    def _leave(self, user_id: int) -> None:
        room = self._room(user_id)
        if room.link is not None:
            room.link.close()
        room.link, room.made_from = None, None

    async def _make_ready(
        self, room: _Room, workspace: Workspace, spec: ContainerSpec, wanted: str, progress: Progress
    ) -> None:
        user = workspace.user
        container = await self._backend.inspect(user.id)
        differs = container is not None and container.running and container.spec_hash != wanted
        occupied = differs and (self.occupied(user.id) or await self._backend.processes(user.id) > 0)
        if entering.step(container, wanted, occupied) is Step.MAKE:
            await self._make(room, workspace, spec, progress)
        elif room.link is None:
            room.link = self._open_link(user)
        room.made_from = container.spec_hash if container is not None and occupied else wanted

    async def _make(self, room: _Room, workspace: Workspace, spec: ContainerSpec, progress: Progress) -> None:
        user = workspace.user
        self._leave(user.id)
        await self._backend.remove(user.id)
        await asyncio.to_thread(self._folders.prepare, user)
        await asyncio.to_thread(self._folders.clear_temporary, user.id)
        room.link = self._open_link(user)
        try:
            await self._backend.start(spec, progress)
        except PlatformError as error:
            self._leave(user.id)
            if spec.gpus:
                await self._flag(workspace.leases, error.message)
            raise
        await self._flag([lease for lease in workspace.leases if lease.problem], None)
        note("container_started", user=user.id, gpus=len(spec.gpus))

    async def _line(
        self, room: _Room, workspace: Workspace, spec: ContainerSpec, connection_id: str, progress: Progress
    ) -> socket.socket:
        """A line to the runner; a container that is gone without our knowing is made anew, once."""
        assert room.link is not None
        try:
            await room.link.ready(KNOWN_RUNNER_WITHIN)
        except PlatformError:
            container = await self._backend.inspect(workspace.user.id)
            if container is None or not container.running:
                await self._make(room, workspace, spec, progress)
                room.made_from = self._hash_of(spec)
            await room.link.ready(RUNNER_WITHIN)
        return await room.link.connect(connection_id)

    async def _settle(self, user_id: int, leases: list[Lease]) -> None:
        container = await self._backend.inspect(user_id)
        for action in reconcile.settle(leases, container):
            if isinstance(action, reconcile.Stop):
                await self._stop(user_id, action.reason)
                container = await self._backend.inspect(user_id)
        now = self._now()
        for action in reconcile.settle(leases, container):
            if isinstance(action, reconcile.Release):
                await self._release(action.lease, now)

    async def _expire(self, lease: Lease, now: datetime) -> None:
        reason = f"Your lease {lease.id} ended at its time."
        await self._desk.ask(lambda store: store.expire(lease.id, reason, ACTOR, now))
        note("lease_expired", lease=lease.id, user=lease.user_id)

    async def _release(self, lease: Lease, now: datetime) -> None:
        await self._desk.ask(lambda store: store.released(lease.id, ACTOR, now))
        note("lease_released", lease=lease.id, user=lease.user_id)

    async def _stop(self, user_id: int, reason: str) -> None:
        async with self._room(user_id).lock:
            self.end_sessions(user_id, reason)
            self._leave(user_id)
            await self._backend.stop(user_id, GRACE)

    async def _flag(self, leases: Iterable[Lease], problem: str | None) -> None:
        now, ids = self._now(), [lease.id for lease in leases]

        def flag(store: BrokerStore) -> None:
            for id_ in ids:
                store.flag_lease(id_, problem, now)

        await self._desk.ask(flag)
