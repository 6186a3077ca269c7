"""`gpuadmin key`: the public keys that let people in.

Owns the command lines. Must not judge a key.
"""

from __future__ import annotations

from typing import IO

import click

from admin.call import Call, as_json, pass_call
from admin.output import field, instant, listing, minute, say
from gateway.keys import parse_keys
from gateway.names import parse_user_name

COLUMNS = [
    ("USER", field("user")),
    ("TYPE", field("type")),
    ("FINGERPRINT", field("fingerprint")),
    ("ADDED", lambda record: minute(record["added_at"])),
    ("COMMENT", field("comment")),
]


@click.group()
def key() -> None:
    """Add, list and remove SSH public keys.

    \b
    Example:
      gpuadmin key add alice laptop.pub
    """


@key.command()
@click.argument("name")
@click.argument("file", type=click.File(errors="replace"))
@pass_call
def add(call: Call, name: str, file: IO[str]) -> None:
    """Add the keys in FILE (one a line; - for stdin) to user NAME.

    \b
    Example:
      gpuadmin key add alice laptop.pub
      curl -s https://git.example/alice.keys | gpuadmin key add alice -
    """
    parsed = parse_keys(file.read())
    new = call.store.add_keys(parse_user_name(name), parsed, call.actor, call.now)
    for each in parsed:
        say(f"Added {each.fingerprint}." if each in new else f"{name} has {each.fingerprint} already.")


@key.command("list")
@click.argument("name", required=False)
@as_json
@pass_call
def list_(call: Call, name: str | None, as_json: bool) -> None:
    """List the keys of user NAME, or of everybody.

    \b
    Example:
      gpuadmin key list alice
    """
    records = [
        {
            "user": each.user,
            "type": each.type,
            "fingerprint": each.fingerprint,
            "comment": each.comment,
            "added_at": instant(each.added_at),
        }
        for each in call.store.keys(None if name is None else parse_user_name(name))
    ]
    listing(records, COLUMNS, as_json)


@key.command()
@click.argument("fingerprint")
@pass_call
def remove(call: Call, fingerprint: str) -> None:
    """Remove a key by its fingerprint; sessions that it opened end within seconds.

    \b
    Example:
      gpuadmin key remove SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDE9wXqO/AUvEIcu5s
    """
    user = call.store.remove_key(fingerprint, call.actor, call.now)
    say(f"Removed {fingerprint} of {user}.")
