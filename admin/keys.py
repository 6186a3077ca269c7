"""`gpuadmin key`: the public keys that let people in.

Owns the command lines. Must not judge a key.
"""

from __future__ import annotations

from typing import IO

import click

from admin.call import Call, as_json, pass_call
from admin.output import field, instant, listing, minute, say
from gateway.errors import Code, PlatformError
from gateway.keys import parse_keys
from gateway.names import parse_user_name

COLUMNS = [
    ("USER", field("user")),
    ("TYPE", field("type")),
    ("FINGERPRINT", field("fingerprint")),
    ("OPTIONS", field("options")),
    ("ADDED", lambda record: minute(record["added_at"])),
    ("COMMENT", field("comment")),
]


@click.group()
def key() -> None:
    """Add, list, replace and remove SSH public keys.

    \b
    Example:
      gpuadmin key add alice laptop.pub
    """


@key.command()
@click.argument("name")
@click.argument("file", type=click.File(errors="replace"))
@pass_call
def add(call: Call, name: str, file: IO[str]) -> None:
    """Add the keys in FILE (one a line; - for stdin) to user NAME; of a key that she has, change the options.

    Before a key may stand, as in authorized_keys: from="ADDRESSES", expiry-time="YYYYMMDD[HHMM[SS]][Z]", and
    for security keys no-touch-required and verify-required. Any other option is refused.

    \b
    Example:
      gpuadmin key add alice laptop.pub
      echo "from=\\"10.0.0.0/8\\",expiry-time=\\"20270331Z\\" $(cat ci.pub)" | gpuadmin key add alice -
      curl -s https://git.example/alice.keys | gpuadmin key add alice -
    """
    parsed = parse_keys(file.read())
    had = {each.fingerprint for each in call.store.keys(parse_user_name(name))}
    new = call.store.add_keys(name, parsed, call.actor, call.now)
    for each in parsed:
        known = "has other options now" if each in new else "was there already"
        say(f"{each.fingerprint} {known if each.fingerprint in had else 'was added'}.")


@key.command()
@click.argument("name")
@click.argument("old", metavar="FINGERPRINT")
@click.argument("file", type=click.File(errors="replace"))
@pass_call
def rotate(call: Call, name: str, old: str, file: IO[str]) -> None:
    """Put the one key in FILE (- for stdin) in the place of user NAME's key FINGERPRINT, in one step.

    Sessions that the old key opened end within seconds. The new key has the options in FILE and no others.

    \b
    Example:
      gpuadmin key rotate alice SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDE9wXqO/AUvEIcu5s laptop.pub
    """
    parsed = parse_keys(file.read())
    if len(parsed) != 1:
        raise PlatformError(Code.INVALID, f"There are {len(parsed)} keys in it; give the one new key.")
    call.store.rotate_key(parse_user_name(name), old, parsed[0], call.actor, call.now)
    say(f"{old} was replaced by {parsed[0].fingerprint}.")


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
            "options": str(each.options),
            "expires_at": instant(each.options.expires_at),
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
