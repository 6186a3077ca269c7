"""`gpuadmin reserve`: GPUs kept for somebody from a moment on.

Owns the command lines. Must not choose a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from admin.call import Call, as_json, pass_call
from admin.inventory import look_when_unknown
from admin.leases import device_request
from admin.output import Record, field, instant, listing, minute, say
from gateway.devices import Device, in_order
from gateway.names import parse_user_name
from gateway.quotas import gpus as gpus_in_words
from gateway.scheduling.waiting import Reservation
from gateway.units import format_instant, parse_duration, parse_instant

COLUMNS = [
    ("RESERVATION", field("id")),
    ("USER", field("user")),
    ("GPUS", field("labels")),
    ("FROM", lambda record: minute(record["begins_at"])),
    ("UNTIL", lambda record: minute(record["ends_at"])),
]


@click.group()
def reserve() -> None:
    """Keep GPUs for somebody from a moment on; a lease of them begins then by itself.

    \b
    Example:
      gpuadmin reserve list
    """


@reserve.command()
@click.argument("user")
@click.option("--gpus", type=click.IntRange(1, 1024), help="How many.")
@click.option(
    "--from", "begin", required=True, metavar="MOMENT", help="When, in UTC, such as 2026-12-01T09:00."
)
@click.option("--for", "length", required=True, metavar="DURATION", help="How long, such as 8h or 7d.")
@click.option("--device", "devices", multiple=True, metavar="ID", help="Exactly this GPU; may be repeated.")
@click.option("--model", metavar="TEXT", help="GPUs whose model's name contains this, such as H100.")
@click.option("--mig", metavar="PROFILE", help="One MIG slice of this profile, such as 1g.10gb, and no GPU.")
@pass_call
def add(
    call: Call,
    user: str,
    gpus: int | None,
    begin: str,
    length: str,
    devices: tuple[str, ...],
    model: str | None,
    mig: str | None,
) -> None:
    """Keep GPUs for a user: nobody is granted them past that moment, nor may keep them longer.

    \b
    Example:
      gpuadmin reserve add alice --gpus 2 --from 2026-12-01T09:00 --for 8h
    """
    request = device_request(gpus, devices, model, mig)
    name, at, duration = parse_user_name(user), parse_instant(begin), parse_duration(length)
    look_when_unknown(call)
    made = call.store.reserve(name, request, at, duration, call.actor, call.now)
    say(
        f"Reservation {made.id}: {name} has {gpus_in_words(len(made.devices))} ({', '.join(made.devices)}) "
        f"from {format_instant(made.begin)} until {format_instant(made.end)}."
    )


@reserve.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List the reservations that are not over.

    \b
    Example:
      gpuadmin reserve list --json
    """
    known = {device.id: device for device in call.store.devices()}
    listing(
        [_record(each, [known[id_] for id_ in each.devices]) for each in call.store.reservations(call.now)],
        COLUMNS,
        as_json,
    )


@reserve.command()
@click.argument("number", metavar="RESERVATION", type=click.IntRange(1, 2**63 - 1))
@pass_call
def cancel(call: Call, number: int) -> None:
    """Keep these GPUs no longer; a lease that has begun by it stays.

    \b
    Example:
      gpuadmin reserve cancel 3
    """
    found = call.store.cancel_reservation(number, call.actor, call.now)
    say(f"Cancelled reservation {number} of {found.user}.")


def _record(each: Reservation, kept: Sequence[Device]) -> Record:
    return {
        "id": each.id,
        "user": each.user,
        "devices": list(each.devices),
        "indexes": [device.index for device in in_order(kept)],
        "labels": [device.label for device in in_order(kept)],
        "begins_at": instant(each.begin),
        "ends_at": instant(each.end),
    }
