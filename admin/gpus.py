"""`gpuadmin gpu`: the GPUs of this machine and who holds them.

Owns the command lines. Must not know NVML.
"""

from __future__ import annotations

import click

from admin.call import Call, as_json, pass_call
from admin.inventory import look, look_when_unknown
from admin.output import field, instant, listing, minute, say
from gateway.units import format_instant, format_size

COLUMNS = [
    ("GPU", field("index")),
    ("ID", field("id")),
    ("MODEL", field("model")),
    ("MEMORY", lambda record: format_size(record["memory"])),
    ("HELD BY", field("user")),
    ("UNTIL", lambda record: minute(record["expires_at"])),
    ("DRAINED", lambda record: None if record["drained"] is None else record["drained"] or "yes"),
    ("PROBLEM", field("problem")),
]


@click.group()
def gpu() -> None:
    """Look at GPUs, and take one out of use.

    \b
    Example:
      gpuadmin gpu list
    """


@gpu.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List the GPUs, who holds each and until when.

    \b
    Example:
      gpuadmin gpu list --json
    """
    look(call)
    holders = {device: lease for lease in call.store.held_leases() for device in lease.devices}
    records = []
    for device in call.store.devices():
        lease = holders.get(device.id)
        records.append(
            {
                "id": device.id,
                "index": device.index,
                "model": device.model,
                "memory": device.memory,
                "node": device.node,
                "problem": device.problem,
                "drained": device.drained,
                "lease": lease and lease.id,
                "user": lease and lease.user,
                "expires_at": instant(lease.expires_at) if lease else None,
            }
        )
    listing(records, COLUMNS, as_json)


@gpu.command()
@click.argument("id_", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="Why; shown in gpu list and to who asks for GPUs.")
@pass_call
def drain(call: Call, id_: str, reason: str) -> None:
    """Grant a GPU to nobody from now on; who holds it keeps it until her lease ends.

    \b
    Example:
      gpuadmin gpu drain GPU-7f6d0f5e-1c4a-4a0e-8a53-0c5b9bb8f0a1 --reason "fan"
    """
    look_when_unknown(call)
    changed = call.store.drain(id_, reason, call.actor, call.now)
    holder = next((lease for lease in call.store.held_leases() if id_ in lease.devices), None)
    until = f"; {holder.user} holds it until {format_instant(holder.expires_at)}" if holder else ""
    say(f"{'Drained' if changed else 'It is drained already:'} {id_}{until}.")


@gpu.command()
@click.argument("id_", metavar="ID")
@pass_call
def undrain(call: Call, id_: str) -> None:
    """Let a drained GPU be granted again.

    \b
    Example:
      gpuadmin gpu undrain GPU-7f6d0f5e-1c4a-4a0e-8a53-0c5b9bb8f0a1
    """
    changed = call.store.drain(id_, None, call.actor, call.now)
    say(f"{id_} can be granted again." if changed else f"{id_} was not drained.")
