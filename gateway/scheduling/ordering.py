"""Who comes first in the queue, and why, one term after the other.

Owns the terms: each is one number to sort by and one line that explains it. Must not know devices, quotas or
the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.scheduling.fairness import HALF_LIFE
from gateway.scheduling.waiting import Request
from gateway.units import format_duration
from gateway.usage import hours

PATIENCE = timedelta(days=7)
"""Who has waited for so long goes before all who have not: nobody can be passed for ever."""


@dataclass(frozen=True)
class Queue:
    """What the terms look at: all that wait at `now`, everybody's decayed GPU-seconds by user id, and the ids
    of the requests that a reservation is in force for."""

    waiting: Sequence[Request]
    usage: Mapping[int, float]
    reserved: Collection[int]
    now: datetime

    def used(self, request: Request) -> float:
        """The decayed GPU-seconds of the person who asks."""
        return self.usage.get(request.user_id, 0.0)


@dataclass(frozen=True)
class Term:
    """One criterion: whose `key` is smaller comes first, and `line` tells a person why she stands where."""

    key: Callable[[Request, Queue], float]
    line: Callable[[Request, Queue], str]


def _tier_line(request: Request, _: Queue) -> str:
    return "preemptible, so after all that is within a quota" if request.preemptible else "within a quota"


def _reserved_line(request: Request, queue: Queue) -> str:
    return "a reservation is in force" if request.id in queue.reserved else "no reservation is in force"


def _patient(request: Request, queue: Queue) -> bool:
    return queue.now - request.asked_at >= PATIENCE


def _patience_line(request: Request, queue: Queue) -> str:
    limit = format_duration(PATIENCE)
    if _patient(request, queue):
        return f"waits for more than {limit}, so before all that do not"
    return f"waits for less than {limit}"


def _usage_line(request: Request, queue: Queue) -> str:
    mine = queue.used(request)
    fewer = len({other.user_id for other in queue.waiting if queue.used(other) < mine})
    people = "1 person" if fewer == 1 else f"{fewer} people"
    return (
        f"used {hours(round(mine))} GPU-hours lately (half-life {format_duration(HALF_LIFE)}); "
        f"of those who wait, {people} used less"
    )


def _arrival_line(request: Request, queue: Queue) -> str:
    return f"asked {format_duration(queue.now - request.asked_at)} ago"


TIER = Term(lambda request, _: request.preemptible, _tier_line)
RESERVATION = Term(lambda request, queue: request.id not in queue.reserved, _reserved_line)
PATIENT = Term(lambda request, queue: not _patient(request, queue), _patience_line)
# Among those who have waited too long arrival alone decides; else one of them could be passed for ever.
PRIORITY = Term(
    lambda request, queue: 0 if _patient(request, queue) else -request.priority,
    lambda request, _: f"priority {request.priority}",
)
USAGE = Term(lambda request, queue: 0.0 if _patient(request, queue) else queue.used(request), _usage_line)
ARRIVAL = Term(lambda request, _: request.asked_at.timestamp(), _arrival_line)

TERMS = (TIER, RESERVATION, PATIENT, PRIORITY, USAGE, ARRIVAL)
"""The order of the product."""


def order(queue: Queue, terms: Sequence[Term] = TERMS) -> list[Request]:
    """All that wait, the first to be served first; equal ones by their ids."""
    return sorted(
        queue.waiting, key=lambda request: (*(term.key(request, queue) for term in terms), request.id)
    )


def lines(request: Request, queue: Queue, terms: Sequence[Term] = TERMS) -> tuple[str, ...]:
    """Why a request stands where it stands, one line a term, the strongest first."""
    return tuple(term.line(request, queue) for term in terms)
