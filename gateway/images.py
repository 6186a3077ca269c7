"""Image versions: immutable builds that workspaces are pinned to, and the GPUs' driver that each needs.

Owns the values and the choice of a version. Must not know Docker or registries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.channels import Channel
from gateway.errors import Code, PlatformError


@dataclass(frozen=True)
class ImageVersion:
    """One build. `digest` is the engine's image id; `registry_digest` is where it can be
    fetched, `HOST/NAME@sha256:...`; None until it was pushed.

    `ref` is the name that people and engines call it by (`gpu-gateway/base:12.1`). `promoted` counts the
    promotions of all versions: the higher, the later this one became stable; None: never.
    """

    id: int
    ref: str
    name: str
    version: str
    flavour: str
    digest: str
    channel: Channel = Channel.STABLE
    registry_digest: str | None = None
    promoted: int | None = None


@dataclass(frozen=True)
class Release:
    """A version that a recipe can build on the image `base`. `min_driver` is empty when it uses no GPU."""

    version: str
    torch: str
    flavour: str
    min_driver: str = ""
    base: str = "base"


def stable(versions: Sequence[ImageVersion], name: str) -> ImageVersion | None:
    """The stable version of the image called `name`; None when there is none."""
    found = (each for each in versions if each.name == name and each.channel is Channel.STABLE)
    return next(found, None)


def named(versions: Sequence[ImageVersion], ref: str) -> ImageVersion | None:
    """The version that was recorded last as `ref`, or whose digest begins with it (`sha256:` and 12 digits).

    `versions` are in the order in which they were built; a tag that was built again means the last build.
    """
    by_digest = re.fullmatch(r"sha256:[0-9a-f]{12,64}", ref) is not None
    fits = [each for each in versions if each.ref == ref or (by_digest and each.digest.startswith(ref))]
    return fits[-1] if fits else None


def releases(table: Mapping[str, Mapping[str, object]]) -> list[Release]:
    """A recipe's versions, newest first, from the tables of its `versions.toml`."""
    return [
        Release(
            version,
            torch=str(facts["torch"]),
            flavour=str(facts["flavour"]),
            min_driver=str(facts.get("min_driver", "")),
            base=str(facts.get("base", "base")),
        )
        for version, facts in table.items()
    ]


def choose(known: Sequence[Release], flavour: str | None, version: str | None, driver: str | None) -> Release:
    """The release to build: the first of `flavour` and `version` (`2.9.1-cu128`, or 2.9.1 of any flavour).

    Without a flavour, the first that uses GPUs when `driver` is new enough for it, else the first that
    uses none; a version that has one flavour alone needs no choice. Raises NOT_FOUND listing what there is.
    """
    fits = [
        release
        for release in known
        if flavour in (None, release.flavour) and version in (None, release.version, release.torch)
    ]
    if not fits:
        names = ", ".join(release.version for release in known)
        raise PlatformError(
            Code.NOT_FOUND, f"The recipe has no such version; choose --flavour and --version from: {names}."
        )
    runnable = [release for release in fits if driver_runs(release.min_driver, driver)]
    # With --flavour one may build for another machine, hence what cannot run here is no error.
    with_gpus = [release for release in runnable if release.min_driver]
    return (with_gpus or runnable or fits)[0]


def driver_runs(min_driver: str, driver: str | None) -> bool:
    """Whether `driver` (None: there is none) is at least `min_driver`, which is empty when none is needed."""
    return not min_driver or (driver is not None and _numbers(driver) >= _numbers(min_driver))


def driver_fault(ref: str, min_driver: str, driver: str | None) -> str | None:
    """Why a workspace with GPUs cannot run the image called `ref` on this driver; None when it can."""
    if driver_runs(min_driver, driver):
        return None
    has = f"has {driver}" if driver else "has none"
    return (
        f"The image {ref} needs NVIDIA's driver {min_driver} or newer to use GPUs, and this machine {has}; "
        "upgrade the driver, or choose another image with: gpuadmin image pin"
    )


def _numbers(version: str) -> tuple[int, ...]:
    """`550.54.15` as numbers; what is none of NVIDIA's versions is older than all of them."""
    return tuple(map(int, re.findall(r"\d+", version)))
