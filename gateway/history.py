"""History: what GPUs and containers did, as sums over some minutes.

Owns the values and how looks become sums. Sums and counts are kept, never means: what is added up later is
what was seen. What a GPU does not tell is counted by nobody, and is not 0. Must not know the clock, SQL or
where a look comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

EVERY = timedelta(seconds=30)
"""Between two looks."""
SPAN = timedelta(minutes=5)
"""What one window covers."""
KEPT = timedelta(days=30) // SPAN
"""How many windows are kept: a ring, by count, so that a clock that is set empties nothing."""


@dataclass(frozen=True)
class Tally:
    """How many values were seen, their sum and the largest."""

    count: int = 0
    total: int = 0
    peak: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.count + other.count, self.total + other.total, max(self.peak, other.peak))

    @property
    def mean(self) -> float | None:
        """None when nothing was seen."""
        return self.total / self.count if self.count else None


NOTHING = Tally()


@dataclass(frozen=True)
class GpuLook:
    """What a GPU did at one moment, and the lease that held it: per cent, and bytes of its memory."""

    device: str
    lease: int | None
    utilization: int | None
    used: int | None


@dataclass(frozen=True)
class ContainerLook:
    """Microseconds of CPU that a user's container took since the look before, and its bytes of memory."""

    user_id: int
    cpu: int
    memory: int | None


@dataclass(frozen=True)
class Look:
    """One look at everything."""

    gpus: tuple[GpuLook, ...] = ()
    containers: tuple[ContainerLook, ...] = ()


@dataclass(frozen=True)
class GpuUse:
    """What one GPU did under one lease (or none) in a window.

    `samples` counts the looks, `busy` those with any utilization; the tallies say for how many of them the
    GPU told it.
    """

    device: str
    lease: int | None
    samples: int = 0
    busy: int = 0
    utilization: Tally = NOTHING
    memory: Tally = NOTHING


@dataclass(frozen=True)
class ContainerUse:
    """What one user's container did in a window: microseconds of CPU, and bytes of memory."""

    user_id: int
    samples: int = 0
    cpu: int = 0
    memory: Tally = NOTHING


@dataclass(frozen=True)
class Window:
    """What was seen in `seconds` from `at` on, in which `due` looks were due."""

    at: datetime
    seconds: int
    due: int
    gpus: tuple[GpuUse, ...] = ()
    containers: tuple[ContainerUse, ...] = ()


def window(at: datetime, lasted: timedelta, looks: Sequence[Look]) -> Window:
    """The sums of looks that were taken from `at` on, in `lasted` of real time."""
    due = max(len(looks), round(lasted / EVERY))
    return Window(
        at,
        round(due * EVERY.total_seconds()),
        due,
        _gpus(each for look in looks for each in look.gpus),
        _containers(each for look in looks for each in look.containers),
    )


def _gpus(looks: Iterable[GpuLook]) -> tuple[GpuUse, ...]:
    sums: dict[tuple[str, int | None], GpuUse] = {}
    for look in looks:
        key = (look.device, look.lease)
        so_far = sums.get(key, GpuUse(*key))
        sums[key] = GpuUse(
            *key,
            so_far.samples + 1,
            so_far.busy + bool(look.utilization),
            so_far.utilization + _one(look.utilization),
            so_far.memory + _one(look.used),
        )
    return tuple(sums.values())


def _containers(looks: Iterable[ContainerLook]) -> tuple[ContainerUse, ...]:
    sums: dict[int, ContainerUse] = {}
    for look in looks:
        so_far = sums.get(look.user_id, ContainerUse(look.user_id))
        sums[look.user_id] = ContainerUse(
            look.user_id, so_far.samples + 1, so_far.cpu + look.cpu, so_far.memory + _one(look.memory)
        )
    return tuple(sums.values())


def _one(value: int | None) -> Tally:
    return NOTHING if value is None else Tally(1, value, value)
