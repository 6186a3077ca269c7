"""What time it is, for whoever ends something by the clock.

Owns that a clock which was set is noticed first. Must not know what ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from gateway.clock import Clock
from gateway.desk import Desk
from gateway.journal import note


class Timekeeper:
    """Asks `look` for the time, and the store to move along with a clock that was set."""

    def __init__(self, desk: Desk, look: Callable[[], Clock]) -> None:
        self._desk = desk
        self._look = look

    async def now(self) -> datetime:
        """The time, UTC; what counts by the clock is right by it. Raises what the store raises."""
        clock = self._look()
        moved = await self._desk.ask(lambda store: store.keep_time(clock))
        if moved:
            note("clock_set", seconds=round(moved / timedelta(seconds=1)))
        return clock.now
