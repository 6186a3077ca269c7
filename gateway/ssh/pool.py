"""A few pipe sets kept ready, so that starting a program does not wait for the broker.

Owns those sets. Must not know what they will carry.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.ports import PipeSet
from gateway.ssh.brokerage import Brokerage
from gateway.ssh.tasks import Tasks

KEPT = 8


class PipePool:
    """Hands out pipe sets; refills itself when half are gone."""

    def __init__(self, brokerage: Brokerage, tasks: Tasks) -> None:
        self._brokerage = brokerage
        self._tasks = tasks
        self._sets: deque[PipeSet] = deque()
        self._refill: asyncio.Task[None] | None = None

    async def take(self) -> PipeSet:
        """One set, which belongs to the caller. Raises UNAVAILABLE when the broker has none."""
        if len(self._sets) <= KEPT // 2 and self._refill is None:
            self._refill = self._tasks.create_task(self._fill())
        if self._sets:
            return self._sets.popleft()
        return (await self._brokerage.pipes(1))[0]

    async def _fill(self) -> None:
        try:
            self._sets.extend(await self._brokerage.pipes(KEPT))
        except Exception:
            return
        finally:
            self._refill = None
