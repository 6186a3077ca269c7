"""`gpuadmin ca`: the authorities whose certificates let people in.

Owns the command lines. Must not judge a certificate.
"""

from __future__ import annotations

from typing import IO

import click

from admin.call import Call, as_json, pass_call
from admin.output import field, instant, listing, minute, say
from gateway.errors import Code, PlatformError
from gateway.keyoptions import PLAIN
from gateway.keys import parse_keys

COLUMNS = [
    ("TYPE", field("type")),
    ("FINGERPRINT", field("fingerprint")),
    ("REVOKED", lambda record: len(record["revoked"])),
    ("ADDED", lambda record: minute(record["added_at"])),
    ("COMMENT", field("comment")),
]
_MOST_SERIAL = (1 << 64) - 1


@click.group()
def ca() -> None:
    """Believe the user certificates of an authority (ssh-keygen -s), and revoke some.

    \b
    Example:
      gpuadmin ca add lab-ca.pub
    """


@ca.command()
@click.argument("file", type=click.File(errors="replace"))
@pass_call
def add(call: Call, file: IO[str]) -> None:
    """Believe the certificates that the keys in FILE (.pub, one a line; - for stdin) have signed.

    A certificate lets in the users whom its principals name while it is valid; without principals, nobody.

    \b
    Example:
      gpuadmin ca add lab-ca.pub
    """
    parsed = parse_keys(file.read())
    if any(each.options != PLAIN for each in parsed):
        raise PlatformError(Code.INVALID, "An authority's key has no options; leave them out.")
    for each in parsed:
        new = call.store.add_authority(each, call.actor, call.now)
        say(f"{each.fingerprint} {'was added' if new else 'was there already'}.")


@ca.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List the authorities; --json has what each has revoked.

    \b
    Example:
      gpuadmin ca list --json
    """
    revoked = call.store.revocations()
    records = [
        {
            "type": each.type,
            "fingerprint": each.fingerprint,
            "comment": each.comment,
            "added_at": instant(each.added_at),
            "revoked": [
                {"kind": gone.kind, "value": gone.value, "revoked_at": instant(gone.revoked_at)}
                for gone in revoked
                if gone.authority == each.fingerprint
            ],
        }
        for each in call.store.authorities()
    ]
    listing(records, COLUMNS, as_json)


@ca.command()
@click.argument("fingerprint")
@pass_call
def remove(call: Call, fingerprint: str) -> None:
    """Believe an authority no longer; sessions that its certificates opened end within seconds.

    \b
    Example:
      gpuadmin ca remove SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDE9wXqO/AUvEIcu5s
    """
    call.store.remove_authority(fingerprint, call.actor, call.now)
    say(f"Removed {fingerprint}.")


@ca.command()
@click.argument("fingerprint")
@click.option(
    "--serial", type=click.IntRange(0, _MOST_SERIAL), help="The certificate with this serial number."
)
@click.option("--id", "key_id", help="All certificates with this key id (ssh-keygen -I).")
@click.option("--key", help="All certificates of the key with this fingerprint (SHA256:...).")
@pass_call
def revoke(call: Call, fingerprint: str, serial: int | None, key_id: str | None, key: str | None) -> None:
    """Let nobody in with some certificates of the authority FINGERPRINT; their sessions end within seconds.

    \b
    Example:
      gpuadmin ca revoke SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDE9wXqO/AUvEIcu5s --serial 7
      gpuadmin ca revoke SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDE9wXqO/AUvEIcu5s --id alice-laptop
    """
    named = {"serial": None if serial is None else str(serial), "id": key_id, "key": key}
    given = [(kind, value) for kind, value in named.items() if value is not None]
    if len(given) != 1 or not given[0][1]:
        raise PlatformError(Code.INVALID, "Say what to revoke by one of --serial, --id and --key.")
    kind, value = given[0]
    if kind == "key" and not value.startswith("SHA256:"):
        raise PlatformError(Code.INVALID, f"{value!r} is no fingerprint; see: ssh-keygen -lf CERTIFICATE")
    new = call.store.revoke(fingerprint, kind, value, call.actor, call.now)
    say(f"{kind} {value} {'is revoked' if new else 'was revoked already'}.")
