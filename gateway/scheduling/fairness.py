"""How much of the GPUs a person had lately: the time held, which weighs less the longer ago it was.

Owns that sum, its refunds, and what a part of a GPU counts. Must not know leases, quotas or the clock.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

HALF_LIFE = timedelta(days=7)
"""After this time a GPU-second counts half."""
_PROFILE = re.compile(r"(?:[1-7]c\.)?([1-7])g\.[0-9]+gb(?:[+-].*)?")


@dataclass(frozen=True)
class Span:
    """A time, from `begin` up to and without `end`; one that ends before it begins is empty."""

    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Use:
    """What user `user_id` held in `span`: `weight` GPUs, a part of one counting as `weigh` says.

    What of that time lies in one of `refunds` does not count, however many of them name it.
    """

    user_id: int
    weight: Fraction
    span: Span
    refunds: tuple[Span, ...] = ()


def weigh(profile: str | None) -> Fraction:
    """What one device counts: 1, or the sevenths that a MIG profile names (3 of `3g.20gb`; NVIDIA's MIG user
    guide, "GPU instance profiles"). A profile that nobody knows counts as a whole GPU."""
    match = _PROFILE.fullmatch(profile or "")
    return Fraction(int(match[1]), 7) if match else Fraction(1)


def charged(use: Use, now: datetime) -> list[Span]:
    """The times until `now` that count, in order: its span without its refunds."""
    left = [Span(use.span.begin, min(use.span.end, now))]
    for refund in use.refunds:
        left = [part for span in left for part in _without(span, refund)]
    return [span for span in left if span.begin < span.end]


def gpu_seconds(use: Use, now: datetime) -> float:
    """GPU-seconds that were held until `now`, each counting in full; never negative."""
    return sum(_length(span) for span in charged(use, now)) * float(use.weight)


def decayed(use: Use, now: datetime, half_life: timedelta = HALF_LIFE) -> float:
    """GPU-seconds that were held until `now`, each halved for every `half_life` that has passed since.

    The exact integral over the time that counts, so the sum does not depend on when it is asked for in
    between. Never negative.
    """
    seconds = half_life.total_seconds()

    def remaining(at: datetime) -> float:
        return math.exp2(-(now - at).total_seconds() / seconds)

    spans = charged(use, now)
    parts = sum(remaining(span.end) - remaining(span.begin) for span in spans)
    return max(0.0, parts) * seconds / math.log(2) * float(use.weight)


def by_user(uses: Iterable[Use], now: datetime, half_life: timedelta = HALF_LIFE) -> dict[int, float]:
    """Everybody's decayed GPU-seconds, by user id; who held nothing is left out."""
    sums: dict[int, float] = {}
    for use in uses:
        sums[use.user_id] = sums.get(use.user_id, 0.0) + decayed(use, now, half_life)
    return sums


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index of what each of some people got (DEC-TR-301): 1 when all got the same, 1/n when
    one got everything; 1 for nobody, and when nobody got anything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def _length(span: Span) -> float:
    return (span.end - span.begin).total_seconds()


def _without(span: Span, hole: Span) -> list[Span]:
    if hole.end <= span.begin or hole.begin >= span.end or hole.begin >= hole.end:
        return [span]
    return [Span(span.begin, hole.begin), Span(hole.end, span.end)]
