"""`gpuadmin report`: what people held.

Owns the command line. Must not count anything.
"""

from __future__ import annotations

import click

from admin.call import Call, as_json, pass_call
from admin.output import field, instant, listing
from gateway import usage
from gateway.units import parse_duration

COLUMNS = [
    ("USER", field("user")),
    ("GPU-HOURS", lambda record: usage.hours(record["gpu_seconds"])),
    ("LEASES", field("leases")),
]


@click.command()
@click.option("--since", "length", default="7d", show_default=True, metavar="DURATION", help="How far back.")
@as_json
@pass_call
def report(call: Call, length: str, as_json: bool) -> None:
    """Show the GPU-hours that each user held; a GPU counts from its grant until it is free, used or not.

    \b
    Example:
      gpuadmin report --since 30d
    """
    since = call.now - parse_duration(length)
    records = [
        {
            "user": held.user,
            "user_id": held.user_id,
            "gpu_seconds": held.gpu_seconds,
            "leases": held.leases,
            "since": instant(since),
        }
        for held in usage.by_user(call.store.leases(since), since, call.now)
    ]
    listing(records, COLUMNS, as_json)
