"""People who write into workspaces without containers, as the kernel sees them.

Owns their processes. Must not assert anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway.folders import WorkspaceFolders
from gateway.users import User

MEBI = 1 << 20
LIMIT = 8 * MEBI


def person(id_: int, home: str | None = None) -> User:
    """A user with this id, and a uid that nobody has."""
    return User(id_, f"u{id_}", 39000 + id_, 39000 + id_, True, datetime(2026, 1, 1, tzinfo=UTC), home)


ALICE, BOB, CAROL = person(7), person(8), person(9)


def own(disk: Path, user: User) -> Path:
    """The workspace of a user."""
    return disk / "workspaces" / str(user.id)


def made(folders: WorkspaceFolders, user: User, limit: int = LIMIT) -> None:
    """Make a workspace ready for a container, as the broker does."""
    folders.prepare(user, size=limit)
    folders.clear_temporary(user.id)
    folders.limit(user.id, limit)


def as_(user: User, place: Path, work: Callable[[], object]) -> int:
    """Do something as a user, as her container would: 0, or the number of the error that it ended with."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            os.chdir(place)
            work()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def write(megabytes: int, name: str = "file") -> Callable[[], object]:
    """Writes that many of what cannot be made smaller."""

    def work() -> None:
        with open(name, "wb", buffering=0) as file:
            for _ in range(megabytes):
                file.write(os.urandom(MEBI))

    return work
