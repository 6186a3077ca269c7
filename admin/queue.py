"""`gpuadmin why`: where somebody stands in the queue for GPUs, and what keeps her there.

Owns the command line. Must not decide who is next.
"""

from __future__ import annotations

import click

from admin.call import Call, as_json, pass_call
from admin.inventory import look_when_unknown
from admin.output import Record, instant, listing, say
from gateway.errors import Code, PlatformError
from gateway.names import parse_user_name
from gateway.quotas import gpus
from gateway.reminders import standing_of
from gateway.scheduling.standing import Standing
from gateway.store import Waiting
from gateway.units import format_duration, format_instant


@click.command()
@click.argument("target", metavar="USER|REQUEST")
@as_json
@pass_call
def why(call: Call, target: str, as_json: bool) -> None:
    """Say where a user's requests stand in the queue, what put them there, and what they wait for.

    Of a user who waits for nothing: where she would stand if she asked for one GPU now. Of one whose
    workspace is idle: what follows from that, and when.

    \b
    Example:
      gpuadmin why alice
      gpuadmin why 17
    """
    look_when_unknown(call)
    waiting = call.store.waiting(call.now)
    if target.isascii() and target.isdigit() and len(target) < 19:
        found = [each for each in waiting if each.request.id == int(target)]
        if not found:
            raise PlatformError(Code.NOT_FOUND, f"No request {target} waits; see: gpuadmin leases")
    else:
        name = parse_user_name(target)
        if not as_json:
            _tell_idle(call, name)
        found = [each for each in waiting if each.request.user == name]
        if not found:
            return _prospect(call, name, as_json)
    if as_json:
        return listing([_record(each) for each in found], [], True)
    for each in found:
        request = each.request
        say(
            f"Request {request.id} of {request.user}, {gpus(request.count, request.profile)} for "
            f"{format_duration(request.length)}, is number {each.standing.place} of {len(waiting)}; "
            f"{begins(each.standing)}."
        )
        _explain(each.standing)


def _tell_idle(call: Call, name: str) -> None:
    """What she holds may end before its time."""
    found = next((user for user in call.store.users() if user.name == name), None)
    seen = None if found is None else call.store.idlers().get(found.id)
    if seen is not None:
        say(f"The workspace of {name} is {standing_of(seen)}.")


def begins(standing: Standing) -> str:
    """When a request may begin, in words."""
    if standing.start is None:
        return "nothing that is known would let it begin"
    return f"it may begin at {format_instant(standing.start)}"


def _prospect(call: Call, name: str, as_json: bool) -> None:
    standing = call.store.prospect(name, call.now)
    if as_json:
        return listing([], [], True)
    if not standing.reasons:
        return say(f"{name} waits for nothing; one GPU for her would be granted now.")
    say(f"{name} waits for nothing; a request for one GPU would be number {standing.place}:")
    say(f"  {begins(standing)}")
    _explain(standing)


def _explain(standing: Standing) -> None:
    for term in standing.terms:
        say(f"  {term}")
    for reason in standing.reasons:
        say(f"  waits: {reason}")


def _record(each: Waiting) -> Record:
    return {
        "request": each.request.id,
        "user": each.request.user,
        "gpus": each.request.count,
        "profile": each.request.profile,
        "place": each.standing.place,
        "begins_at": instant(each.standing.start),
        "terms": list(each.standing.terms),
        "reasons": list(each.standing.reasons),
    }
