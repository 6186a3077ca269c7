"""A lease: named devices held by one workspace for a time.

    queued -> granted -> active -> warned -> grace -> released

`queued`: asked for, and nothing is held. `granted`: its devices are held, and the next container shows
them; `active`: a container showed them. `warned`: its holder was told that its end is near. `grace`: it
is over, and its container may still run. `released`: no container shows its devices any more; only then
are they free. `_STEPS` has every way from one to another.

Owns the values and their changes. Must not know SQL, containers or the clock, nor choose a device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from fractions import Fraction

from gateway.losses import Loss
from gateway.scheduling.fairness import weigh


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
    failed under it. With `profile` its devices are MIG slices of that kind.
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
    profile: str | None = None

    @property
    def gpus(self) -> Fraction:
        """How many GPUs it counts as: a slice is some sevenths of one."""
        return len(self.devices) * weigh(self.profile)

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
