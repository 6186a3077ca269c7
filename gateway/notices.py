"""What a person is told about the end of her lease, and when.

Owns the moments of the warnings and the words of every notice. Must not know the clock, nor how a notice
reaches a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway import quotas
from gateway.devices import Device, in_order
from gateway.leases import Lease
from gateway.units import format_duration, format_instant

WARN_BEFORE = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=10), timedelta(minutes=1))
"""How long before its end the holder of a lease is told of it."""
HOOK = "~/.config/gpu/on-stop"
"""What she may have run before her container is stopped."""
LONGEST_REASON = 500

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Farewell:
    """When a person's container was stopped, and why."""

    at: datetime
    reason: str


@dataclass(frozen=True)
class Unread:
    """What a person is to read at her next terminal: `messages`, oldest first, of which the newest has the
    number `last`, and why her container was stopped, if it was.
    """

    messages: tuple[str, ...] = ()
    last: int = 0
    farewell: Farewell | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, a sentence or two each."""
        return self.messages if self.farewell is None else (*self.messages, stopped(self.farewell))


def due(told_at: datetime, expires_at: datetime, now: datetime) -> timedelta | None:
    """Which warning of the end at `expires_at` is to be given now: how long before the end its moment was.

    `told_at` is when the holder was told last: by the grant, at first, then by each warning. Only moments
    after it count, so an end that was moved away is not warned of at once. Of several that were missed, while
    the gateway was down or because the clock was set, the newest; of an end that has come, none.
    """
    moments = {before: expires_at - before for before in WARN_BEFORE}
    missed = [before for before, moment in moments.items() if told_at < moment <= now < expires_at]
    return min(missed, default=None)


@dataclass(frozen=True)
class News:
    """What the holder of a lease is to be told: `text`; `of_end` when it is about its end."""

    text: str
    of_end: bool


def news(lease: Lease, names: str, now: datetime) -> News | None:
    """What concerns the holder of a lease and she was not told of yet, the most urgent; None for nothing.

    `names` are those of its devices, such as `GPU 0 and GPU 1`.
    """
    if not lease.live:
        return None
    if lease.noticed_at is not None and (lease.told_at is None or lease.told_at < lease.noticed_at):
        return News(_preempted(lease, names), of_end=True)
    if lease.told_at is None:
        return News(_granted(lease, names), of_end=False)
    if due(lease.told_at, lease.expires_at, now) is not None:
        return News(warning(lease, names, now), of_end=True)
    return None


def names(inventory: Mapping[str, Device], devices: Sequence[str]) -> str:
    """Those of devices by their ids, such as `GPU 0 and GPU 1`; of unknown ones how many they are."""
    known = in_order(inventory[id_] for id_ in devices if id_ in inventory)
    return " and ".join(device.name for device in known) or quotas.gpus(len(devices))


def warning(lease: Lease, names: str, now: datetime) -> str:
    """What a warning says. `names` are those of its devices, such as `GPU 0 and GPU 1`."""
    container = "; your container is stopped then" if lease.shown else ""
    return (
        f"Your lease {lease.id} of {names} ends in {_left(lease.expires_at - now)}, at "
        f"{format_instant(lease.expires_at)}{container}. To keep it longer: gpu extend {lease.id}"
    )


def reported(lease: Lease, name: str, found: str) -> str:
    """What a holder is told of an error that the GPU `name` of hers reported, and that leaves it in use."""
    return (
        f"{name} of your lease {lease.id} reported {found}. If a program of yours failed, this is why; the "
        "GPU stays in use."
    )


def stopping(reason: str, until: datetime) -> str:
    """What is said, and greeted with, while her programs have time to save their work."""
    return (
        f"{_whole(reason)} Your container is stopped when the programs that save their work and {HOOK} have "
        f"ended, at {format_instant(until)} at the latest."
    )


def stopped(farewell: Farewell) -> str:
    """What the next greeting says: what was ended, when and why. What the reason advises to do is done."""
    reason = _whole(farewell.reason.partition(";")[0])
    return f"Your container was stopped at {format_instant(farewell.at)}: {reason}"


def _granted(lease: Lease, names: str) -> str:
    return f"You hold {names} now, until {format_instant(lease.expires_at)} (lease {lease.id})."


def _preempted(lease: Lease, names: str) -> str:
    return (
        f"Your preemptible lease {lease.id} of {names} ends at {format_instant(lease.expires_at)}: somebody "
        "within her quota waits for it."
    )


def _left(left: timedelta) -> str:
    """The time left, as somebody says it who is a moment late."""
    return format_duration(-(-left // _MINUTE) * _MINUTE)


def _whole(reason: str) -> str:
    """A reason as one sentence of a bounded length."""
    return reason[:LONGEST_REASON].rstrip(". ") + "."
