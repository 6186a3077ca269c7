"""What people read of what they hold and do not use: on terminals, in greetings, from `gpu` and gpuadmin.

Owns the words. Must not know when anything is idle, nor how a text reaches anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from gateway.idleness import Act, Seen, Step
from gateway.leases import Lease
from gateway.units import format_duration, format_instant, iso

_KEEP = "or keep them a while with: gpu extend"


def reminder(act: Act, gpus: bool, window: timedelta, until: datetime) -> str:
    """The notice, and the warning after it, that her container is stopped `until` then."""
    what = "GPUs have" if gpus else "workspace has"
    if act is Act.WARN:
        first = f"Your {what} still nothing to do: your container is stopped at {format_instant(until)}."
    else:
        first = (
            f"Your {what} had nothing to do for {format_duration(window)}. If that goes on, your container "
            f"is stopped at {format_instant(until)}."
        )
    then = f"Use them, give them back with gpu release, {_KEEP}" if gpus else "Your files stay."
    return f"{first} {then}"


def why_stopped(gpus: bool, window: timedelta, held_until: datetime | None = None) -> str:
    """Why a container is stopped, for who is in it and for the next greeting."""
    what = "GPUs" if gpus else "workspace"
    held = "" if held_until is None else f" and are kept for you until {format_instant(held_until)}"
    return f"Your {what} had nothing to do for {format_duration(window)}{held}."


def why_released(window: timedelta, hold: timedelta) -> str:
    """Why a lease has ended."""
    lengths = format_duration(window), format_duration(hold)
    return "Its GPUs had nothing to do for {}, and nobody came for them within {}.".format(*lengths)


def called_off() -> str:
    """She came, or held it off, while her programs saved their work."""
    return "Your container is not stopped now."


def kept(until: datetime) -> str:
    """What `gpu extend` says of what it held off."""
    return f"What you hold had nothing to do; your container stays until {format_instant(until)} at least."


def record(seen: Seen) -> dict[str, str | int | bool]:
    """Where her workspace stands, for programs: `until` is when it goes on to be stopped, or released."""
    return {
        "kind": "idle",
        "state": seen.idle.step.value,
        "gpus": seen.idle.gpus,
        "until": iso(seen.until),
        "extensions": seen.idle.extensions,
        "text": standing(seen),
    }


def standing(seen: Seen) -> str:
    """The same for her."""
    until = format_instant(seen.until)
    if seen.idle.step is Step.HELD:
        return (
            f"Your container was stopped, for it was idle; log in before {until}, or your GPUs are released."
        )
    what = "GPUs have" if seen.idle.gpus else "workspace has"
    then = f" Use them, {_KEEP}" if seen.idle.gpus else ""
    return f"Your {what} nothing to do: your container is stopped at {until}.{then}"


def of_lease(lease: Lease | None, idlers: Mapping[int, Seen]) -> str | None:
    """What follows for a lease, by who is idle; None for one in use, and for one that no container showed."""
    seen = None if lease is None or not (lease.live and lease.shown) else idlers.get(lease.user_id)
    return None if seen is None or not seen.idle.gpus else standing_of(seen)


def standing_of(seen: Seen) -> str:
    """The same for operators, behind a name or a lease."""
    until = format_instant(seen.until)
    if seen.idle.step is Step.HELD:
        return f"idle: its container was stopped, and its GPUs are released at {until}"
    return f"idle: its container is stopped at {until}, unless something works there"
