"""`gpuadmin user enrol`, `totp` and `password`: what lets somebody in without a key, or is asked beside hers.

Owns the command lines, and what is printed once and kept nowhere. Must not judge a code.
"""

from __future__ import annotations

import secrets
import sys

import click

from admin.call import Call, pass_call
from admin.output import say
from gateway.errors import Code, PlatformError
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


@click.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="She has no password any more.")
@pass_call
def password(call: Call, name: str, off: bool) -> None:
    """Give user NAME a password, asked for here or read as one line from stdin.

    It lets her in only where the config has passwords = true in [auth]; keys are better. Sessions that an
    older one opened end within seconds.

    \b
    Example:
      gpuadmin user password alice
      pwgen -s 20 1 | tee /dev/stderr | gpuadmin user password alice
    """
    parse_user_name(name)
    if off:
        dropped = call.store.drop_password(name, call.actor, call.now)
        say(f"{name} has no password any more." if dropped else f"{name} had no password.")
        return
    # Imported here: no other command needs the hash.
    from gateway.passwords import LONGEST, SHORTEST, hash_of

    given = _given()
    if not SHORTEST <= len(given) <= LONGEST:
        raise PlatformError(
            Code.INVALID, f"A password has {SHORTEST} to {LONGEST} characters; choose another."
        )
    call.store.set_password(name, hash_of(given), call.actor, call.now)
    taken = (
        "" if call.config.passwords else "; passwords are off until the config has passwords = true in [auth]"
    )
    say(f"{name} has a new password{taken}.")


def _given() -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    return sys.stdin.readline().rstrip("\r\n")
