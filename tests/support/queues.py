"""Makes the queue's values for tests: eight GPUs on one machine, people by their names, times in hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from gateway.devices import Device, Hardware, Part
from gateway.scheduling.booking import Policy
from gateway.scheduling.queueing import Plan, plan
from gateway.scheduling.waiting import Entitlement, Holding, Request, Reservation
from tests.support.stores import NOW

HOUR = timedelta(hours=1)
PEOPLE = ("alice", "bob", "carol", "dan", "eve")
SHARP = Policy(grace=timedelta())
"""The product's policy, but what ends at an hour is free at that hour."""


def user_id(name: str) -> int:
    return PEOPLE.index(name) + 1


def gpus(count: int, node: str = "local", **fields: Any) -> list[Device]:
    return [
        Device(f"{node[0]}{index}", index, "NVIDIA H100", 80 << 30, node, **fields) for index in range(count)
    ]


def sliced(index: int, *profiles: str, node: str = "local") -> list[Device]:
    """A GPU with MIG on, and its slices at 0, 4, 8 and so on."""
    id_ = f"{node[0]}{index}"
    whole = Device(id_, index, "NVIDIA H100", 80 << 30, node, hardware=Hardware(mig=True))
    parts = [Part(id_, profile, str(4 * place), f"MIG-{place}") for place, profile in enumerate(profiles)]
    return [whole, *(replace(whole, id=part.id, memory=10 << 30, part=part) for part in parts)]


def asks(
    number: int,
    user: str,
    count: int = 1,
    length: float = 8,
    ago: float = 1,
    *,
    priority: int = 0,
    ids: Iterable[str] = (),
    model: str | None = None,
    profile: str | None = None,
    preemptible: bool = False,
) -> Request:
    """Request `number`, asked `ago` hours before NOW."""
    return Request(
        number,
        user_id(user),
        user,
        count,
        length * HOUR,
        NOW - ago * HOUR,
        priority,
        tuple(ids),
        model,
        profile,
        preemptible,
    )


def holds(
    number: int,
    user: str,
    devices: Sequence[str],
    until: float = 4,
    since: float = 2,
    *,
    preemptible: bool = False,
    noticed: bool = False,
) -> Holding:
    """Lease `number`, from `since` hours before NOW until `until` hours after."""
    return Holding(
        number,
        user_id(user),
        user,
        tuple(devices),
        NOW - since * HOUR,
        NOW + until * HOUR,
        preemptible,
        noticed,
    )


def reserved(number: int, user: str, devices: Sequence[str], begin: float, end: float) -> Reservation:
    """From `begin` to `end`, in hours after NOW."""
    return Reservation(number, user_id(user), user, tuple(devices), NOW + begin * HOUR, NOW + end * HOUR)


def everybody(quota: int = 8, **others: Entitlement) -> dict[int, Entitlement]:
    """Everybody's quota of GPUs; `others` have another."""
    return {user_id(name): others.get(name, Entitlement(quota)) for name in PEOPLE}


def planned(
    waiting: Sequence[Request],
    devices: Sequence[Device],
    held: Sequence[Holding] = (),
    reservations: Sequence[Reservation] = (),
    *,
    usage: Mapping[str, float] | None = None,
    allowances: Mapping[int, Entitlement] | None = None,
    policy: Policy = SHARP,
) -> Plan:
    """The plan at NOW; `usage` in GPU-hours by name."""
    used = {user_id(name): hours * 3600 for name, hours in (usage or {}).items()}
    quotas = everybody() if allowances is None else allowances
    return plan(waiting, devices, held, reservations, used, quotas, NOW, policy=policy)


def granted(made: Plan) -> dict[int, tuple[str, ...]]:
    """The devices that a plan grants, by request."""
    return {grant.request_id: grant.devices for grant in made.grants}


def starts(made: Plan) -> dict[int, float | None]:
    """When each request begins, in hours from NOW."""
    return {
        standing.request_id: None if standing.start is None else (standing.start - NOW) / HOUR
        for standing in made.standings
    }


def places(made: Plan) -> list[int]:
    """The requests in the order of the queue."""
    return [standing.request_id for standing in made.standings]
