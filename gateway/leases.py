"""A lease: named devices held by one workspace for a time.

    queued -> granted -> active -> warned -> grace -> released

`queued`: asked for, and nothing is held. `granted`: its devices are held, and the next container shows
them; `active`: a container showed them. `warned`: its holder was told that its end is near. `grace`: it
is over, and its container may still run. `released`: no container shows its devices any more; only then
are they free. `_STEPS` has every way from one to another.

Owns the values, their changes, and the choice of devices. Must not know SQL, containers or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from gateway.devices import Device, DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.losses import Loss
from gateway.units import format_instant


class State(Enum):
    """Where a lease stands; drawn at the top of this module."""

    QUEUED = "queued"
    GRANTED = "granted"
    ACTIVE = "active"
    WARNED = "warned"
    GRACE = "grace"
    RELEASED = "released"


class Change(Enum):
    """What happens to a lease."""

    GRANT = "grant"
    """Devices are chosen for it."""
    WITHDRAW = "withdraw"
    """Nobody waits for it any more."""
    SHOW = "show"
    """A container that shows its devices runs."""
    WARN = "warn"
    """Its holder was told of its end."""
    EXTEND = "extend"
    """Its end was moved away."""
    END = "end"
    """Its time is over, or somebody ended it."""
    FREE = "free"
    """No container shows its devices."""


LIVE = frozenset({State.GRANTED, State.ACTIVE, State.WARNED})
"""The states of a lease that its holder may use."""
HOLDING = (State.GRANTED, State.ACTIVE, State.WARNED, State.GRACE)
"""The states of a lease that has devices."""

_STEPS: Mapping[tuple[State, Change], State] = {
    (State.QUEUED, Change.GRANT): State.GRANTED,
    (State.QUEUED, Change.WITHDRAW): State.RELEASED,
    (State.GRANTED, Change.SHOW): State.ACTIVE,
    (State.GRANTED, Change.WARN): State.WARNED,
    (State.ACTIVE, Change.WARN): State.WARNED,
    (State.WARNED, Change.EXTEND): State.GRANTED,
    (State.GRANTED, Change.END): State.GRACE,
    (State.ACTIVE, Change.END): State.GRACE,
    (State.WARNED, Change.END): State.GRACE,
    (State.GRACE, Change.FREE): State.RELEASED,
}


@dataclass(frozen=True)
class Lease:
    """Devices `devices` held by user `user_id` (called `user`) until `expires_at` (UTC, aware).

    `shown` is True once a container showed them; `told_at` is when its holder was last told of it. A
    `preemptible` one counts against no quota; since `noticed_at` it ends for somebody who waits. `reason`
    says why it is over; `problem` says what an operator has to look at; `losses` are devices that
    failed under it.
    """

    id: int
    user_id: int
    user: str
    devices: tuple[str, ...]
    state: State
    granted_at: datetime
    expires_at: datetime
    released_at: datetime | None = None
    reason: str | None = None
    problem: str | None = None
    losses: tuple[Loss, ...] = ()
    shown: bool = False
    told_at: datetime | None = None
    preemptible: bool = False
    noticed_at: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether its holder may use its devices."""
        return self.state in LIVE


def after(state: State, change: Change, *, shown: bool = False) -> State | None:
    """Where a change takes a lease; None when it does not concern a lease that stands where this one does.

    `shown`: a container showed its devices.
    """
    target = _STEPS.get((state, change))
    return State.ACTIVE if target and shown and change is Change.EXTEND else target


def choose(devices: Sequence[Device], held: Sequence[Lease], request: DeviceRequest) -> tuple[str, ...]:
    """The ids to grant, lowest node and index first: the same inventory and leases give the same answer.

    `held` are all leases that hold devices, live or in grace. Raises INVALID for a request that
    contradicts itself, NOT_FOUND for an unknown id, CONFLICT for more than there are, and
    NO_CAPACITY, naming who holds what until when, for one that could be met later.
    """
    if request.count < 1 or (request.ids and len(set(request.ids)) != request.count):
        raise PlatformError(
            Code.INVALID, "The number of GPUs must be at least 1 and match the devices that are named."
        )
    known = {device.id: device for device in sorted(devices, key=lambda device: (device.node, device.index))}
    for wanted in request.ids:
        if wanted not in known:
            raise PlatformError(Code.NOT_FOUND, f"There is no GPU {wanted!r}; see: gpuadmin gpu list")
    if request.model is not None:
        wanted = request.model.lower()
        known = {id_: device for id_, device in known.items() if wanted in device.model.lower()}
    if request.count > len(known):
        raise PlatformError(
            Code.CONFLICT,
            f"{request.count} GPUs are wanted and the platform has {len(known)}"
            f"{f' of the model {request.model!r}' if request.model is not None else ''}",
            "see: gpuadmin gpu list",
        )
    taken = {device for lease in held for device in lease.devices}
    candidates = [known[id_] for id_ in request.ids if id_ in known] or list(known.values())
    free = [device.id for device in candidates if device.id not in taken and _sound(device)]
    if len(free) < request.count:
        shortage = _shortage(candidates, held, request, len(free))
        advice = "ask again later, or end a lease with gpuadmin release."
        raise PlatformError(Code.NO_CAPACITY, shortage, advice)
    return tuple(free[: request.count])


def _sound(device: Device) -> bool:
    return device.problem is None and device.drained is None


def _shortage(candidates: Sequence[Device], held: Sequence[Lease], request: DeviceRequest, free: int) -> str:
    """Who holds the candidates until when, and which of them are out of order or drained."""
    names = {device.id: f"GPU {device.index}" for device in candidates}
    reasons = [
        f"{lease.user} holds {_listed(names, lease)} until {_until(lease)}"
        for lease in sorted(held, key=lambda lease: lease.expires_at)
        if any(device in names for device in lease.devices)
    ]
    reasons += [
        f"GPU {device.index} is out of order ({device.problem})" for device in candidates if device.problem
    ]
    reasons += [
        f"GPU {device.index} is drained{f' ({device.drained})' if device.drained else ''}"
        for device in candidates
        if device.drained is not None and device.problem is None
    ]
    wanted = "GPU is" if request.count == 1 else "GPUs are"
    return (
        f"{request.count} {wanted} wanted and {free} of {len(candidates)} can be granted now: "
        f"{'; '.join(reasons)}"
    )


def _listed(names: dict[str, str], lease: Lease) -> str:
    return " and ".join(sorted(names[device] for device in lease.devices if device in names))


def _until(lease: Lease) -> str:
    if lease.state is State.GRACE:
        return "its container has stopped"
    return format_instant(lease.expires_at)
