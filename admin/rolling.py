"""Who runs which image version: `gpuadmin image pin`, `promote`, `rollback` and `retire`.

Owns these command lines, and asks the gate before anything is written. Must not know where versions come
from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from admin.call import Call, pass_call
from admin.gate import check_runs
from admin.output import say
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.names import parse_group_name, parse_user_name
from gateway.references import Reference
from gateway.rollout import Canary, Rollout, before, chosen, parse_percent

INHERIT = "inherit"

with_reason: Callable[[Any], Any] = click.option(
    "--reason", default="", metavar="TEXT", help="Why, for the record of changes."
)


@click.command()
@click.argument("words", nargs=-1, metavar="[USER] REF")
@click.option("--group", metavar="GROUP", help="For a group's members who have no pin of their own.")
@click.option("--default", "everybody", is_flag=True, help="For everybody who has no pin.")
@with_reason
@pass_call
def pin(call: Call, words: tuple[str, ...], group: str | None, everybody: bool, reason: str) -> None:
    """Choose the image version of a user's workspace, of a group's, or of all that have no pin.

    It applies at the next login when nothing of hers runs, or by `gpuadmin workspace recreate`. A pin keeps
    to one build: it moves neither by promotions nor when the version is built again. REF may also be a digest
    as `image list` shows it. With --default REF may be an image's name, for always its stable version; for
    a user or a group the REF "inherit" ends the pin.

    \b
    Example:
      gpuadmin image pin alice gpu-gateway/pytorch:2.9.1-cu128
      gpuadmin image pin --group vision gpu-gateway/pytorch:2.9.1-cu128 --reason "paper deadline"
      gpuadmin image pin --default pytorch
      gpuadmin image pin alice inherit
    """
    if len(words) != 2 - (everybody or group is not None) or (everybody and group is not None):
        raise PlatformError(
            Code.INVALID,
            "Say whose image and which: USER REF, --group GROUP REF, or --default REF; "
            "see `gpuadmin image list`.",
        )
    ref = words[-1]
    if everybody:
        _pin_default(call, ref, reason)
        return
    image = None if ref == INHERIT else call.store.image_version(ref)
    if group is not None:
        name = parse_group_name(group)
        who, whose = _members(call, name), f"The group {name}"
    else:
        name = call.store.user(parse_user_name(words[0])).name
        who, whose = {call.store.user(name).id}, f"The workspace of {name}"
    if image is not None:
        check_runs(call, image, who)
    put = call.store.pin_image if group is None else call.store.pin_group
    put(name, None if image is None else ref, call.actor, call.now, reason)
    say(f"{whose} {'has no pin any more' if image is None else f'runs {ref} from the next start on'}.")


@click.command()
@click.argument("ref")
@click.option("--canary", metavar="PERCENT", help="Give it to so many of those without a pin, such as 20%.")
@click.option("--group", metavar="GROUP", help="Give it to those of a group who have no pin.")
@with_reason
@pass_call
def promote(call: Call, ref: str, canary: str | None, group: str | None, reason: str) -> None:
    """Make a version the stable one of its image: what all run who have no pin, from their next start on.

    The version that was stable is deprecated: `gpuadmin image rollback` goes back to it. With --canary or
    --group only some get it, for a trial: always the same people while the number grows. Containers that run
    stay as they are, and their users are told that a newer version is ready.

    \b
    Example:
      gpuadmin image promote gpu-gateway/pytorch:2.13.0-cpu --canary 20%
      gpuadmin image promote gpu-gateway/pytorch:2.13.0-cpu --reason "two days without complaints"
    """
    if canary is not None and group is not None:
        raise PlatformError(Code.INVALID, "Give --canary or --group, not both.")
    image, plan = call.store.image_version(ref), call.store.rollout()
    if canary is None and group is None:
        check_runs(call, image, _get(call, _promoted(plan, image), image))
        replaced = call.store.promote(ref, call.actor, call.now, reason)
        stood = f" in place of {replaced.ref}" if replaced is not None else ""
        say(f"{image.ref} ({image.digest[:19]}) is the stable {image.name} now{stood}.{_idle(plan, image)}")
        return
    percent = None if canary is None else parse_percent(canary)
    name = None if group is None else parse_group_name(group)
    offer = Canary(image, percent, None if name is None else _group_id(call, name))
    check_runs(call, image, _get(call, replace(plan, canaries={image.name: offer}), image))
    call.store.offer(ref, percent, name, call.actor, call.now, reason)
    whom = f"{percent}% of the users" if name is None else f"the group {name}"
    say(f"Of those without a pin {whom} run {image.ref} from their next start on.{_idle(plan, image)}")


@click.command()
@click.argument("name")
@with_reason
@pass_call
def rollback(call: Call, name: str, reason: str) -> None:
    """Take back the last promotion of the image NAME: its canary, else its stable version.

    What was stable before is stable again, from everybody's next start on; repeated, the one before that.
    What was taken back is a candidate again.

    \b
    Example:
      gpuadmin image rollback pytorch --reason "DataLoader hangs"
    """
    plan = call.store.rollout()
    if name not in plan.canaries:
        former = before(call.store.images(), name)
        if former is not None:
            check_runs(call, former, _get(call, _promoted(plan, former), former))
    taken, left = call.store.roll_back(name, call.actor, call.now, reason)
    say(f"Took back {taken.ref} ({taken.digest[:19]}); the stable {name} is {left.ref} ({left.digest[:19]}).")


@click.command()
@click.argument("ref")
@with_reason
@pass_call
def retire(call: Call, ref: str, reason: str) -> None:
    """Have nobody begin to run a version any more. One that somebody is to run is refused.

    Containers that run it go on. Built or added again it is a candidate.

    \b
    Example:
      gpuadmin image retire gpu-gateway/pytorch:2.9.1-cu128 --reason "CVE in OpenCV"
    """
    image = call.store.retire(ref, call.actor, call.now, reason)
    say(f"Retired {image.ref} ({image.digest[:19]}).")


@click.command()
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Keep so many newest of each.",
)
@with_reason
@pass_call
def prune(call: Call, keep: int, reason: str) -> None:
    """Remove versions from this machine's engine that nobody needs, and retire them.

    What is pinned, stable, offered as a canary, or what a rollback goes back to is kept, and so are the
    newest of each image and what any container is made from. Images that `image list` does not have are not
    touched, and one that has another name in the engine stays there.

    \b
    Example:
      gpuadmin image prune --keep 2
    """
    # Imported here: it brings the Docker client, which listing must not pay for.
    from gateway.docker import images, keeping

    for image in call.store.prune(keep, keeping.run_images(), call.actor, call.now, reason):
        if images.find(image.digest) is None:
            continue
        left = keeping.remove(image.digest, _names(image))
        name = f"{image.ref} ({image.digest[:19]})"
        say(f"Removed {name}." if left is None else f"Retired {name}, but left it in the engine: {left}.")


def _names(image: ImageVersion) -> set[str]:
    """What we call it in the engine."""
    place = Reference.parse(image.registry_digest or "")
    return {image.ref} | (set() if place is None else {f"{place.repository}:{image.version}"})


def _pin_default(call: Call, ref: str, reason: str) -> None:
    image = call.store.stable_image(ref) or call.store.image_version(ref)
    check_runs(call, image, _get(call, replace(call.store.rollout(), default=image, canaries={}), image))
    call.store.pin_default(ref, call.actor, call.now, reason)
    say(f"Workspaces without a pin run {ref} from their next start on.")


def _promoted(plan: Rollout, image: ImageVersion) -> Rollout:
    """What decides when this version is the stable one of its image."""
    return replace(plan, default=image if _follows(plan, image) else plan.default, canaries={})


def _follows(plan: Rollout, image: ImageVersion) -> bool:
    """Whether people without a pin run what is stable of this image."""
    return plan.follows and plan.default is not None and plan.default.name == image.name


def _get(call: Call, after: Rollout, image: ImageVersion) -> set[int]:
    """The users who would run this version, those aside who have a pin of their own."""
    groups = call.store.groups()
    got = set()
    for user in call.store.users():
        hers = {group.id for group in groups if user.name in group.members}
        if user.id not in after.own and chosen(after, user.id, hers) == image:
            got.add(user.id)
    return got


def _idle(plan: Rollout, image: ImageVersion) -> str:
    """What keeps a promotion from reaching anybody."""
    if plan.default is None or _follows(plan, image):
        return ""
    advice = f"gpuadmin image pin --default {image.name}"
    return f" Workspaces without a pin run {plan.default.ref}, until: {advice}"


def _group_id(call: Call, name: str) -> int:
    """Raises NOT_FOUND."""
    for group in call.store.groups():
        if group.name == name:
            return group.id
    raise PlatformError(Code.NOT_FOUND, f"There is no group {name!r}; see: gpuadmin group list")


def _members(call: Call, name: str) -> set[int]:
    """The users in a group. Raises NOT_FOUND."""
    id_ = _group_id(call, name)
    inside = next(group.members for group in call.store.groups() if group.id == id_)
    return {user.id for user in call.store.users() if user.name in inside}
