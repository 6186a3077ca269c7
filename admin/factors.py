"""`gpuadmin user enrol` and `totp`: what lets somebody in without a known key, or is asked beside hers.

Owns the command lines, and what is printed once and kept nowhere. Must not judge a code.
"""

from __future__ import annotations

import secrets

import click

from admin.call import Call, pass_call
from admin.output import say
from gateway.names import parse_group_name, parse_user_name
from gateway.onetime import LIFE, RANDOM_BYTES, Enrolment, code_of, digest_of
from gateway.units import format_instant, parse_duration


@click.command()
@click.argument("name")
@click.option(
    "--for", "length", default=f"{LIFE.days}d", show_default=True, help="How long the code is good."
)
@pass_call
def enrol(call: Call, name: str, length: str) -> None:
    """Print a one-time code with which user NAME registers a key by logging in; an earlier code is void.

    She runs ssh as ever, types the code, and the first key that her client offers becomes hers.

    \b
    Example:
      gpuadmin user enrol alice --for 2h
    """
    enrolment_end = call.now + parse_duration(length)
    code = code_of(secrets.token_bytes(RANDOM_BYTES))
    enrolment = Enrolment(digest_of(code), enrolment_end)
    call.store.set_enrolment(parse_user_name(name), enrolment, call.actor, call.now)
    say(code)
    say(f"It is shown this once, and good for one key of {name} until {format_instant(enrolment_end)}.")


_SWITCH = click.argument("switch", type=click.Choice(["on", "off"]))


@click.command()
@click.argument("name")
@_SWITCH
@pass_call
def totp(call: Call, name: str, switch: str) -> None:
    """Ask user NAME for a verification code beside her key; prints the secret for her authenticator once.

    Print it as a QR code with: gpuadmin user totp alice on | head -1 | qrencode -t ansiutf8

    \b
    Example:
      gpuadmin user totp alice on
    """
    if switch == "off":
        dropped = call.store.drop_secret(parse_user_name(name), call.actor, call.now)
        say(f"{name} is asked for no code any more." if dropped else f"{name} had no secret.")
        return
    # Imported here: no other command needs what makes codes.
    from gateway import totp as codes

    secret = codes.new_secret()
    call.store.set_secret(parse_user_name(name), secret, call.actor, call.now)
    say(codes.uri(secret, name))
    say(f"It is shown this once; from now on {name} is asked for a code beside her key.")


@click.command("totp")
@click.argument("name")
@_SWITCH
@pass_call
def group_totp(call: Call, name: str, switch: str) -> None:
    """Ask everybody in group NAME for verification codes; who has no secret yet cannot log in.

    \b
    Example:
      gpuadmin group totp vision on
    """
    changed = call.store.ask_group(parse_group_name(name), switch == "on", call.actor, call.now)
    asks = "asks" if switch == "on" else "does not ask"
    say(f"{name} {asks} for verification codes{'' if changed else ' already'}.")
