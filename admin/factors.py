"""`gpuadmin user enrol`: how somebody gets in without a key that is known.

Owns the command lines, and what is printed once and kept nowhere. Must not judge a code.
"""

from __future__ import annotations

import secrets

import click

from admin.call import Call, pass_call
from admin.output import say
from gateway.names import parse_user_name
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
