"""Disk space: held to the quotas where the file system can, and looked at everywhere.

Owns when either is done, and that no look is in anybody's way. Must not know file systems or quotas.
"""

from __future__ import annotations

import asyncio

from gateway.broker import Broker
from gateway.desk import Desk
from gateway.disks import Disk, Usage, walk_due
from gateway.journal import note
from gateway.ports import Folders, Now

FAILED = (
    "Nothing can be written to your files any more, for the machine's disk is full or failed: tell your "
    "operator, then log out everywhere and in again."
)
STARVED = "The machine's disk is full: what you write now may be lost without a word; tell your operator."


class Rationing:
    """The use cases."""

    def __init__(self, desk: Desk, broker: Broker, folders: Folders, now: Now) -> None:
        self._desk = desk
        self._broker = broker
        self._folders = folders
        self._now = now
        self._starved: frozenset[int] = frozenset()

    async def limit_all(self) -> None:
        """Hold every workspace to what its user may have now; a file system that cannot is left alone.

        One workspace that cannot be reached keeps no other; its error is raised in the end.
        """
        disks = await self._desk.ask(lambda store: store.disks())
        work = [self._limit(user_id, disk.limit) for user_id, disk in disks.items()]
        for failure in filter(None, await asyncio.gather(*work, return_exceptions=True)):
            raise failure

    async def look(self) -> None:
        """See what every workspace takes: asked of the file system, else counted file by file when due.

        One is counted at a time, by a process that yields to everybody.
        """
        running = self._broker.running()
        for user_id, disk in (await self._desk.ask(lambda store: store.disks())).items():
            await self._look(user_id, disk, user_id in running)

    async def _limit(self, user_id: int, size: int) -> None:
        # Not while her workspace is made: the platform's own steps lift the limit for a moment.
        async with self._broker.room(user_id).lock:
            await asyncio.to_thread(self._folders.limit, user_id, size)

    async def _look(self, user_id: int, disk: Disk, running: bool) -> None:
        usage = await asyncio.to_thread(self._folders.usage, user_id)
        if running:
            await self._warn(user_id, usage)
        used = usage.counted
        if used is None:
            if not walk_due(disk, running, self._now()):
                return
            used = await self._folders.walk(user_id)
        if used is None or (usage.counted is not None and (used, usage.held) == (disk.used, disk.held)):
            return
        found, now = used, self._now()
        await self._desk.ask(lambda store: store.show_disk(user_id, found, usage.held, now))

    async def _warn(self, user_id: int, usage: Usage) -> None:
        """Tell her, once, what the machine's disk does to her files."""
        if usage.failed:
            await self._bar(user_id)
        elif usage.starved and user_id not in self._starved:
            self._broker.announce(user_id, STARVED)
            note("disk_starved", user=user_id)
        self._starved = self._starved - {user_id} | ({user_id} if usage.starved else set())

    async def _bar(self, user_id: int) -> None:
        """Have her container replaced, when nothing of hers runs: her files are mended for the next one."""
        room = self._broker.room(user_id)
        async with room.lock:
            if room.barred:
                return
            room.barred, room.made_from = True, None
        self._broker.announce(user_id, FAILED)
        note("disk_failed", user=user_id)
