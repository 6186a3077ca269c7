"""Connections to a listener inside, as its worker hears of them.

Owns who wants to hear of which listener, and what the runner may leave unanswered. Must not know sockets:
the client sends what is decided here.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial

from gateway.ports import Arrival, Arrived
from gateway.runner import listening
from gateway.runner.listening import MOST_ARRIVED
from gateway.runner.protocol import ProtocolError


class Arrivals:
    """Those of one connection. `accept` and `decline` tell the runner what becomes of one."""

    def __init__(
        self, accept: Callable[[int], Awaitable[socket.socket]], decline: Callable[[int], None]
    ) -> None:
        self._accept, self._decline = accept, decline
        self._hearers: dict[int, Arrived] = {}
        self._waiting: set[int] = set()

    def hear(self, listener: int, arrived: Arrived) -> None:
        """Call `arrived` for each connection to this listener."""
        self._hearers[listener] = arrived

    def deaf(self, listener: int) -> None:
        """Nobody wants to hear of it any more: what still arrives is declined."""
        self._hearers.pop(listener, None)

    def arrived(self, message: listening.Arrived) -> None:
        """Pass it on. Raises ProtocolError for one more than may wait, or a number that waits already."""
        if message.arrival in self._waiting or len(self._waiting) >= MOST_ARRIVED:
            raise ProtocolError("an arrival too many")
        self._waiting.add(message.arrival)
        arrival = Arrival(
            message.host,
            message.port,
            partial(self._take, message.arrival),
            partial(self._turn_away, message.arrival),
        )
        hearer = self._hearers.get(message.id)
        if hearer is None:
            arrival.decline()
        else:
            hearer(arrival)

    async def _take(self, arrival: int) -> socket.socket:
        """Accept; when nobody wants it any more, it may still wait for an answer."""
        self._waiting.discard(arrival)
        try:
            return await self._accept(arrival)
        except BaseException:
            self._decline(arrival)
            raise

    def _turn_away(self, arrival: int) -> None:
        self._waiting.discard(arrival)
        self._decline(arrival)
