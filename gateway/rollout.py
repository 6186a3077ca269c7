"""Who runs which image version: pins, groups' pins, a canary, and what everybody else has.

Owns that decision, one pure function of what is recorded. Must not know where that is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.channels import Channel
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion

_PERCENT = re.compile(r"([1-9][0-9]?)%?")


@dataclass(frozen=True)
class Canary:
    """A version that some of those run who would have the stable version of the same name.

    Either `percent` of them or the members of the group with the id `group`.
    """

    image: ImageVersion
    percent: int | None = None
    group: int | None = None


@dataclass(frozen=True)
class Rollout:
    """All that decides. `default` is what people without a pin run; `follows`: as its name's stable version.

    `own` are pins by user id; `groups` are those of groups by their ids, the one that was set first first.
    `canaries` are by the name of their image.
    """

    default: ImageVersion | None
    follows: bool = False
    own: Mapping[int, ImageVersion] = field(default_factory=dict)
    groups: Mapping[int, ImageVersion] = field(default_factory=dict)
    canaries: Mapping[str, Canary] = field(default_factory=dict)


def chosen(rollout: Rollout, user_id: int, groups: Collection[int]) -> ImageVersion | None:
    """What a user who is in these groups runs: her pin, else the last one set of her groups', else the canary
    that she is among, else the default. None: nothing is there yet.
    """
    if user_id in rollout.own:
        return rollout.own[user_id]
    pinned = [image for group, image in rollout.groups.items() if group in groups]
    if pinned:
        return pinned[-1]
    default = rollout.default
    canary = rollout.canaries.get(default.name) if default is not None and rollout.follows else None
    return canary.image if canary is not None and _among(canary, user_id, groups) else default


def bucket(user_id: int) -> int:
    """Which hundredth of all users she is in, 0 to 99: for ever the same, whatever is offered.

    So who is among 20% is among 50% too, and nobody goes back and forth while a canary grows.
    """
    return int.from_bytes(hashlib.sha256(f"canary {user_id}".encode()).digest()[:8], "big") % 100


def parse_percent(text: str) -> int:
    """`20%` or `20` as 20. Raises INVALID for what is not 1 to 99."""
    found = _PERCENT.fullmatch(text)
    if found is None:
        raise PlatformError(
            Code.INVALID, f"{text!r} is no part of the users; write 1% to 99%, or leave it out for all."
        )
    return int(found[1])


def in_use(rollout: Rollout, image: ImageVersion) -> str | None:
    """Why the version is wanted although nobody may run it now; None when nothing names it."""
    if rollout.default is not None and image.id == rollout.default.id:
        return "is what people without a pin run"
    if image.id in {each.id for each in rollout.own.values()}:
        return "is pinned for a user"
    if image.id in {each.id for each in rollout.groups.values()}:
        return "is pinned for a group"
    if image.id in {canary.image.id for canary in rollout.canaries.values()}:
        return "is offered to some as a canary"
    return None


def before(versions: Sequence[ImageVersion], name: str) -> ImageVersion | None:
    """The version of `name` that was stable before the present one; None when none can be gone back to."""
    former = [each for each in versions if each.name == name and each.channel is Channel.DEPRECATED]
    return max(former, key=lambda each: each.promoted or 0, default=None)


def disposable(
    versions: Sequence[ImageVersion], plan: Rollout, keep: int, run: Collection[str]
) -> list[ImageVersion]:
    """The versions that nobody needs: not pinned, stable, offered or gone back to by a rollback, not among
    the last `keep` of their name that are not retired, and in no container, whose images' digests are `run`.

    `versions` are in the order in which they were built. What has a digest that is needed is needed.
    """
    needed = set(run)
    for name in {each.name for each in versions}:
        alive = [each for each in versions if each.name == name and each.channel is not Channel.RETIRED]
        former = before(versions, name)
        kept = [*alive[-keep:], *([former] if former else [])]
        kept += [each for each in alive if each.channel is Channel.STABLE]
        needed |= {each.digest for each in kept}
    needed |= {each.digest for each in versions if in_use(plan, each)}
    return [each for each in versions if each.digest not in needed]


def _among(canary: Canary, user_id: int, groups: Collection[int]) -> bool:
    if canary.group is not None:
        return canary.group in groups
    return bucket(user_id) < (canary.percent or 0)
