"""Directories of the site's own that workspaces see: datasets and scratch, each a `[[mount]]` of the config.

Owns what one may be called and where it may appear, so that none hides what the platform shows or opens
what the platform keeps. Must not look at a disk.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from gateway.names import parse_group_name

# Everything that the platform, the image or the kernel puts there; /opt and /srv are free but for our own.
_KEPT_TARGETS = (
    "/home",
    "/workspace",
    "/tmp",
    "/opt/gpu-gateway",
    *(f"/{top}" for top in "bin boot dev etc lib lib32 lib64 libx32 proc root run sbin sys usr var".split()),
)
# What would give a container this machine itself.
_KEPT_SOURCES = (
    "/var/run",
    "/var/lib/docker",
    "/var/lib/containerd",
    *(f"/{top}" for top in "bin boot dev etc lib lib64 proc root run sbin sys usr".split()),
)
_LOWEST_GID, _HIGHEST_GID = 100, 2**31 - 1
_NOBODY = (65534, 65535)


@dataclass(frozen=True)
class SharedMount:
    """A host directory at `target` in the containers of the members of `groups`, or of everybody when empty.

    `gid` is a supplementary group that the processes of these containers get, to read or write it.
    """

    source: str
    target: str
    read_only: bool = True
    groups: tuple[str, ...] = ()
    gid: int | None = None

    def is_for(self, groups: Collection[str]) -> bool:
        """Whether somebody who is in `groups` sees it."""
        return not self.groups or not set(self.groups).isdisjoint(groups)


def parse_mounts(value: object) -> tuple[SharedMount, ...]:
    """The mounts of a config, by target. Raises ValueError, or PlatformError for a group's name."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("must be a list of tables, each begun by [[mount]]")
    mounts = sorted((_parse(entry) for entry in value), key=lambda mount: mount.target)
    for first, second in combinations(mounts, 2):
        if meet(first.target, second.target):
            raise ValueError(f"the targets {first.target} and {second.target} hide each other")
    return tuple(mounts)


def inside(mounts: Iterable[SharedMount], state: str) -> SharedMount | None:
    """The first mount that would show part of the state directory."""
    return next((mount for mount in mounts if meet(mount.source, state)), None)


def meet(one: str, other: str) -> bool:
    """Whether two plain absolute paths are one, or one lies in the other."""
    return one == other or one.startswith(other.rstrip("/") + "/") or other.startswith(one.rstrip("/") + "/")


def _parse(entry: Mapping[str, object]) -> SharedMount:
    unknown = set(entry) - {"source", "target", "mode", "groups", "gid"}
    if unknown:
        raise ValueError(
            f"{', '.join(sorted(unknown))} is unknown; source, target, mode, groups, gid are not"
        )
    mode = entry.get("mode", "ro")
    if mode not in ("ro", "rw"):
        raise ValueError('mode must be "ro" or "rw"')
    source, target = _path(entry.get("source"), "source"), _path(entry.get("target"), "target")
    kept = next((kept for kept in _KEPT_TARGETS if meet(target, kept)), None)
    if kept is not None:
        raise ValueError(f"the target {target} would hide or lie in {kept}; choose another, such as /data")
    kept = next((kept for kept in _KEPT_SOURCES if meet(source, kept)), None)
    if kept is not None:
        raise ValueError(f"the source {source} would show {kept} of this machine")
    return SharedMount(source, target, mode == "ro", _groups(entry.get("groups", [])), _gid(entry.get("gid")))


def _path(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.startswith("/") or value.startswith("//"):
        raise ValueError(f"{what} must be an absolute path")
    if posixpath.normpath(value) != value or not value.isprintable():
        raise ValueError(f"{what} must be a plain path, without . or .. or a slash at its end")
    return value


def _groups(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("groups must be a list of names")
    return tuple(sorted({parse_group_name(name) for name in value}))


def _gid(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not _LOWEST_GID <= value <= _HIGHEST_GID or value in _NOBODY:
        raise ValueError(f"gid must be a whole number from {_LOWEST_GID}, and no 65534")
    return value
