"""A workspace in a disk image is held to a size.

Owns how: the image is larger than the quota, and the kernel keeps the rest free (`reserved_clusters`,
Documentation/ABI/testing/sysfs-fs-ext4). So a quota is met to the block, goes down as easily as up, and the
platform finds room in one that is full. Must not know whose workspace it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from gateway.folders.loops import BLOCK, capacity, device, grow
from gateway.folders.outside import write_outside
from gateway.folders.steps import make_directory

_KEPT = 4096
"""Blocks that ext4 keeps free at most when nobody says anything, 16 MiB."""
# Not among our rights, or a kernel or a mount of /sys that does not do it.
_CANNOT = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EOPNOTSUPP, errno.EIO)


class Image:
    """Holds a workspace to a size that lies in a mounted image."""

    def enforces(self, directory: int) -> bool:
        """Always."""
        return True

    def make(self, parent: int, name: str) -> None:
        """A plain directory."""
        make_directory(parent, name, 0o700)

    def limit(self, files: int, size: int | None) -> bool:
        """Hold it to `size` bytes, with None to all that is in the image; it grows, and never shrinks.

        False when it cannot be: this process may not, and an image grows before the next container then.
        """
        found = device(files)
        if found is None or self.limited_to(files) == size:
            return found is not None and size is not None
        could = size is None or _could(lambda: grow(files, found, capacity(size)))
        kept = 0 if size is None else os.fstatvfs(files).f_blocks - size // BLOCK
        tell = str(max(kept, _KEPT))
        could = _could(lambda: write_outside(found.facts / "reserved_clusters", tell)) and could
        return could and size is not None

    def limited_to(self, files: int) -> int | None:
        """The bytes that it is held to now; None: to nothing but the image."""
        found = device(files)
        with suppress(OSError, ValueError):
            kept = 0 if found is None else int((found.facts / "reserved_clusters").read_text())
            return (os.fstatvfs(files).f_blocks - kept) * BLOCK if kept > _KEPT else None
        return None

    def counted(self, files: int) -> int | None:
        """The bytes of its files, at this moment."""
        seen = os.fstatvfs(files)
        return (seen.f_blocks - seen.f_bfree) * seen.f_frsize

    def is_movable(self, files: int) -> bool:
        """Within its image."""
        return True

    def join(self, files: int, into: int) -> None:
        """What is moved within an image counts there already."""

    def forget(self, files: int) -> None:
        """Nothing is known of it outside."""


def make_room(files: int, size: int) -> None:
    """Let the image that has `files`, if any does, take `size` bytes more than it could, where we may."""
    found = device(files)
    if found is not None:
        _could(lambda: grow(files, found, found.size + capacity(size)))


def _could(work: Callable[[], None]) -> bool:
    """Do it: False when this process, kernel or mount of /sys does not. Raises OSError."""
    try:
        work()
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True
