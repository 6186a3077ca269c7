"""What operators do to whole workspaces: start, stop, rescue, put away, hand over, and delete in the end.

Owns the order of steps, each of which can be done again after a crash. Must not know SSH, Docker or SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gateway.broker import Broker
from gateway.desk import Desk
from gateway.errors import Code, PlatformError
from gateway.journal import note
from gateway.ports import Backend, Folders
from gateway.settling import Part, part_at_once
from gateway.timekeeper import Timekeeper
from gateway.users import User

T = TypeVar("T")

_STOPPED = "An operator stopped your container; log in again to have it started."
_ANEW = "Your container is being made anew; log in again."
_RESCUED = "An operator gives you a clean home, with yours in it as ~/broken; log in again."
_REMOVES = "An operator removes your workspace."
_PUT_AWAY = "An operator removed your workspace; log in again for a new one."


class Custody:
    """The use cases. Each raises PlatformError: UNAVAILABLE when the engine or a disk does not obey.

    What ends a container lets her programs save their work first, which may take minutes, unless `at_once`.
    """

    def __init__(
        self, desk: Desk, broker: Broker, backend: Backend, folders: Folders, timekeeper: Timekeeper
    ) -> None:
        self._desk = desk
        self._broker = broker
        self._backend = backend
        self._folders = folders
        self._timekeeper = timekeeper
        self.part: Part = part_at_once

    async def start(self, user_id: int) -> None:
        """Have her container running, as for a login."""
        entry = await self._broker.enter(user_id, "operator", lambda text, bar=False: None)
        entry.line.close()

    async def stop(self, user_id: int, *, at_once: bool = False) -> None:
        """End her sessions and her container."""
        if at_once or await self._saved(user_id, "An operator stops your container."):
            await self._broker.end(user_id, _STOPPED)

    async def recreate(self, user_id: int, *, at_once: bool = False) -> None:
        """The same, because the next container is to be another."""
        if at_once or await self._saved(user_id, "An operator has your container made anew."):
            await self._broker.end(user_id, _ANEW)

    async def restart(self, user_id: int) -> None:
        """End her container and start the next one."""
        await self.recreate(user_id)
        await self.start(user_id)

    async def rescue(self, user_id: int) -> None:
        """Start a container whose home is clean; her own home is in it as `broken`."""
        user = await self._person(user_id)
        await self.part(user_id, "An operator gives you a clean home.")
        await self._broker.end(user_id, _RESCUED, partial(self._folders.clean_home, user))
        await self.start(user_id)

    async def put_away(self, user_id: int, *, at_once: bool = False) -> None:
        """Move the files of her removed workspaces to where they wait for their deletion."""
        if not at_once:
            await self.part(user_id, _REMOVES)
        for removal in await self._desk.ask(lambda store: store.removals()):
            if removal.user_id == user_id:
                await self._put_away(user_id, removal.id)

    async def resume(self) -> None:
        """Put away what an engine that was absent, or a crash, has kept from it, and nobody is about to."""
        removals, wishes = await self._desk.ask(lambda store: (store.removals(), store.wanted()))
        wanted = {wish.subject for wish in wishes if wish.verb.startswith("remove-workspace")}
        for user_id in {removal.user_id for removal in removals if str(removal.user_id) not in wanted}:
            await self.put_away(user_id, at_once=True)

    async def hand_over(self, giver_id: int, taker_id: int) -> None:
        """Give one user's files to another. Raises CONFLICT while the giver's container runs."""
        giver, taker = await self._person(giver_id), await self._person(taker_id)
        if taker.removed_at is not None:
            raise PlatformError(Code.NOT_FOUND, f"{taker.name} was removed; name another user.")
        async with self._broker.room(taker_id).lock:
            await asyncio.to_thread(self._folders.prepare, taker)
        place = await self._without(giver, partial(self._folders.hand_over, giver, taker))
        if place is None:
            raise PlatformError(Code.NOT_FOUND, f"{giver.name} has no files here that could be handed over.")
        note("files_handed_over", giver=giver_id, taker=taker_id, place=place)

    async def purge(self) -> None:
        """Delete the files whose retention has passed: of removed users, and of removed workspaces."""
        now = await self._timekeeper.now()
        for user_id in await self._desk.ask(lambda store: store.purgeable(now)):
            await self._without(await self._person(user_id), partial(self._folders.delete, user_id))
            await self._purged(user_id)
        for number in await self._desk.ask(lambda store: store.purgeable_removals(now)):
            await asyncio.to_thread(self._folders.delete_put_away, number)
            await self._removal_purged(number)

    async def _saved(self, user_id: int, reason: str) -> bool:
        """Let her programs save their work; False when somebody else ended her container meanwhile."""
        before = await self._backend.inspect(user_id)
        await self.part(user_id, reason)
        after = await self._backend.inspect(user_id)
        return before is None or (after is not None and after.container_id == before.container_id)

    async def _without(self, user: User, work: Callable[[], T]) -> T:
        """Do `work`, which may block, while nobody can start her container. Raises CONFLICT when it runs."""
        async with self._broker.room(user.id).lock:
            container = await self._backend.inspect(user.id)
            if container is not None and container.running:
                raise PlatformError(
                    Code.CONFLICT,
                    f"The container of {user.name} runs; first run: gpuadmin workspace stop {user.name}",
                )
            return await asyncio.to_thread(work)

    async def _put_away(self, user_id: int, number: int) -> None:
        await self._broker.end(user_id, _PUT_AWAY, partial(self._folders.put_away, user_id, number))
        now = await self._timekeeper.now()
        await self._desk.ask(lambda store: store.put_away(number, now))
        note("workspace_put_away", user=user_id, number=number)

    async def _purged(self, user_id: int) -> None:
        now = await self._timekeeper.now()
        await self._desk.ask(lambda store: store.purged(user_id, now))
        note("files_deleted", user=user_id)

    async def _removal_purged(self, number: int) -> None:
        now = await self._timekeeper.now()
        await self._desk.ask(lambda store: store.removal_purged(number, now))
        note("files_deleted", removal=number)

    async def _person(self, user_id: int) -> User:
        return await self._desk.ask(lambda store: store.person(user_id))
