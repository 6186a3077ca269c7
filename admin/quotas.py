"""`gpuadmin quota`: the most that people may hold and use.

Owns the command lines. Must not know what a key means.
"""

from __future__ import annotations

import click

from admin.acting import broker_runs, carry_out
from admin.call import Call, as_json, pass_call
from admin.output import field, listing, say
from gateway.errors import Code, PlatformError
from gateway.names import parse_group_name, parse_user_name
from gateway.quotas import INHERIT, KEYS, Owner, parse_assignment

COLUMNS = [
    ("QUOTA OF", field("owner")),
    *(
        (name.upper(), lambda record, name=name, key=key: key.show(record[name]) if name in record else None)
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
@click.argument("words", nargs=-1, metavar="[USER] KEY=VALUE...")
@click.option("--group", metavar="GROUP", help="For everybody in this group who has no value of her own.")
@click.option("--default", "everybody", is_flag=True, help="For everybody who has no other value.")
@pass_call
def set_(call: Call, words: tuple[str, ...], group: str | None, everybody: bool) -> None:
    """Set quotas of one user, of a group, or with --default of everybody.

    The keys: gpus and sessions (at once), lease (the length of a grant without --for), gpu_hours (GPU-hours
    in a window, such as 100/7d, or none), idle (how long her GPUs may have nothing to do) and idle_workspace
    (the same for a workspace without GPUs; durations, or none), disk (of a workspace: home, /workspace and
    /tmp; a size), and for a container cpus (cores), memory, shm (sizes such as 32G) and pids (processes).
    Who has a higher priority is served first in the queue for GPUs.

    In force is her own value, else the most generous of her groups', else the default's; VALUE "inherit"
    takes one away again. Cores, processes and memory change while a container runs, shm at its next start;
    memory is not lowered below what is in use. A disk lowered below what is in use loses nothing: nothing
    more can be written there until enough is deleted. Which disks can be held: gpuadmin doctor.

    \b
    Example:
      gpuadmin quota set alice gpus=2 lease=3d
      gpuadmin quota set --group vision gpu_hours=100/7d cpus=16 memory=64G
      gpuadmin quota set --default gpus=1
      gpuadmin quota set alice gpus=inherit
    """
    owner, assignments = _whose(words, group, everybody)
    values = dict(parse_assignment(assignment) for assignment in assignments)
    if len(values) < len(assignments):
        raise PlatformError(Code.INVALID, "One key has two values; write each key once.")
    wanted = call.store.set_quotas(owner, values, call.actor, call.now)
    whom = owner.user or (f"the group {owner.group}" if owner.group else "everybody who has no other value")
    shown = (f"{key}={INHERIT if value is None else KEYS[key].show(value)}" for key, value in values.items())
    # With no gateway what is wanted waits for the next one: to set a number needs no engine.
    if wanted is not None and broker_runs(call.config.state):
        carry_out(call, wanted, "It is set")
    say(f"Set {' '.join(shown)} for {whom}.")


def _whose(words: tuple[str, ...], group: str | None, everybody: bool) -> tuple[Owner, tuple[str, ...]]:
    named = words[:1] if words and "=" not in words[0] else ()
    assignments = words[len(named) :]
    if len(named) + (group is not None) + everybody != 1 or not assignments:
        raise PlatformError(
            Code.INVALID, "Say whose and what: USER gpus=2, --group vision gpus=2, or --default gpus=1."
        )
    user = parse_user_name(named[0]) if named else None
    return Owner(user, None if group is None else parse_group_name(group)), assignments


@quota.command()
@click.argument("user", required=False)
@click.option("--group", metavar="GROUP", help="Show only what this group sets.")
@as_json
@pass_call
def show(call: Call, user: str | None, group: str | None, as_json: bool) -> None:
    """Show what is in force for a user, or for everybody; memory in bytes and time in seconds with --json.

    \b
    Example:
      gpuadmin quota show alice
      gpuadmin quota show --group vision
    """
    if user is not None and group is not None:
        raise PlatformError(Code.INVALID, "Name a user or a group, not both.")
    if group is not None:
        found: list[tuple[Owner, dict[str, int]]] = [
            (Owner(group=group), call.store.group_quota(parse_group_name(group)))
        ]
    else:
        users = (
            [None, *(each.name for each in call.store.users())] if user is None else [parse_user_name(user)]
        )
        found = [(Owner(each), call.store.quota(each)) for each in users]
    listing([_record(owner, values, as_json) for owner, values in found], COLUMNS, as_json)


def _record(owner: Owner, values: dict[str, int], as_json: bool) -> dict[str, object]:
    if as_json:
        plain = {key: KEYS[key].plain(value) for key, value in values.items()}
        return {"user": owner.user, "group": owner.group, **plain}
    whom = owner.user or (f"group {owner.group}" if owner.group else "(default)")
    return {"owner": whom, **values}
