"""The state directory: made once, for root and the group of operators.

Owns its mode, its group and the file modes inside that decide who is an operator. Must not know what
the files hold.
"""

from __future__ import annotations

import fcntl
import grp
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.errors import Code, PlatformError

OPERATORS = "gpu-operators"


def operators_group() -> int | None:
    """The gid of the group whose members are operators, or None where nobody made it."""
    try:
        return grp.getgrnam(OPERATORS).gr_gid
    except KeyError:
        return None


def ensure_directory(state: Path, group: int | None) -> None:
    """Make the state directory, 0750 for `group`, unless it is there; its parent must be.

    A missing parent is refused: it is a mistyped path or a disk that is not mounted, and an empty new
    database there would look as if everybody had been forgotten. Raises UNAVAILABLE.
    """
    try:
        state.mkdir(mode=0o750)
    except FileExistsError:
        return _check(state)
    except FileNotFoundError:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"The directory {state.parent} does not exist; mount or create it, or name another with --state.",
        ) from None
    except OSError as error:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"The state directory {state} cannot be made ({os.strerror(error.errno or 0)}); run as root, "
            "or name another with --state.",
        ) from None
    # The umask may have taken bits away.
    state.chmod(0o750)
    _give(state, group)


def _check(state: Path) -> None:
    if not state.is_dir():
        raise PlatformError(
            Code.UNAVAILABLE, f"{state} is not a directory; move it away, or name another with --state."
        )
    if not os.access(state, os.R_OK | os.X_OK):
        raise PlatformError(
            Code.UNAVAILABLE,
            f"The state directory {state} is closed to you; run this as root or a member of {OPERATORS}.",
        )


def share_file(path: Path, group: int | None) -> None:
    """Let root and the operators write a file, and nobody else; SQLite gives its -wal and -shm the same mode.

    Only root can: for everybody else it stays as it is.
    """
    # A disk that cannot be written is for SQLite to report, when something has to be.
    with suppress(OSError):
        if stat.S_IMODE(path.stat().st_mode) != 0o660:
            path.chmod(0o660)
        _give(path, group)


def _give(path: Path, group: int | None) -> None:
    # Only root may give a file to a group that it is not in; a trial by somebody else stays her own.
    if group is not None and os.geteuid() == 0 and path.stat().st_gid != group:
        os.chown(path, -1, group)


def refuse_orphans(database: Path) -> None:
    """Raise UNAVAILABLE when people's files are there and the database is not.

    A new one would count ids from 1 again and give an old user's files to the next new user.
    """
    workspaces = database.parent / "workspaces"
    if workspaces.is_dir() and any(workspaces.iterdir()):
        raise PlatformError(
            Code.UNAVAILABLE,
            f"The database {database} is missing while {workspaces} holds people's files; copy your backup "
            f"to {database}, or move {workspaces} away to start afresh.",
        )


@contextmanager
def alone_in(state: Path) -> Iterator[None]:
    """Keep other processes out of this block, for the first steps that SQLite does not protect by itself."""
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
