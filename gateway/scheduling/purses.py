"""What is left of one user's quota while a plan is made.

Owns that account: what she holds and will hold, at which times, and what of her GPU time is promised. Must
not know devices, others' requests or the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from gateway.quotas import gpus
from gateway.scheduling.fairness import Span
from gateway.scheduling.waiting import Entitlement
from gateway.units import format_duration
from gateway.usage import hours


@dataclass(frozen=True)
class Purse:
    """`user` may have what `entitlement` says; `holds` are the weights that she has at times, `promised` the
    GPU-seconds of all her requests before this one."""

    user: str
    entitlement: Entitlement
    holds: tuple[tuple[Span, Fraction], ...] = ()
    promised: float = 0.0

    def fits(self, weight: Fraction, span: Span) -> bool:
        """Whether she may hold `weight` more all that time."""
        moments = {span.begin, *(held.begin for held, _ in self.holds if span.begin < held.begin < span.end)}
        return all(self.at(moment) + weight <= self.entitlement.gpus for moment in moments)

    def at(self, moment: datetime) -> Fraction:
        """What she holds at that moment."""
        return sum((w for held, w in self.holds if held.begin <= moment < held.end), Fraction(0))

    def affords(self, cost: float) -> bool:
        """Whether `cost` GPU-seconds are left, so that all that is granted can be used up."""
        return self.left is None or cost <= self.left

    @property
    def left(self) -> float | None:
        """GPU-seconds that nobody was promised yet; None without a limit."""
        allowance = self.entitlement.allowance
        return None if allowance is None else allowance.gpu_seconds - self.entitlement.spent - self.promised

    def holding(self, weight: Fraction, span: Span) -> Purse:
        """This purse with one more thing that she holds or will hold."""
        return replace(self, holds=(*self.holds, (span, weight)))

    def promising(self, cost: float) -> Purse:
        """This purse with `cost` GPU-seconds promised."""
        return replace(self, promised=self.promised + cost)

    def ends(self, after: datetime) -> Iterable[datetime]:
        """The moments after `after` at which she holds less."""
        return [held.end for held, _ in self.holds if held.end > after]

    def never(self, weight: Fraction, cost: float) -> str | None:
        """Why she may not have this even when she holds nothing; None when she may."""
        if weight > self.entitlement.gpus:
            return f"{self.user} may hold {gpus(self.entitlement.gpus)} at once, so never {weight}"
        allowance = self.entitlement.allowance
        if allowance is not None and cost > allowance.gpu_seconds:
            return (
                f"{self.user} may hold {hours(allowance.gpu_seconds)} GPU-hours in "
                f"{format_duration(allowance.window)}, so never {hours(round(cost))} in one go"
            )
        return None

    def full(self, weight: Fraction, now: datetime) -> str:
        """The sentence for `weight` GPUs that her quota does not let her have now."""
        most, has = self.entitlement.gpus, self.at(now)
        ahead = ", and her requests before this one need the rest" if has + weight <= most else ""
        return f"{self.user} may hold {gpus(most)} at once and holds {has}{ahead}"

    def short(self, cost: float) -> str:
        """The sentence for what does not fit her quota of GPU-hours."""
        allowance = self.entitlement.allowance
        if allowance is None:
            raise ValueError("nothing is short without a limit")
        return (
            f"{self.user} may hold {hours(allowance.gpu_seconds)} GPU-hours in "
            f"{format_duration(allowance.window)}: {hours(round(max(0.0, self.left or 0.0)))} are left after "
            f"what she held, holds and asked for before, and {hours(round(cost))} are asked for"
        )
