"""`gpuadmin user`: people.

Owns the command lines. Must not decide who may be added.
"""

from __future__ import annotations

from typing import IO, Any

import click

from admin.acting import carry_out
from admin.call import Call, as_json, pass_call
from admin.factors import enrol, password, totp
from admin.output import field, instant, listing, minute, say
from gateway.errors import Code, PlatformError
from gateway.keys import parse_keys
from gateway.names import parse_group_name, parse_user_name
from gateway.users import SiteAccount, User

COLUMNS = [
    ("NAME", field("name")),
    ("UID", field("uid")),
    ("ENABLED", field("enabled")),
    ("KEYS", lambda record: len(record["keys"])),
    ("GPUS", lambda record: len(record["devices"])),
    ("SINCE", lambda record: minute(record["created_at"])),
]


FAULTS = [("LINE", field("line")), ("NAME", field("name")), ("WRONG", field("wrong"))]


@click.group()
def user() -> None:
    """Add, list, disable and remove people.

    \b
    Example:
      gpuadmin user add alice --key alice.pub
    """


user.add_command(enrol)
user.add_command(password)
user.add_command(totp)


@user.command()
@click.argument("name", required=False)
@click.option("--from", "file", type=click.File("rb"), help="A CSV file of people; - for stdin.")
@click.option(
    "--key",
    "keys",
    type=click.File(errors="replace"),
    help="A file with her public keys, one a line; - for stdin.",
)
@click.option("--group", "groups", multiple=True, help="A group that she is in; may be repeated.")
@click.option("--uid", type=click.IntRange(0), help="The uid that she has at this site already.")
@click.option("--gid", type=click.IntRange(0), help="The gid of it; the same number as the uid if left out.")
@click.option("--home", help="A home directory that exists; it is shown to her and never changed.")
@pass_call
def add(
    call: Call,
    name: str | None,
    file: IO[bytes] | None,
    keys: IO[str] | None,
    groups: tuple[str, ...],
    uid: int | None,
    gid: int | None,
    home: str | None,
) -> None:
    """Add a person, with a workspace and a uid of her own, or all the people of a CSV file, or none of them.

    The file is UTF-8; its first line names its columns: name, and as needed key (a line of a .pub file, or
    several), groups (with spaces between), uid, gid and home.

    \b
    Example:
      gpuadmin user add alice --key alice.pub --group vision
      gpuadmin user add bob --key - --uid 2001 --gid 2000 --home /nfs/home/bob < bob.pub
      gpuadmin user add --from people.csv
    """
    if file is not None:
        if name or keys or groups or uid is not None or gid is not None or home:
            raise PlatformError(Code.INVALID, "With --from everything is in the file; leave the rest out.")
        return _add_all(call, file.read())
    if name is None:
        raise PlatformError(Code.INVALID, "Say whom to add: NAME, or --from people.csv.")
    parsed = [] if keys is None else parse_keys(keys.read())
    if uid is not None and home is not None:
        # Imported here and below: it brings all that makes workspaces, which no listing must pay for.
        from gateway.folders.shared import check_home

        check_home(home, uid, name)
    site = SiteAccount(uid, gid, home)
    names = [parse_group_name(group) for group in groups]
    added = call.store.add_user(parse_user_name(name), parsed, site, call.actor, call.now, names)
    say(f"Added {added.name} with uid {added.uid} and {len(parsed)} key(s).")


def _add_all(call: Call, data: bytes) -> None:
    """Add everybody of a file, or show all that is wrong in it."""
    from admin import roster

    found = roster.read(data)
    faults = list(found.faults)
    added, refusals = call.store.add_users(found.people, call.actor, call.now, trial=bool(faults))
    faults += [roster.Fault(line, found.people[line].name, error) for line, error in refusals.items()]
    if faults:
        records = [
            {"line": fault.line, "name": fault.name, "wrong": fault.error.message}
            for fault in sorted(faults, key=lambda fault: fault.line)
        ]
        listing(records, FAULTS, False, err=True)
        unreadable = any(fault.error.code is Code.INVALID for fault in faults)
        raise PlatformError(
            Code.INVALID if unreadable else Code.CONFLICT,
            f"Nobody was added: {len(faults)} of {len(found.people) + len(found.faults)} people cannot be; "
            "mend these lines and run it again.",
        )
    for each in added:
        say(f"Added {each.name} with uid {each.uid}.")
    say(f"Added {len(added)} people.")


@user.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List everybody.

    \b
    Example:
      gpuadmin user list --json
    """
    listing(_records(call, call.store.users()), COLUMNS, as_json)


@user.command()
@click.argument("name")
@as_json
@pass_call
def show(call: Call, name: str, as_json: bool) -> None:
    """Show one person with her groups, keys and GPUs.

    \b
    Example:
      gpuadmin user show alice
    """
    (record,) = _records(call, [call.store.user(parse_user_name(name))])
    pairs = [{"field": key, "value": value} for key, value in record.items()]
    listing([record] if as_json else pairs, [("FIELD", field("field")), ("VALUE", field("value"))], as_json)


@user.command()
@click.argument("name")
@pass_call
def disable(call: Call, name: str) -> None:
    """Keep a person out; her open sessions end within seconds, her files and leases stay.

    \b
    Example:
      gpuadmin user disable alice
    """
    call.store.set_enabled(parse_user_name(name), False, call.actor, call.now)
    say(f"Disabled {name}.")


@user.command()
@click.argument("name")
@pass_call
def enable(call: Call, name: str) -> None:
    """Let a disabled person in again.

    \b
    Example:
      gpuadmin user enable alice
    """
    call.store.set_enabled(parse_user_name(name), True, call.actor, call.now)
    say(f"Enabled {name}.")


@user.command()
@click.argument("name")
@pass_call
def remove(call: Call, name: str) -> None:
    """Remove a person: her keys, sessions, leases and container; her files are kept for 30 days.

    \b
    Example:
      gpuadmin user remove alice
    """
    wanted = call.store.remove_user(parse_user_name(name), call.actor, call.now)
    carry_out(call, wanted, f"{name} is removed")
    say(f"Removed {name}; the files are kept for 30 days.")


def _records(call: Call, users: list[User]) -> list[dict[str, Any]]:
    keys = call.store.keys()
    leases = call.store.held_leases()
    groups = call.store.groups()
    secrets = call.store.secrets()
    return [
        {
            "id": each.id,
            "name": each.name,
            "uid": each.uid,
            "gid": each.gid,
            "home": each.home,
            "enabled": each.enabled,
            "created_at": instant(each.created_at),
            "groups": [group.name for group in groups if each.name in group.members],
            "keys": [key.fingerprint for key in keys if key.user == each.name],
            "totp": each.id in secrets,
            "devices": sorted(id_ for lease in leases if lease.user_id == each.id for id_ in lease.devices),
        }
        for each in users
    ]
