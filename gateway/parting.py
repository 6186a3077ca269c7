"""Lets people's programs save their work before their container is stopped.

Owns how long is waited for them, and that the person knows of it. Must not know SSH or Docker, nor how a
runner reaches the programs; and stops nothing: who asked does so afterwards. Whatever a runner says, or does
not say, costs time, and no more of it than there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from gateway.broker import RUNNER_WITHIN, Broker
from gateway.errors import PlatformError
from gateway.journal import note
from gateway.notices import LONGEST_REASON, stopping
from gateway.ports import Now, RunnerLink
from gateway.rooms import Room


class Parting:
    """The use case. `patience` is what programs get to save their work."""

    def __init__(self, broker: Broker, patience: timedelta, now: Now) -> None:
        self._broker = broker
        self._patience = patience
        self._now = now
        self._going: dict[int, asyncio.Event] = {}

    async def wind_down(self, user_id: int, reason: str, patience: timedelta | None = None) -> None:
        """Have her programs told that her container will be stopped, and wait until those have ended.

        At once when none wants to know and there is no hook, or the runner is not there; after `patience` at
        the latest. Without the lock of her room: meanwhile she may come in, is greeted with what goes on, and
        no login makes her container anew. Called off by cancelling it; what was told stays told. Whoever asks
        while it goes on waits for the same end.
        """
        if user_id in self._going:
            await self._going[user_id].wait()
            return
        room = self._broker.room(user_id)
        over = self._going[user_id] = asyncio.Event()
        length = self._patience if patience is None else patience
        room.parting = stopping(reason, self._now() + length)
        try:
            await self._save(user_id, room, reason[:LONGEST_REASON], length)
        except TimeoutError:
            note("parting_timed_out", user=user_id, seconds=round(length.total_seconds()))
        finally:
            room.parting = None
            del self._going[user_id]
            over.set()

    async def _save(self, user_id: int, room: Room, reason: str, length: timedelta) -> None:
        """Ask the runner, and again when it was killed and is back. Raises TimeoutError after `length`."""
        loop = asyncio.get_running_loop()
        end, begun = loop.time() + length.total_seconds(), self._announcing(user_id, room)
        async with asyncio.timeout_at(end):
            link = await self._link(user_id)
            # Once the container has ended, or is another, its link is closed and never ready again.
            while link is not None:
                try:
                    await link.ready(RUNNER_WITHIN)
                except PlatformError:
                    return
                try:
                    return await link.part(reason, round(max(0.0, end - loop.time())), begun)
                except PlatformError:
                    continue

    async def _link(self, user_id: int) -> RunnerLink | None:
        """Where her runner dials in; None without a container, or an engine that knows of it."""
        try:
            return await self._broker.listen(user_id)
        except PlatformError:
            return None

    def _announcing(self, user_id: int, room: Room) -> Callable[[int, bool], None]:
        """What is done when there is something to wait for: her terminals show it, once."""
        said: list[str] = []

        def begun(programs: int, hook: bool) -> None:
            if not said and room.parting is not None:
                said.append(room.parting)
                self._broker.announce(user_id, room.parting)
                note("parting", user=user_id, programs=programs, hook=hook)

        return begun
