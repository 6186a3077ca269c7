"""`gpuadmin session`: who is connected, and ending that.

Owns the command lines. Must not know SSH.
"""

from __future__ import annotations

from typing import Any

import click

from admin.acting import broker_runs, carry_out
from admin.call import Call, as_json, pass_call
from admin.output import field, instant, listing, minute, say
from gateway.errors import Code, PlatformError
from gateway.store import LiveConnection

COLUMNS = [
    ("CONNECTION", field("id")),
    ("USER", field("user")),
    ("FROM", field("peer")),
    ("SINCE", lambda record: minute(record["started_at"])),
    (
        "SESSIONS",
        lambda record: [f"{each['id']} {each['command'] or each['kind']}" for each in record["sessions"]],
    ),
]


@click.group()
def session() -> None:
    """List and end sessions.

    \b
    Example:
      gpuadmin session list
    """


@session.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List open connections, each with its sessions.

    \b
    Example:
      gpuadmin session list --json
    """
    listing([_record(each) for each in open_connections(call)], COLUMNS, as_json)


@session.command()
@click.argument("id_", metavar="ID")
@pass_call
def kill(call: Call, id_: str) -> None:
    """End one session or forward, or a whole connection with all of them.

    \b
    Example:
      gpuadmin session kill 3f2a91bc
    """
    connections = open_connections(call)
    known = {each.id for each in connections} | {each.id for one in connections for each in one.sessions}
    if id_ not in known:
        raise PlatformError(
            Code.NOT_FOUND, f"There is no session or connection {id_!r}; see: gpuadmin session list"
        )
    wanted = call.store.want("kill", id_, call.actor, call.now)
    carry_out(call, wanted, f"{id_} is to be ended")
    say(f"Ended {id_}.")


def open_connections(call: Call) -> list[LiveConnection]:
    """What is connected now: nothing while no broker runs, whatever one that was killed left in the table."""
    return call.store.connections() if broker_runs(call.config.state) else []


def _record(connection: LiveConnection) -> dict[str, Any]:
    return {
        "id": connection.id,
        "user": connection.user,
        "peer": connection.peer,
        "fingerprint": connection.fingerprint,
        "started_at": instant(connection.started_at),
        "sessions": [
            {
                "id": each.id,
                "kind": each.kind,
                "command": each.command,
                "started_at": instant(each.started_at),
            }
            for each in connection.sessions
        ],
    }
