"""What the queue is about: who asks for GPUs, who has them, for whom some are kept, who may have how many.

Owns the values, and which device a request is for. Must not know who comes first, SQL or the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from gateway.devices import Device, DeviceRequest, Health
from gateway.quotas import Allowance
from gateway.scheduling.fairness import weigh
from gateway.scheduling.placement import Link, level


@dataclass(frozen=True)
class Request:
    """User `user_id`, called `user`, waits for `count` GPUs of one machine, together for `length`.

    `priority` is her groups', the higher the sooner. `ids` says exactly which GPUs, `model` a part of their
    model's name, `profile` that MIG slices of it are wanted and not whole GPUs. A `preemptible` one is
    counted against no quota, comes after all that are, and may be ended by them.
    """

    id: int
    user_id: int
    user: str
    count: int
    length: timedelta
    asked_at: datetime
    priority: int = 0
    ids: tuple[str, ...] = ()
    model: str | None = None
    profile: str | None = None
    preemptible: bool = False


@dataclass(frozen=True)
class Holding:
    """Lease `id` has `devices` since `since`; they are free at `until`, when all goes as it should.

    `noticed`: its holder was told that it ends then, for somebody who waits.
    """

    id: int
    user_id: int
    user: str
    devices: tuple[str, ...]
    since: datetime
    until: datetime
    preemptible: bool = False
    noticed: bool = False


@dataclass(frozen=True)
class Reservation:
    """An operator keeps `devices` for a user from `begin` to `end`."""

    id: int
    user_id: int
    user: str
    devices: tuple[str, ...]
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Entitlement:
    """What a user may hold: `gpus` at once, and of her `allowance`, if she has one, what is not `spent`.

    `spent` are GPU-seconds: what she held in its window, and what her leases may still hold.
    """

    gpus: int
    allowance: Allowance | None = None
    spent: float = 0.0


Profiles = Mapping[str, str]
"""Which devices are MIG slices, and of which profile, by their ids."""


def profiles_of(devices: Iterable[Device]) -> Profiles:
    """Those of these devices that are slices."""
    return {device.id: device.profile for device in devices if device.profile is not None}


def links(devices: Iterable[Device]) -> dict[frozenset[str], Link]:
    """How the devices are connected, from what they tell themselves."""
    return {
        frozenset((device.id, other)): level(word)
        for device in devices
        for other, word in device.hardware.links
    }


def suits(request: Request | DeviceRequest, device: Device) -> bool:
    """Whether a device is one of those that are asked for, whatever its state."""
    return (
        not device.divided
        and (not request.ids or device.id in request.ids)
        and (request.model or "").lower() in device.model.lower()
        and device.profile == request.profile
    )


def sound(device: Device) -> bool:
    """Whether a device may be granted."""
    return device.state in (Health.HEALTHY, Health.DEGRADED)


def weight(request: Request, devices: Iterable[Device], profiles: Profiles) -> Fraction:
    """What `request` counts against a quota: never less than any choice among `devices` comes to."""
    each = (weigh(profiles.get(device.id)) for device in devices)
    return max(each, default=Fraction(1)) * request.count


def held_weight(holding: Holding, profiles: Profiles) -> Fraction:
    """What a lease counts against a quota."""
    return sum((weigh(profiles.get(device)) for device in holding.devices), Fraction(0))
