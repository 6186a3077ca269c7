"""GPUs that fail under a lease: what takes their place, what is not counted, and what the holder is told.

Owns these decisions, pure. Must not know SQL, containers or the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.devices import Device, Health
from gateway.health import rank
from gateway.units import format_duration, format_instant

GRANTABLE = (Health.HEALTHY, Health.DEGRADED)


@dataclass(frozen=True)
class Loss:
    """`device` failed under a lease at `since`; it came back or was replaced at `until`, None: not yet."""

    device: str
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True)
class Change:
    """What became of one device of a live lease: `lost` failed and `by` took its place, None: nothing could.

    With `back` it can be used again, where it is. It failed at `since`.
    """

    lease_id: int
    user_id: int
    lost: Device
    since: datetime
    by: Device | None = None
    back: bool = False


def fails(device: Device) -> bool:
    """Whether a device can no longer be relied on by who holds it. One that is only drained can."""
    return device.problem is not None


def replacement(lost: Device, devices: Iterable[Device], taken: Collection[str]) -> Device | None:
    """The free device of the same kind, on the same machine, that takes the place of a lost one, if any.

    `taken` is all that is taken, with what is the same hardware as that.
    """
    fit = [
        device
        for device in devices
        if device.id not in taken
        and device.state in GRANTABLE
        and not device.divided
        and _kind(device) == _kind(lost)
    ]
    return min(fit, key=lambda device: (rank(device), device.index, device.id), default=None)


def _kind(device: Device) -> tuple[object, ...]:
    return device.node, device.model, device.memory, device.profile


def lost_seconds(losses: Sequence[Loss], begin: datetime, end: datetime) -> int:
    """The GPU-seconds between `begin` and `end` in which devices were lost: nobody is charged for them."""
    spans = ((max(loss.since, begin), min(loss.until or end, end)) for loss in losses)
    return sum(max(0, int((until - since).total_seconds())) for since, until in spans)


def problem(change: Change) -> str | None:
    """What an operator reads of the lease; None when there is nothing to look at."""
    if change.back or change.by is not None:
        return None
    return f"{change.lost.name} is {change.lost.state.value}: {change.lost.problem}; no other is free"


def notice(change: Change) -> str:
    """What its holder reads on her terminals."""
    name = change.lost.name
    if change.back:
        return f"{name} of your lease {change.lease_id} can be used again; its time counts from now."
    said = f"{name} of your lease {change.lease_id} is {change.lost.state.value}: {change.lost.problem}."
    if change.by is None:
        return f"{said} No other of its kind is free; its time is not counted until it is back."
    return f"{said} {change.by.name} takes its place."


def message(change: Change, now: datetime) -> str:
    """What its holder reads at her next terminal: what failed, what she has now, and what is not counted."""
    name, since = f"{change.lost.name} of your lease {change.lease_id}", format_instant(change.since)
    spared = f"the {format_duration(now - change.since)} without it are not counted."
    if change.back:
        return f"{name}, which failed at {since}, can be used again: {spared}"
    said = f"{name} failed at {since}: {change.lost.problem}."
    if change.by is None:
        return f"{said} No other of its kind was free; its time is not counted until it is back."
    at_once = now - change.since < timedelta(minutes=1)
    return f"{said} {change.by.name} takes its place{'.' if at_once else f'; {spared}'}"
