"""`gpuadmin workspace`: people's workspaces and the containers that they run in.

Owns the command lines. Must not know the container engine.
"""

from __future__ import annotations

from typing import Any

import click

from admin.acting import carry_out, running
from admin.call import Call, as_json, pass_call
from admin.output import field, listing, say
from admin.sessions import open_connections
from gateway.errors import Code, PlatformError
from gateway.names import parse_user_name
from gateway.store import LiveConnection
from gateway.units import format_size, iso
from gateway.users import User
from gateway.workspaces import BROKEN

COLUMNS = [
    ("USER", field("user")),
    ("UID", field("uid")),
    ("RUNS", field("running")),
    ("IMAGE", field("image")),
    ("CONNECTIONS", field("connections")),
    ("GPUS", lambda record: len(record["devices"])),
    ("CPUS", lambda record: f"{record['cpus']:g}"),
    ("MEMORY", lambda record: format_size(record["memory"])),
    ("DISK", lambda record: _disk(record["disk_used"], record["disk"])),
]


SAVING = "; her programs may be saving their work, for which --now does not wait"
at_once = click.option("--now", is_flag=True, help="Give her programs no time to save their work.")


@click.group()
def workspace() -> None:
    """List, start and stop workspaces, make their containers anew, hand files over, remove.

    \b
    Example:
      gpuadmin workspace start alice --rescue
    """


@workspace.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List workspaces: whether the container runs, and what the next one gets.

    \b
    Example:
      gpuadmin workspace list --json
    """
    connections, runs = open_connections(call), running(call)
    listing([_record(call, user, connections, runs) for user in call.store.users()], COLUMNS, as_json)


@workspace.command()
@click.argument("user")
@as_json
@pass_call
def show(call: Call, user: str, as_json: bool) -> None:
    """Show one workspace.

    \b
    Example:
      gpuadmin workspace show alice
    """
    owner = call.store.user(parse_user_name(user))
    record = _record(call, owner, open_connections(call), running(call))
    pairs = [{"field": name, "value": value} for name, value in record.items()]
    listing([record] if as_json else pairs, [("FIELD", field("field")), ("VALUE", field("value"))], as_json)


@workspace.command()
@click.argument("user")
@click.option("--rescue", is_flag=True, help="With a clean home; hers is in it as ~/broken.")
@pass_call
def start(call: Call, user: str, rescue: bool) -> None:
    """Start a user's container without her.

    With --rescue for somebody whose own files lock her out: her sessions end, and her container gets a
    clean home with hers in it as ~/broken. That ends with the next `workspace recreate`, or `workspace
    start` without --rescue. What she then left in the clean home, ~/broken excepted, is deleted by the
    next rescue.

    \b
    Example:
      gpuadmin workspace start alice --rescue
    """
    wanted = call.store.start_workspace(parse_user_name(user), rescue, call.actor, call.now)
    carry_out(call, wanted, f"The container of {user} is to be started")
    home = f" with a clean home; her own is in it as ~/{BROKEN}" if rescue else ""
    say(f"The container of {user} runs{home}.")


@workspace.command()
@click.argument("user")
@at_once
@pass_call
def stop(call: Call, user: str, now: bool) -> None:
    """End a user's sessions and stop her container, once her programs have saved their work.

    Her files stay, and her next login starts it.

    \b
    Example:
      gpuadmin workspace stop alice
    """
    wanted = call.store.stop_workspace(parse_user_name(user), call.actor, call.now, at_once=now)
    carry_out(call, wanted, f"The container of {user} is to be stopped", SAVING)
    say(f"Stopped the container of {user}; the next login starts it.")


@workspace.command()
@click.argument("user")
@at_once
@pass_call
def recreate(call: Call, user: str, now: bool) -> None:
    """End a user's sessions and remove her container, once her programs have saved their work.

    Her files stay, and her next login makes a new one.

    \b
    Example:
      gpuadmin workspace recreate alice
    """
    wanted = call.store.recreate_workspace(parse_user_name(user), call.actor, call.now, at_once=now)
    carry_out(call, wanted, f"The container of {user} is to be made anew", SAVING)
    say(f"Removed the container of {user}; the next login makes a new one.")


@workspace.command("hand-over")
@click.argument("giver", metavar="FROM")
@click.argument("taker", metavar="TO")
@pass_call
def hand_over(call: Call, giver: str, taker: str) -> None:
    """Give the files of a user, also of a removed one, to another.

    They are moved, not copied, to ~/from-NAME of TO (from-NAME-2 when she has that), who owns them from then
    on; into /workspace when her home is the site's own. A home of the site's that FROM has is not touched.
    FROM's container must not run: stop it before, which lets her programs save their work.

    \b
    Example:
      gpuadmin workspace hand-over alice bob
    """
    wanted = call.store.hand_over(parse_user_name(giver), parse_user_name(taker), call.actor, call.now)
    carry_out(call, wanted, f"The files of {giver} are to be {taker}'s")
    say(f"The files of {giver} are {taker}'s now; she has them as from-{giver}.")


@workspace.command()
@click.argument("user")
@at_once
@pass_call
def remove(call: Call, user: str, now: bool) -> None:
    """Remove a user's container, once her programs have saved their work, and put her files away.

    They are deleted after 30 days. She stays a user, and her next login makes an empty workspace. A home of
    the site's own is not touched.

    \b
    Example:
      gpuadmin workspace remove alice
    """
    wanted = call.store.remove_workspace(parse_user_name(user), call.actor, call.now, at_once=now)
    carry_out(call, wanted, f"The workspace of {user} is to be removed", SAVING)
    say(f"Removed the workspace of {user}; the files are kept for 30 days.")


def _record(
    call: Call, user: User, connections: list[LiveConnection], runs: set[int] | None
) -> dict[str, Any]:
    try:
        workspace = call.store.workspace(user.id)
    except PlatformError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        workspace = None
    limits, disk = call.store.limits(user.id), call.store.disk(user.id)
    restart = call.store.restart_of(user.id)
    return {
        "user": user.name,
        "uid": user.uid,
        "home": user.home,
        "image": workspace and workspace.image.ref,
        "running": None if runs is None else user.id in runs,
        "rescue": call.store.rescued(user.id),
        "restarts_at": restart and iso(restart.due_at),
        "devices": list(workspace.devices) if workspace else [],
        "connections": sum(connection.user_id == user.id for connection in connections),
        "cpus": limits.cpus,
        "memory": limits.memory,
        "shm": limits.shm,
        "pids": limits.pids,
        "disk": disk.limit,
        "disk_used": disk.used,
        "disk_seen_at": disk.seen_at and iso(disk.seen_at),
        "disk_enforced": disk.held,
    }


def _disk(used: int | None, limit: int) -> str:
    """`12G of 100G`; a question mark for what nobody has looked at yet."""
    return f"{'?' if used is None else format_size(used)} of {format_size(limit)}"
