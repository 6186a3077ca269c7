"""`gpuadmin allocate`, `extend`, `release` and `leases`: who holds which GPU until when.

Owns the command lines. Must not choose a device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import click

from admin.acting import carry_out
from admin.call import Call, as_json, pass_call
from admin.inventory import look_when_unknown
from admin.output import Record, field, instant, listing, minute, say
from admin.queue import begins
from gateway.devices import Device, DeviceRequest, in_order, parse_profile
from gateway.errors import Code, PlatformError
from gateway.idleness import Seen
from gateway.leases import Lease, State
from gateway.names import parse_user_name
from gateway.quotas import gpus as gpus_in_words
from gateway.reminders import of_lease
from gateway.scheduling.waiting import Request
from gateway.store import Waiting
from gateway.units import format_duration, format_instant, parse_duration

COLUMNS = [
    ("LEASE", field("id")),
    ("USER", field("user")),
    ("STATE", field("state")),
    ("GPUS", lambda record: record["labels"] or _wanted(record)),
    ("UNTIL", lambda record: minute(record["expires_at"])),
    ("LEFT", lambda record: "" if record["remaining"] is None else _left(record["remaining"])),
    ("PROBLEM", lambda record: record["problem"] or record["idle"]),
]


@click.command()
@click.argument("user")
@click.option("--gpus", type=click.IntRange(1, 1024), help="How many.")
@click.option("--for", "length", metavar="DURATION", help="How long, such as 30m, 8h or 7d; 24h if left out.")
@click.option("--device", "devices", multiple=True, metavar="ID", help="Exactly this GPU; may be repeated.")
@click.option("--model", metavar="TEXT", help="GPUs whose model's name contains this, such as H100.")
@click.option("--mig", metavar="PROFILE", help="One MIG slice of this profile, such as 1g.10gb, and no GPU.")
@click.option("--queue", is_flag=True, help="Wait in the queue when they cannot be granted now.")
@click.option(
    "--preemptible",
    is_flag=True,
    help="Above any quota; ends with notice when somebody within hers waits. Queues as --queue does.",
)
@click.option("--now", is_flag=True, help="End what runs in her container, so that the next login has them.")
@pass_call
def allocate(
    call: Call,
    user: str,
    gpus: int | None,
    length: str | None,
    devices: tuple[str, ...],
    model: str | None,
    mig: str | None,
    queue: bool,
    preemptible: bool,
    now: bool,
) -> None:
    """Grant GPUs to a user, from now on; her container is made anew to show them.

    While somebody is in it, or something of hers runs there, she is told, and it restarts ten minutes later,
    which she can put off for up to two hours; --now ends what runs. Nobody who waits in the queue is passed,
    unless her GPUs come no later by that.

    \b
    Example:
      gpuadmin allocate alice --gpus 1 --for 8h
      gpuadmin allocate alice --gpus 4 --model H100 --for 2d --queue
      gpuadmin allocate alice --gpus 1 --now
      gpuadmin allocate alice --mig 1g.10gb
    """
    request = device_request(gpus, devices, model, mig)
    name = parse_user_name(user)
    duration = None if length is None else parse_duration(length)
    look_when_unknown(call)
    lease: Lease | Waiting
    if queue or preemptible:
        lease = call.store.queue(name, request, duration, call.actor, call.now, preemptible=preemptible)
    else:
        lease = call.store.grant(name, request, duration, call.actor, call.now)
    if isinstance(lease, Waiting):
        wanted = gpus_in_words(request.count, lease.request.profile)
        return say(
            f"Request {lease.request.id}: {user} waits for {wanted} as number "
            f"{lease.standing.place} in the queue; {begins(lease.standing)}. See: gpuadmin why {user}"
        )
    held = gpus_in_words(len(lease.devices), lease.profile)
    say(
        f"Lease {lease.id}: {user} holds {held} ({', '.join(lease.devices)}) "
        f"until {format_instant(lease.expires_at)}."
    )
    if now:
        anew = call.store.recreate_workspace(name, call.actor, call.now, at_once=True)
        carry_out(call, anew, f"Lease {lease.id} stands and the container of {user} is to be made anew")


@click.command()
@click.argument("target", metavar="USER|LEASE")
@click.option("--now", is_flag=True, help="Give her programs no time to save their work.")
@pass_call
def release(call: Call, target: str, now: bool) -> None:
    """End all that a user holds or waits for, or one lease or request by its number; a container that shows
    the GPUs is stopped, once her programs have saved their work.

    \b
    Example:
      gpuadmin release alice
      gpuadmin release 17 --now
    """
    if target.isascii() and target.isdigit() and len(target) < 19:
        wanted = call.store.end_lease(int(target), call.actor, call.now, at_once=now)
    else:
        name = parse_user_name(target)
        wanted = call.store.end_user_leases(name, call.actor, call.now, at_once=now)
    carry_out(call, wanted, f"{target} is to be released")
    say(f"Released {target}.")


@click.command()
@click.argument("number", metavar="LEASE", type=click.IntRange(1, 2**63 - 1))
@click.option(
    "--for", "length", metavar="DURATION", help="How much longer, such as 8h; her quota `lease` if left out."
)
@pass_call
def extend(call: Call, number: int, length: str | None) -> None:
    """Move the end of a lease, within its user's quota of GPU-hours; nothing in her container changes.

    \b
    Example:
      gpuadmin extend 17 --for 8h
    """
    duration = None if length is None else parse_duration(length)
    lease, before = call.store.extend(number, duration, call.actor, call.now)
    say(
        f"Lease {number} of {lease.user} ends {format_instant(lease.expires_at)}, "
        f"not {format_instant(before)}."
    )


@click.command()
@as_json
@pass_call
def leases(call: Call, as_json: bool) -> None:
    """List the leases that hold GPUs now, and below them the queue, who is next first.

    \b
    Example:
      gpuadmin leases --json
    """
    known = {device.id: device for device in call.store.devices()}
    idlers = call.store.idlers()
    records = [
        _record(lease, call, [known[id_] for id_ in lease.devices], idlers)
        for lease in call.store.held_leases()
    ]
    records += [_queued(waiting.request) for waiting in call.store.waiting(call.now)]
    listing(records, COLUMNS, as_json)


def device_request(
    gpus: int | None, devices: tuple[str, ...], model: str | None, mig: str | None
) -> DeviceRequest:
    """What the options of a command ask for. Raises INVALID when they do not say it."""
    if gpus is None and not devices and mig is None:
        raise PlatformError(Code.INVALID, "Say how many with --gpus N, or which with --device ID.")
    count = gpus if gpus is not None else len(devices) or 1
    return DeviceRequest(count, devices, model, None if mig is None else parse_profile(mig))


def _wanted(record: Record) -> str:
    profile = record["profile"]
    return f"{record['gpus']} wanted" if profile is None else f"{record['gpus']} {profile} wanted"


def _left(seconds: int) -> str:
    return format_duration(timedelta(seconds=seconds))


def _queued(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "user": request.user,
        "devices": [],
        "indexes": [],
        "labels": [],
        "profile": request.profile,
        "gpus": request.count,
        "state": State.QUEUED.value,
        "preemptible": request.preemptible,
        "asked_at": instant(request.asked_at),
        "granted_at": None,
        "expires_at": None,
        "remaining": None,
        "reason": None,
        "problem": None,
        "idle": None,
    }


def _record(lease: Lease, call: Call, held: Sequence[Device], idlers: Mapping[int, Seen]) -> dict[str, Any]:
    return {
        "id": lease.id,
        "user": lease.user,
        "devices": list(lease.devices),
        "indexes": [device.index for device in in_order(held)],
        "labels": [device.label for device in in_order(held)],
        "profile": lease.profile,
        "gpus": len(lease.devices),
        "state": lease.state.value,
        "preemptible": lease.preemptible,
        "granted_at": instant(lease.granted_at),
        "expires_at": instant(lease.expires_at),
        "remaining": max(0, int((lease.expires_at - call.now).total_seconds())),
        "reason": lease.reason,
        "problem": lease.problem,
        "idle": of_lease(lease, idlers),
    }
