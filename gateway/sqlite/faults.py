"""What SQLite reports, in words that an operator can act on.

Owns the mapping from result codes (sqlite.org/rescode.html) to PlatformError. Must not look at the
text of an error: it is not an interface.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import Code, PlatformError

_SENTENCES = {
    sqlite3.SQLITE_BUSY: "The database {path} is in use by another command; try again in a moment.",
    sqlite3.SQLITE_LOCKED: "The database {path} is in use by another command; try again in a moment.",
    sqlite3.SQLITE_FULL: "The disk that holds {path} is full; free some space on it and try again.",
    sqlite3.SQLITE_IOERR: "The disk that holds {path} fails; check it (dmesg, df) and try again.",
    sqlite3.SQLITE_READONLY: "The database {path} cannot be written; run this as root, and check that its "
    "file system is not mounted read-only.",
    sqlite3.SQLITE_PERM: "The database {path} may not be opened; "
    "run this as root or a member of gpu-operators.",
    sqlite3.SQLITE_CANTOPEN: "The database {path} cannot be opened; run this as root (a member of "
    "gpu-operators needs the gateway to run), and check that the directory is there.",
}


def damaged(path: Path) -> PlatformError:
    """The one answer to a file that is no sound database: how to put a backup in its place."""
    return PlatformError(
        Code.UNAVAILABLE,
        f"The database {path} is damaged; stop the gateway, move {path.name}, {path.name}-wal and "
        f"{path.name}-shm out of {path.parent}, copy your backup to {path}, and start the gateway again.",
    )


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn every sqlite3 error inside the block into a PlatformError.

    A broken constraint is CONFLICT (a check before it lost a race), a failing database UNAVAILABLE. A
    statement that SQLite does not understand is a fault of ours: it passes, and ends as INTERNAL outside.
    """
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the primary code; the rest tells its variants apart.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise damaged(path) from error
        if code == sqlite3.SQLITE_CONSTRAINT:
            raise PlatformError(
                Code.CONFLICT, "Somebody else made the same change first; look again and retry."
            ) from error
        if code in _SENTENCES:
            raise PlatformError(Code.UNAVAILABLE, _SENTENCES[code].format(path=path)) from error
        raise
