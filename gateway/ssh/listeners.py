"""What one connection listens on inside its container, and the channels for who comes there.

Owns the limit, what the broker is told, and the pace at which arrivals become channels. Nothing ever
listens on the gateway. Must not know the requests that ask for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

from gateway.errors import Code, PlatformError
from gateway.journal import explain
from gateway.ports import Arrival, Arrived, Listener, Progress, Runner
from gateway.ssh.forward import Forward

if TYPE_CHECKING:
    from gateway.ssh.forwarding import Forwarding

MOST_LISTENERS = 100
MOST_OPENING = 128
"""Arrivals that are accepted while the client has not answered yet; more wait in the container."""
REFUSE_AFTER = 0.05
"""Seconds that a refusal takes, so that a flood from inside costs little more than its own connection."""

Ask = Callable[[Runner, Arrived], Awaitable[Listener]]
Reach = Callable[[Callable[[], Forward], Arrival, Listener], Awaitable[object]]
"""Opens the channel to the client with the session that the first argument makes."""


@dataclass(frozen=True)
class Held:
    """A listener, and its id in the broker's list."""

    id: str
    listener: Listener


class Listeners:
    """Those of one connection."""

    def __init__(self, connection: Forwarding) -> None:
        self._connection = connection
        self._held: dict[object, Held] = {}
        self._asked = 0
        self._opening = asyncio.Semaphore(MOST_OPENING)

    def __len__(self) -> int:
        """How many there are, those under way included."""
        return len(self._held) + self._asked

    async def listen(
        self, what: str, ask: Ask, reach: Reach, key: Callable[[Listener], object], progress: Progress
    ) -> Listener:
        """Listen, under the key that `close` knows it by. Raises PlatformError.

        `what` is for lists, and escaped.
        """
        if len(self) >= MOST_LISTENERS:
            text = f"A connection may listen {MOST_LISTENERS} times; cancel a forward first."
            raise PlatformError(Code.QUOTA_EXCEEDED, text)
        standing: asyncio.Future[Listener] = asyncio.get_running_loop().create_future()
        serve = self._connection.tasks.create_task
        self._asked += 1
        try:
            runner = await self._connection.entry.runner(progress)
            listener = await ask(runner, lambda one: serve(self._serve(one, standing, reach, what)))
        finally:
            self._asked -= 1
        standing.set_result(listener)
        held = self._held[key(listener)] = Held(secrets.token_hex(4), listener)
        self._connection.entry.opened(held.id, "forward", what)
        self._connection.tasks.create_task(self._watch(runner, key(listener), held))
        return listener

    def find(self, key: object) -> Listener | None:
        """The listener under this key."""
        held = self._held.get(key)
        return None if held is None else held.listener

    async def close(self, key: object) -> bool:
        """Listen there no more; channels stay. False when nobody listened."""
        held = self._held.pop(key, None)
        if held is None:
            return False
        await held.listener.close()
        self._connection.entry.closed(held.id)
        return True

    async def end(self, id_: str) -> None:
        """The same for the one with this id; nothing when there is none any more."""
        for key in [key for key, held in self._held.items() if held.id == id_]:
            await self.close(key)

    async def _watch(self, runner: Runner, key: object, held: Held) -> None:
        """Forget it when its runner is gone."""
        await runner.closed()
        if self._held.get(key) is held:
            del self._held[key]
            self._connection.entry.closed(held.id)

    async def _serve(
        self, arrival: Arrival, standing: asyncio.Future[Listener], reach: Reach, what: str
    ) -> None:
        """Make a channel of an arrival, which may come before its listener is known here."""
        listener = await standing
        async with self._opening:
            if self._connection.is_full:
                await asyncio.sleep(REFUSE_AFTER)
                arrival.decline()
                return
            try:
                await self._open(arrival, lambda make: reach(make, arrival, listener), what)
            except (PlatformError, asyncssh.ChannelOpenError):  # either side does not want it
                return

    async def _open(
        self, arrival: Arrival, reach: Callable[[Callable[[], Forward]], Awaitable[object]], what: str
    ) -> None:
        """A channel to the client for one arrival; whatever goes wrong, its socket is closed."""
        sock = await arrival.accept()
        made: list[Forward] = []

        def session() -> Forward:
            made.append(Forward(self._connection, sock, what))
            return made[0]

        try:
            self._connection.check_channels()
            await reach(session)
        except BaseException as error:
            sock.close()
            if made:  # the connection ended in the very turn in which the client agreed
                made[0].connection_lost(None)
            if isinstance(error, asyncssh.ChannelOpenError | PlatformError | asyncio.CancelledError):
                raise
            explain(error)
