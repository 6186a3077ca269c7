"""How often somebody may fail before she has to wait.

Owns the counting of failures. Must not know what failed, nor the clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from datetime import datetime, timedelta

MOST_REMEMBERED = 10_000
"""Who failed last is remembered longest: a flood of names must not use up memory."""


class Throttle:
    """At most `most` failures of one key within `window`."""

    def __init__(self, most: int, window: timedelta) -> None:
        self._most = most
        self._window = window
        self._failures: OrderedDict[Hashable, deque[datetime]] = OrderedDict()

    def full(self, key: Hashable, now: datetime) -> bool:
        """Whether this key has failed too often to try now."""
        failures = self._failures.get(key, deque())
        while failures and failures[0] <= now - self._window:
            failures.popleft()
        return len(failures) >= self._most

    def failed(self, key: Hashable, now: datetime) -> None:
        """It failed once more."""
        self._failures.setdefault(key, deque(maxlen=self._most)).append(now)
        self._failures.move_to_end(key)
        if len(self._failures) > MOST_REMEMBERED:
            self._failures.popitem(last=False)
