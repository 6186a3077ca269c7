"""The machine's clock, and whether somebody has set it.

Owns when a step counts as one. Leases end by the wall clock, so a clock that is a day wrong, or put right,
would end them a day too early or too late: what a step moves is the store's. Pure; must not read the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

STEP = timedelta(minutes=1)
"""A smaller change is a correction that nobody notices in a lease of hours."""
SETTLED = timedelta(minutes=10)
"""How long after its boot a machine may still be asking a time server."""
EARLIEST = 2026
"""No clock is right that shows an earlier year."""


@dataclass(frozen=True)
class Clock:
    """One look: which boot this is, the wall clock (UTC), and the time since the boot, sleep included."""

    boot: str
    now: datetime
    uptime: timedelta

    @property
    def began(self) -> datetime:
        """When this boot began by the wall clock: the same at each look until the clock is set."""
        return self.now - self.uptime


def step(boot: str, began: datetime, clock: Clock) -> timedelta | None:
    """How far the clock was set since a look in the boot `boot`, which began at `began` by the clock then.

    None across a boot: nobody knows how long the machine was off. What is less than STEP is 0.
    """
    if clock.boot != boot:
        return None
    moved = clock.began - began
    return moved if abs(moved) >= STEP else timedelta(0)


def moves_leases(moved: timedelta, clock: Clock) -> bool:
    """Whether leases move with a step that has just been seen.

    Not with the first correction after a boot, nor out of a year that cannot have been: leases were granted
    by the right clock of an earlier boot then, and a battery that is empty must not make them eternal.
    """
    return clock.uptime >= SETTLED and (clock.now - moved).year >= EARLIEST
