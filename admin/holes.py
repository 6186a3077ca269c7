"""Versions with known holes: a table, and whether a version is in it.

Owns the data. `fixed` names the first good version of each branch that got the fix. Must not know where
a version was read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Hole:
    """One hole of `component`. `reachable` says that a user of this platform could use it."""

    component: str
    name: str
    fixed: tuple[Version, ...]
    reachable: bool
    what: str


HOLES = (
    Hole("docker", "CVE-2026-34040", ((29, 3, 1),), False, "authorisation plugins can be passed by"),
    Hole(
        "docker",
        "CVE-2026-41567, -41568, -42306",
        ((29, 5, 1),),
        False,
        "`docker cp` out of a hostile container writes on the host; the gateway never does so",
    ),
    Hole("runc", "CVE-2024-21626", ((1, 1, 12),), True, "a container escapes through a leaked descriptor"),
    Hole(
        "runc",
        "CVE-2025-31133, -52565, -52881",
        ((1, 2, 8), (1, 3, 3), (1, 4, 0)),
        True,
        "a container escapes while it starts",
    ),
    Hole(
        "runc",
        "CVE-2026-41579",
        ((1, 3, 6), (1, 4, 1)),
        False,
        "an image's /dev is followed; not reachable through Docker",
    ),
    Hole("toolkit", "CVE-2024-0132, -0133", ((1, 16, 2),), True, "a container escapes while it starts"),
    Hole("toolkit", "CVE-2025-23359", ((1, 17, 4),), True, "the fix of CVE-2024-0132 was incomplete"),
    Hole(
        "toolkit",
        "CVE-2025-23266, -23267",
        ((1, 17, 8),),
        True,
        "an image's environment runs code as root on the host",
    ),
)


def parse(text: str) -> Version | None:
    """The first `N.N` or `N.N.N` in `text`; None when there is none."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def patched_elsewhere(text: str) -> bool:
    """Whether this version is a distribution's build, which gets fixes under an old number."""
    return re.search(r"[+~]|ubuntu|deb\d", text) is not None


def holes(component: str, version: Version, table: Sequence[Hole] = HOLES) -> list[Hole]:
    """The known holes of this version."""
    return [hole for hole in table if hole.component == component and _affected(version, hole.fixed)]


def _affected(version: Version, fixed: Sequence[Version]) -> bool:
    if version >= max(fixed):
        return False
    return not any(version[:2] == good[:2] and version >= good for good in fixed)
