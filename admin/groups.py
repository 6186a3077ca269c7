"""`gpuadmin group`: people who share quotas.

Owns the command lines. Must not know what a group gives.
"""

from __future__ import annotations

import click

from admin.call import Call, as_json, pass_call
from admin.factors import group_totp
from admin.output import field, instant, listing, minute, say
from gateway.names import parse_group_name, parse_user_name
from gateway.quotas import KEYS

COLUMNS = [
    ("GROUP", field("name")),
    ("MEMBERS", field("members")),
    ("SETS", lambda record: [f"{key}={KEYS[key].show(value)}" for key, value in record["sets"].items()]),
    ("SINCE", lambda record: minute(record["created_at"])),
]


@click.group()
def group() -> None:
    """Put people into groups, which may have quotas of their own.

    \b
    Example:
      gpuadmin group add vision
    """


group.add_command(group_totp)


@group.command()
@click.argument("name")
@pass_call
def add(call: Call, name: str) -> None:
    """Add a group with nobody in it.

    \b
    Example:
      gpuadmin group add vision
    """
    call.store.add_group(parse_group_name(name), call.actor, call.now)
    say(f"Added the group {name}.")


@group.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List the groups, who is in them and which quotas they set.

    \b
    Example:
      gpuadmin group list --json
    """
    records = []
    for each in call.store.groups():
        sets = call.store.group_quota(each.name)
        records.append(
            {
                "id": each.id,
                "name": each.name,
                "created_at": instant(each.created_at),
                "members": list(each.members),
                "sets": {key: KEYS[key].plain(value) for key, value in sets.items()} if as_json else sets,
            }
        )
    listing(records, COLUMNS, as_json)


@group.command()
@click.argument("name")
@pass_call
def remove(call: Call, name: str) -> None:
    """Remove a group that nobody is in, with its quotas.

    \b
    Example:
      gpuadmin group remove vision
    """
    call.store.remove_group(parse_group_name(name), call.actor, call.now)
    say(f"Removed the group {name}.")


@group.command()
@click.argument("name")
@click.argument("users", nargs=-1, required=True)
@pass_call
def join(call: Call, name: str, users: tuple[str, ...]) -> None:
    """Put USERS into group NAME: all of them, or none when one is unknown.

    \b
    Example:
      gpuadmin group join vision alice bob
    """
    names = [parse_user_name(user) for user in users]
    joined = call.store.join(parse_group_name(name), names, call.actor, call.now)
    for each in dict.fromkeys(names):
        say(f"{each} is in {name}." if each in joined else f"{each} is in {name} already.")


@group.command()
@click.argument("name")
@click.argument("users", nargs=-1, required=True)
@pass_call
def leave(call: Call, name: str, users: tuple[str, ...]) -> None:
    """Take USERS out of group NAME: all of them, or none when one is unknown.

    \b
    Example:
      gpuadmin group leave vision bob
    """
    names = [parse_user_name(user) for user in users]
    left = call.store.leave(parse_group_name(name), names, call.actor, call.now)
    for each in dict.fromkeys(names):
        say(f"{each} is not in {name} any more." if each in left else f"{each} was not in {name}.")
