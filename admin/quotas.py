"""`gpuadmin quota`: the most that people may hold.

Owns the command lines. Must not know what a key means.
"""

from __future__ import annotations

import click

from admin.call import Call, as_json, pass_call
from admin.output import field, listing, say
from gateway.errors import Code, PlatformError
from gateway.names import parse_user_name
from gateway.quotas import KEYS, parse_assignment

COLUMNS = [
    ("USER", field("user")),
    *(
        (name.upper(), lambda record, name=name, key=key: key.show(record[name]))
        for name, key in KEYS.items()
    ),
]


@click.group()
def quota() -> None:
    """Set and show quotas.

    \b
    Example:
      gpuadmin quota set alice gpus=2
    """


@quota.command("set")
@click.argument("words", nargs=-1, metavar="[USER] KEY=VALUE")
@click.option("--default", "everybody", is_flag=True, help="For everybody who has no value of her own.")
@pass_call
def set_(call: Call, words: tuple[str, ...], everybody: bool) -> None:
    """Set a quota of one user, or with --default of everybody.

    \b
    Example:
      gpuadmin quota set alice gpus=2
      gpuadmin quota set --default gpus=1
    """
    names = [] if everybody else words[:1]
    assignments = words[len(names) :]
    if not assignments or (names and "=" in names[0]):
        raise PlatformError(Code.INVALID, "Say whose and what: USER gpus=2, or --default gpus=1.")
    name = parse_user_name(names[0]) if names else None
    parsed = [parse_assignment(assignment) for assignment in assignments]
    for key, value in parsed:
        call.store.set_quota(name, key, value, call.actor, call.now)
        say(f"Set {key}={value} for {name or 'everybody without a value of her own'}.")


@quota.command()
@click.argument("user", required=False)
@as_json
@pass_call
def show(call: Call, user: str | None, as_json: bool) -> None:
    """Show what is in force for a user, or for everybody; memory in bytes and time in seconds with --json.

    \b
    Example:
      gpuadmin quota show alice
    """
    names: list[str | None] = (
        [each.name for each in call.store.users()] if user is None else [parse_user_name(user)]
    )
    owners = [None, *names] if user is None else names
    values = {owner: call.store.quota(owner) for owner in owners}
    if as_json:
        # Programs get cores, as in `workspace list`; inside, quotas are whole numbers.
        records = [{"user": owner, **each, "cpus": each["cpus"] / 1000} for owner, each in values.items()]
    else:
        records = [{"user": owner or "(default)", **each} for owner, each in values.items()]
    listing(records, COLUMNS, as_json)
