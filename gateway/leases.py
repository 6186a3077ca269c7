"""A lease: named devices held by one workspace for a time.

    live -> ending -> released

`live` from the grant; `ending` once it has expired or somebody ended it, while its container may
still run; `released` when no container holds its devices any more. Only then are they free.

Owns the values and the choice of devices. Must not know SQL, containers or the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class State(Enum):
    """Where a lease stands; drawn at the top of this module."""

    LIVE = "live"
    ENDING = "ending"
    RELEASED = "released"


@dataclass(frozen=True)
class Lease:
    """Devices `devices` held by user `user_id` (called `user`) until `expires_at` (UTC, aware).

    `reason` says why it is ending; `problem` says what an operator has to look at.
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
