"""The store, off the event loop: one thread of its own, one question at a time.

Owns that thread. A write may wait seconds for another process's transaction, which on the loop would
freeze every session. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.store import BrokerStore

T = TypeVar("T")


class Desk:
    """Asks the store made by `open_store`, which is called in that thread as SQLite wants it."""

    def __init__(self, open_store: Callable[[], BrokerStore]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._store = self._thread.submit(open_store).result()

    async def ask(self, question: Callable[[BrokerStore], T]) -> T:
        """The answer of `question(store)`, run in the store's thread; raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, self._store)

    def close(self) -> None:
        """Finish what was asked and end the thread."""
        self._thread.shutdown()
