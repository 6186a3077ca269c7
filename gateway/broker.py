"""The broker: makes workspaces enterable, and keeps what runs in step with the store.

Owns the use cases and the order of their steps; each change of a container happens in its room. Must
not know SSH, Docker or SQL: everything goes through ports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from gateway import entering, reconcile
from gateway.desk import Desk
from gateway.devices import Device
from gateway.entering import Step
from gateway.errors import PlatformError
from gateway.journal import note
from gateway.leases import Lease
from gateway.notices import Unread
from gateway.ports import Backend, ContainerEnd, Folders, Now, Progress, RunnerLink
from gateway.rooms import Entry, Room, Rooms
from gateway.store import BrokerStore
from gateway.users import User
from gateway.workspaces import ContainerSpec, Workspace

GRACE = timedelta(seconds=10)
"""Between SIGTERM and SIGKILL when a container is stopped."""
RUNNER_WITHIN = 15.0
"""Seconds for the runner to dial in after its container started."""
KNOWN_RUNNER_WITHIN = 2.0
"""Seconds for it before we look whether its container is still there."""

Template = Callable[[Workspace], ContainerSpec]
OpenLink = Callable[[User], RunnerLink]
EndSessions = Callable[[int, str], None]
Announce = Callable[[int, str], None]
Occupied = Callable[[int], bool]


class Broker:
    """The use cases. `hash_of` names a spec; `end_sessions` tells a user's sessions why they end, and
    `announce` shows one line on all her terminals, as wall(1) does, at once and whether she reads or not.
    `occupied`: whether a session or forward of hers is open; `inside`: or a connection without any.
    """

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
        self._rooms = Rooms()
        self.inventory: Mapping[str, Device] = {}
        self.end_sessions: EndSessions = lambda user_id, reason: None
        self.announce: Announce = lambda user_id, text: None
        self.occupied: Occupied = lambda user_id: False
        self.inside: Occupied = lambda user_id: False

    async def enter(self, user_id: int, connection_id: str, progress: Progress) -> Entry:
        """Have the user's container running and give one connection a line to its runner.

        Any number of callers at once start it once. Raises PlatformError: UNAVAILABLE when the engine
        or the runner does not answer, or the container does not start; then its live leases are
        flagged when GPUs were asked for.
        """
        with self._rooms[user_id].arrival():
            link, shown = await self._prepare(user_id, progress)
            try:
                await link.ready(KNOWN_RUNNER_WITHIN)
            except PlatformError:
                await self._notice_end(user_id, link)
                link, shown = await self._prepare(user_id, progress)
                await link.ready(RUNNER_WITHIN)
            unread = await self._desk.ask(lambda store: store.unread(user_id))
            return Entry(await link.connect(connection_id), shown, unread)

    async def renew(self, user_id: int) -> None:
        """Make her container what it should be by now, unless anybody is in it, or on the way in.

        Raises what `enter` raises.
        """
        room = self._rooms[user_id]
        async with room.lock:
            # What has just been ended has nobody in it, though its sessions may not have heard yet.
            if room.link is None or not (room.entering or self.inside(user_id)):
                await self._have_running(room, user_id, lambda text, bar=False: None)

    async def read(self, user_id: int, unread: Unread) -> None:
        """She has read this; the next greeting does not say so again."""
        await self._desk.ask(lambda store: store.was_read(user_id, unread))

    async def end(self, user_id: int, reason: str, then: Callable[[], None] | None = None) -> None:
        """End the user's sessions and remove her container; the next login makes it anew.

        `then`, which may block, is done before anybody can come in again.
        """
        async with self._rooms[user_id].lock:
            await self._remove(user_id, reason)
            if then is not None:
                await asyncio.to_thread(then)

    async def listen(self, user_id: int) -> RunnerLink | None:
        """Where her runner dials in, if her container runs, whether or not it was adopted yet."""
        room = self._rooms[user_id]
        async with room.lock:
            container = await self._backend.inspect(user_id) if room.link is None else None
            if container is not None and container.running:
                user = await self._desk.ask(lambda store: store.person(user_id))
                room.follow(self._open_link(user), container)
            return room.link

    def room(self, user_id: int) -> Room:
        """Whose lock keeps anybody from coming in while her files are moved."""
        return self._rooms[user_id]

    async def stop(self, user_id: int, reason: str) -> None:
        """Stop her container; sessions and next greeting say why. The caller holds the lock of her room."""
        self.end_sessions(user_id, reason)
        self._rooms[user_id].leave()
        container = await self._backend.inspect(user_id)
        await self._backend.stop(user_id, GRACE)
        if container is not None and container.running:
            now = self._now()
            await self._desk.ask(lambda store: store.stopped(user_id, reason, now))

    def running(self) -> set[int]:
        """Whose containers are believed to run."""
        return self._rooms.inhabited()

    async def forget(self, user_id: int) -> None:
        """Remove the container and the network of a user who is not there any more; her files stay."""
        async with self._rooms[user_id].lock:
            await self._forget(user_id)

    async def adopt(self) -> None:
        """After a start: stop or remove what must not run, and listen for the runners of what may.

        One container that does not obey keeps no other; its error is raised in the end.
        """
        containers = await self._backend.list()
        known = {user.id: user for user in await self._desk.ask(lambda store: store.users())}
        work = [self._adopt(each.workspace_id, known) for each in containers]
        failures = [each for each in await asyncio.gather(*work, return_exceptions=True) if each is not None]
        for failure in failures:
            raise failure

    def container_ended(self, end: ContainerEnd) -> None:
        """A container ended by itself or by another's hand: its sessions are told why."""
        reason = "Your container ended; log in again to have it started."
        if end.oom_killed:
            reason = "Your container ran out of memory and was stopped; log in again to have it started."
        note("container_ended", user=end.workspace_id, exit=end.exit_code, oom=end.oom_killed)
        self._rooms[end.workspace_id].leave()
        self.end_sessions(end.workspace_id, reason)

    async def oversee(self) -> None:
        """Follow the ends of containers for as long as the gateway runs."""
        async with asyncio.TaskGroup() as group:
            async for end in self._backend.ends():
                group.create_task(self._see_end(end))

    def close(self) -> None:
        """Stop listening for runners; containers run on."""
        self._rooms.close()

    async def _prepare(self, user_id: int, progress: Progress) -> tuple[RunnerLink, str]:
        """Have the container running: where its runner dials in, and the greeting."""
        room = self._rooms[user_id]
        async with room.lock:
            return await self._have_running(room, user_id, progress)

    async def _have_running(self, room: Room, user_id: int, progress: Progress) -> tuple[RunnerLink, str]:
        workspace = await self._desk.ask(lambda store: store.workspace(user_id))
        spec = self._template(workspace)
        wanted = self._hash_of(spec)
        link = room.link
        if link is None or room.made_from != wanted:
            link = await self._make_ready(room, workspace, spec, wanted, progress)
        waiting = room.made_from != wanted
        if not waiting:
            await self._show(workspace.leases)
        parting = room.parting or room.coming
        built = room.image
        runs = await self._desk.ask(lambda store: store.built(built)) if waiting else None
        return link, entering.greeting(workspace, self.inventory, waiting, parting, runs)

    async def _notice_end(self, user_id: int, link: RunnerLink) -> None:
        """Let go of a link whose container is gone without our knowing."""
        room = self._rooms[user_id]
        async with room.lock:
            if room.link is link:
                container = await self._backend.inspect(user_id)
                if container is None or not container.running:
                    room.leave()

    async def _make_ready(
        self, room: Room, workspace: Workspace, spec: ContainerSpec, wanted: str, progress: Progress
    ) -> RunnerLink:
        user = workspace.user
        container = await self._backend.inspect(user.id)
        if container is not None and room.barred:
            # As one that was made from another spec: it is replaced when nothing of hers runs.
            container = replace(container, spec_hash="")
        differs = container is not None and container.running and container.spec_hash != wanted
        saving = room.parting is not None or self.occupied(user.id)
        occupied = differs and (saving or await self._backend.processes(user.id) > 0)
        if entering.step(container, wanted, occupied) is Step.MAKE:
            await self._make(room, workspace, spec, progress)
        room.link = room.link or self._open_link(user)
        kept = container if container is not None and occupied else None
        room.made_from, room.gpus = (kept.spec_hash, kept.gpus) if kept else (wanted, spec.gpus)
        room.image = kept.image if kept else spec.image
        return room.link

    async def _make(self, room: Room, workspace: Workspace, spec: ContainerSpec, progress: Progress) -> None:
        user = workspace.user
        room.leave()
        await self._backend.remove(user.id)
        await asyncio.to_thread(self._folders.prepare, user, workspace.rescue, workspace.disk.limit)
        await asyncio.to_thread(self._folders.clear_temporary, user.id)
        await asyncio.to_thread(self._folders.limit, user.id, workspace.disk.limit)
        room.link = self._open_link(user)
        begun = asyncio.get_running_loop().time()
        try:
            await self._backend.start(spec, progress)
        except BaseException as error:
            room.leave()
            if isinstance(error, PlatformError):
                note("container_failed", user=user.id, gpus=len(spec.gpus))
                await self._flag(workspace.leases if spec.gpus else (), error.message)
            raise
        seconds = round(asyncio.get_running_loop().time() - begun, 3)
        await self._flag([lease for lease in workspace.leases if lease.problem], None)
        note("container_started", user=user.id, gpus=len(spec.gpus), seconds=seconds)

    async def _see_end(self, end: ContainerEnd) -> None:
        async with self._rooms[end.workspace_id].lock:
            current = None
            with suppress(PlatformError):
                current = await self._backend.inspect(end.workspace_id)
            if current is None or not current.running:
                self.container_ended(end)

    async def _adopt(self, workspace_id: int, known: Mapping[int, User]) -> None:
        room = self._rooms[workspace_id]
        async with room.lock:
            # Her user may have come in since the containers were listed.
            container = await self._backend.inspect(workspace_id)
            if container is None:
                return
            held = await self._desk.ask(lambda store: store.held_leases())
            actions = reconcile.strays([container], set(known), held)
            for action in actions:
                if isinstance(action, reconcile.Forget):
                    await self._forget(workspace_id)
                else:
                    await self.stop(workspace_id, action.reason)
            if not actions and container.running and room.link is None:
                room.follow(self._open_link(known[workspace_id]), container)

    # The two below are called with the room's lock held, as `stop` is.

    async def _remove(self, user_id: int, reason: str) -> None:
        await self.stop(user_id, reason)
        await self._backend.remove(user_id)

    async def _forget(self, user_id: int) -> None:
        await self._remove(user_id, "Your account was removed.")
        await self._backend.remove_network(user_id)

    async def _show(self, leases: Iterable[Lease]) -> None:
        """Record that her container shows what these hold."""
        now, ids = self._now(), [lease.id for lease in leases if not lease.shown]
        if ids:
            await self._desk.ask(lambda store: store.shown(ids, now))

    async def _flag(self, leases: Iterable[Lease], problem: str | None) -> None:
        now, ids = self._now(), [lease.id for lease in leases]

        def flag(store: BrokerStore) -> None:
            for id_ in ids:
                store.flag_lease(id_, problem, now)

        await self._desk.ask(flag)
