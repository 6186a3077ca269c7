"""`gpuadmin workspace`: people's workspaces and the containers that they run in.

Owns the command lines. Must not know the container engine.
"""

from __future__ import annotations

from typing import Any

import click

from admin.acting import carry_out
from admin.call import Call, as_json, pass_call
from admin.output import field, listing, say
from admin.sessions import open_connections
from gateway.errors import Code, PlatformError
from gateway.names import parse_user_name
from gateway.ports import LiveConnection
from gateway.units import format_size
from gateway.users import User

COLUMNS = [
    ("USER", field("user")),
    ("UID", field("uid")),
    ("IMAGE", field("image")),
    ("CONNECTIONS", field("connections")),
    ("GPUS", lambda record: len(record["devices"])),
    ("CPUS", lambda record: f"{record['cpus']:g}"),
    ("MEMORY", lambda record: format_size(record["memory"])),
]


@click.group()
def workspace() -> None:
    """List workspaces, and make their containers anew.

    \b
    Example:
      gpuadmin workspace recreate alice
    """


@workspace.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List workspaces with what their next container gets.

    \b
    Example:
      gpuadmin workspace list --json
    """
    connections = open_connections(call)
    listing([_record(call, user, connections) for user in call.store.users()], COLUMNS, as_json)


@workspace.command()
@click.argument("user")
@pass_call
def recreate(call: Call, user: str) -> None:
    """End a user's sessions and remove her container; her files stay, and her next login makes a new one.

    \b
    Example:
      gpuadmin workspace recreate alice
    """
    owner = call.store.user(parse_user_name(user))
    wanted = call.store.want("recreate", str(owner.id), call.actor, call.now)
    carry_out(call, wanted, f"The container of {user} is to be made anew")
    say(f"Removed the container of {user}; the next login makes a new one.")


def _record(call: Call, user: User, connections: list[LiveConnection]) -> dict[str, Any]:
    try:
        workspace = call.store.workspace(user.id)
    except PlatformError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        workspace = None
    limits = call.store.limits(user.id)
    return {
        "user": user.name,
        "uid": user.uid,
        "home": user.home,
        "image": workspace and workspace.image.ref,
        "devices": list(workspace.devices) if workspace else [],
        "connections": sum(connection.user_id == user.id for connection in connections),
        "cpus": limits.cpus,
        "memory": limits.memory,
        "shm": limits.shm,
        "pids": limits.pids,
    }
