"""One step at a time below a directory that is open: make, write, tell. Shared by what works on workspaces.

Owns that no step follows a link and that nothing is seen half-written. Must not know what a workspace is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.errors import Code, PlatformError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_directory(parent: int, name: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Make it, or finish what a crash left ours. One given to its owner is left as she has it."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    with opened(name, parent) as made:
        now = os.fstat(made)
        if now.st_uid != os.geteuid():
            return
        if stat.S_IMODE(now.st_mode) != mode:
            os.fchmod(made, mode)
        if owner is not None:
            os.fchown(made, *owner)


def write_file(parent: int, name: str, text: str, owner: tuple[int, int] | None = None) -> None:
    """Put a small file of mode 0644 in place, whole or not at all, in a directory that is still root's.

    One that is there and the same is left: on a full disk nothing could be written.
    """
    if owner is None and _holds(parent, name, text):
        return
    partial = f".{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(partial, flags, 0o600, dir_fd=parent), "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
        if owner is not None:
            os.fchown(file.fileno(), *owner)
    os.rename(partial, name, src_dir_fd=parent, dst_dir_fd=parent)


def _holds(parent: int, name: str, text: str) -> bool:
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent), "rb") as file:
            return stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o644 and file.read() == text.encode()
    except OSError:
        return False


@contextmanager
def opened(path: str | Path, parent: int | None, flags: int = DIRECTORY) -> Iterator[int]:
    """A descriptor of `path` below `parent`, closed after the block. Raises OSError."""
    descriptor = os.open(path, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn the system's refusal into one sentence for people."""
    try:
        yield
    except OSError as error:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"cannot {doing} ({error.strerror or error}); ask your operator to look at the state directory",
        ) from error
