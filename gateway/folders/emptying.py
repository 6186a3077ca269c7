"""Deletes what users made, as root, without being led astray.

Owns one promise: nothing outside the given directory is touched, however deep the tree is and whoever
exchanges directories for links meanwhile. Must not know what a workspace is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from itertools import count

from gateway.folders.btrfs import is_nested

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSES = 64


def empty(top: int) -> None:
    """Delete everything in the directory open as `top`. Raises OSError for what resists (a mount).

    No recursion and three descriptors at most: a directory's own directories are moved up into `top` until it
    can be removed, so that ten thousand nested ones cost no stack. A link is removed, never followed: every
    step is one component from a descriptor. Ends with OSError when others keep filling it.
    """
    names = _fresh_names()
    for _ in range(_PASSES):
        _one_pass(top, top, names)
        if not os.listdir(top):
            return
    raise OSError(errno.ENOTEMPTY, "somebody keeps making files there")


def _one_pass(top: int, outer: int, names: Iterator[str]) -> list[str]:
    """Go once through `top`, which is `outer` or a subvolume of btrfs in it: what was moved up into `outer`.

    No directory can be moved out of its subvolume, but a whole subvolume can.
    """
    waiting, handed = os.listdir(top), []
    while waiting:
        name = waiting.pop()
        if _removed_file(top, name):
            continue
        directory = _open_directory(top, name)
        if directory is None:
            continue
        try:
            if not is_nested(directory, top):
                waiting += _hollow(directory, top, names)
            elif top == outer:
                waiting += _one_pass(directory, outer, names)
            else:
                handed += _moved(top, name, outer, names)
                continue
        finally:
            os.close(directory)
        _remove_directory(top, name)
    return handed


def _hollow(directory: int, top: int, names: Iterator[str]) -> list[str]:
    """Remove the files of `directory` and move its directories up into `top`; their new names."""
    moved = []
    for name in os.listdir(directory):
        if not _removed_file(directory, name):
            moved += _moved(directory, name, top, names)
    return moved


def _moved(directory: int, name: str, target: int, names: Iterator[str]) -> list[str]:
    """Move one into `target`: its new name, or none when it is gone."""
    fresh = next(names)
    with contextlib.suppress(FileNotFoundError):
        os.rename(name, fresh, src_dir_fd=directory, dst_dir_fd=target)
        return [fresh]
    return []


def _removed_file(parent: int, name: str) -> bool:
    """Remove anything but a directory; True when it is gone. unlink(2) never follows and says EISDIR."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        return False
    except FileNotFoundError:
        return True
    return True


def _open_directory(top: int, name: str) -> int | None:
    """A descriptor, or None when it was exchanged or removed since it was looked at; the next pass sees."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=top)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _remove_directory(top: int, name: str) -> None:
    """Remove a hollow directory; one that was filled or exchanged meanwhile is left to the next pass."""
    try:
        os.rmdir(name, dir_fd=top)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY):
            raise


def _fresh_names() -> Iterator[str]:
    """Names that nobody can have put there before, so that no rename replaces anything."""
    prefix = secrets.token_hex(8)
    return (f".{prefix}.{number}" for number in count())
