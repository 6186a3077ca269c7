"""Image versions: immutable builds that workspaces are pinned to, and the GPUs' driver that each needs.

Owns the values and the choice of a version. Must not know Docker or registries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import Code, PlatformError


@dataclass(frozen=True)
class ImageVersion:
    """One build. `digest` is the engine's image id; `registry_digest` is None until it was pushed.

    `ref` is the name that people and engines call it by (`gpu-gateway/base:12.1`).
    """

    id: int
    ref: str
    name: str
    version: str
    flavour: str
    digest: str
    channel: str = "stable"
    registry_digest: str | None = None


@dataclass(frozen=True)
class Release:
    """A version that a recipe can build. `min_driver` is empty when it uses no GPU."""

    version: str
    torch: str
    flavour: str
    min_driver: str = ""


def newest(versions: Sequence[ImageVersion], name: str) -> ImageVersion | None:
    """What a workspace without a pin runs: the stable version of image `name` that was built last.

    `versions` are in the order in which they were built.
    """
    stable = [version for version in versions if version.name == name and version.channel == "stable"]
    return stable[-1] if stable else None


def releases(table: Mapping[str, Mapping[str, object]]) -> list[Release]:
    """A recipe's versions, newest first, from the tables of its `versions.toml`."""
    return [
        Release(
            version,
            torch=str(facts["torch"]),
            flavour=str(facts["flavour"]),
            min_driver=str(facts.get("min_driver", "")),
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
