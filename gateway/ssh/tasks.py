"""Tasks that belong to the worker and cannot take it down.

Owns the rule that an error nobody foresaw ends one task, is logged whole, and leaves the other
people's connections alone. Must not know what the tasks do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.journal import explain


class Tasks:
    """A task group whose tasks report instead of raising."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start `work`; the group awaits it."""
        task = self._group.create_task(_reported(work))
        # A group that ends cancels what has not begun: Python complains of work that nobody awaited.
        task.add_done_callback(lambda _: work.close())
        return task


async def _reported(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:
        explain(error)
