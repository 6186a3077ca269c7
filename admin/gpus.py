"""`gpuadmin gpu`: the GPUs of this machine and who holds them.

Owns the command lines. Must not know NVML.
"""

from __future__ import annotations

import click

from admin.call import Call, as_json, pass_call
from admin.inventory import look
from admin.output import field, instant, listing, minute
from gateway.units import format_size

COLUMNS = [
    ("GPU", field("index")),
    ("ID", field("id")),
    ("MODEL", field("model")),
    ("MEMORY", lambda record: format_size(record["memory"])),
    ("HELD BY", field("user")),
    ("UNTIL", lambda record: minute(record["expires_at"])),
    ("PROBLEM", field("problem")),
]


@click.group()
def gpu() -> None:
    """Look at GPUs.

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
                "lease": lease and lease.id,
                "user": lease and lease.user,
                "expires_at": instant(lease.expires_at) if lease else None,
            }
        )
    listing(records, COLUMNS, as_json)
