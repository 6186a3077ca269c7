"""A changed set of GPUs: when the container of who holds them is made anew, and how far she may put that off.

What is done about a container that runs, one row a look (`step`)::

    shows what she holds   anybody in   told of this set   the moment has come
    yes                    -            -                  -                    KEEP
    no                     no           -                  -                    RENEW at once
    no                     yes          no                 -                    TELL her when
    no                     yes          yes                no                   WAIT
    no                     yes          yes                yes                  RESTART

Owns these decisions and their words, pure. Must not know SQL, containers or the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from gateway.errors import Code, PlatformError
from gateway.leases import Lease, State
from gateway.units import format_instant

NOTICE = timedelta(minutes=10)
"""How long before the restart of a container that somebody is in she is told of it."""
LONGEST = timedelta(hours=2)
"""How long after that she can put it off, all in all."""


class Step(Enum):
    """What is done now; drawn at the top of this module."""

    KEEP = "keep"
    RENEW = "renew"
    TELL = "tell"
    WAIT = "wait"
    RESTART = "restart"


@dataclass(frozen=True)
class Restart:
    """User `user_id` was told at `told_at` that her container restarts at `due_at`, to show `devices`.

    Every further change until then is shown by the same restart.
    """

    user_id: int
    devices: tuple[str, ...]
    told_at: datetime
    due_at: datetime

    @property
    def latest(self) -> datetime:
        """The last moment to which she can put it off."""
        return self.told_at + LONGEST


def wanted(leases: Iterable[Lease], shown: Collection[str]) -> tuple[str, ...] | None:
    """The devices that a container is to show, sorted; None when it is about to be stopped anyway.

    `leases` are all that its user holds. One that is over, and that the container shows, stops it.
    """
    mine = list(leases)
    if any(lease.state is State.GRACE and set(lease.devices) & set(shown) for lease in mine):
        return None
    return tuple(sorted({device for lease in mine if lease.live for device in lease.devices}))


def step(*, differs: bool, occupied: bool, restart: Restart | None, now: datetime) -> Step:
    """What is done about a container. `restart` is what she was told of the devices that it is to show."""
    match differs, occupied, restart is not None, restart is not None and restart.due_at <= now:
        case False, _, _, _:
            return Step.KEEP
        case True, False, _, _:
            return Step.RENEW
        case True, True, False, _:
            return Step.TELL
        case True, True, True, False:
            return Step.WAIT
        case _:
            return Step.RESTART


def first(user_id: int, devices: tuple[str, ...], before: Restart | None, now: datetime) -> Restart:
    """What she is to be told of these devices; `before`: what she was told of others."""
    if before is None:
        return Restart(user_id, devices, now, now + NOTICE)
    return replace(before, devices=devices)


def put_off(restart: Restart, length: timedelta | None, now: datetime) -> Restart:
    """The same restart `length` later, or as late as may be. Raises CONFLICT when it cannot be."""
    if restart.due_at <= now:
        raise PlatformError(Code.CONFLICT, "Your container is being restarted already; log in again after it")
    due_at = restart.latest if length is None else restart.due_at + length
    if restart.due_at >= restart.latest or due_at > restart.latest:
        raise PlatformError(
            Code.CONFLICT,
            f"Your container restarts {format_instant(restart.due_at)} and can be put off until "
            f"{format_instant(restart.latest)}, no later",
        )
    return replace(restart, due_at=due_at)


def hastened(restart: Restart, now: datetime) -> Restart:
    """The same restart at once."""
    return replace(restart, due_at=min(restart.due_at, now))


def coming(restart: Restart, names: str) -> str:
    """What is said of a restart to come. `names` are those of the devices, such as `GPU 0 and GPU 1`."""
    return (
        f"Your container restarts at {format_instant(restart.due_at)} to show {names}; programs can save "
        "their work first. At once: gpu apply. Not yet: gpu later"
    )


def reason(names: str) -> str:
    """Why a container was stopped, for who was in it."""
    return f"A new container is made to show {names}; log in again."
