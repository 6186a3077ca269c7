"""What can hold a workspace to a size: that depends on the file system it lies on.

Owns the choice, and how the platform's own steps get round a full workspace. Must not know whose it is.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from gateway.folders.btrfs import Btrfs
from gateway.folders.image import Image
from gateway.folders.loops import device
from gateway.folders.projects import Projects
from gateway.folders.steps import make_directory, opened

_STATFS_BYTES = 256


class FileSystem(IntEnum):
    """Those that can hold something, by their number in statfs(2)."""

    BTRFS = 0x9123683E
    XFS = 0x58465342
    EXT4 = 0xEF53


class Hold(Protocol):
    """A way to hold directories to a size. Each method takes descriptors; `files` is a workspace's."""

    def enforces(self, directory: int) -> bool:
        """Whether anything below can be held now."""

    def make(self, parent: int, name: str) -> None:
        """Make a directory that can be held. One that is there is left alone."""

    def limit(self, files: int, size: int | None) -> bool:
        """Hold it to `size` bytes, with None to nothing any more: whether it is held now."""

    def limited_to(self, files: int) -> int | None:
        """The bytes that it is held to now; None: it is not."""

    def counted(self, files: int) -> int | None:
        """The bytes that it takes; None where nobody counts them."""

    def is_movable(self, files: int) -> bool:
        """Whether rename(2) can take it into another workspace, once it has joined that."""

    def join(self, files: int, into: int) -> None:
        """Count all of `files`, which is about to be moved there, as part of the workspace `into`."""

    def forget(self, files: int) -> None:
        """Leave nothing of a workspace that is about to be removed."""


class Nothing:
    """A file system that can hold nothing to a size."""

    def enforces(self, directory: int) -> bool:
        """Never."""
        return False

    def make(self, parent: int, name: str) -> None:
        """A plain directory."""
        make_directory(parent, name, 0o700)

    def limit(self, files: int, size: int | None) -> bool:
        """Never held."""
        return False

    def limited_to(self, files: int) -> int | None:
        """Never."""
        return None

    def counted(self, files: int) -> int | None:
        """By nobody."""
        return None

    def is_movable(self, files: int) -> bool:
        """It is all one file system."""
        return True

    def join(self, files: int, into: int) -> None:
        """Nothing to do."""

    def forget(self, files: int) -> None:
        """Nothing to do."""


def kind(directory: int) -> int:
    """The number of the file system that a directory lies on; 0 when it cannot be told."""
    # The first word of the answer, whatever else the architecture has in it.
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if ctypes.CDLL(None).fstatfs(directory, answer) < 0:
        return 0
    return ctypes.c_ulong.from_buffer(answer).value


def hold_on(directory: int) -> Hold:
    """What can hold workspaces in the directory open as `directory`."""
    match kind(directory):
        case FileSystem.BTRFS:
            return Btrfs()
        case FileSystem.EXT4 if device(directory) is not None:
            return Image()
        case FileSystem.XFS | FileSystem.EXT4:
            return Projects()
        case _:
            return Nothing()


def look_at(directory: Path) -> tuple[str, bool]:
    """The name of the file system that has `directory`, and whether it holds workspaces now.

    `file system` is the name of one that can hold nothing.
    """
    with opened(directory, None, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as found:
        number = kind(found)
        name = FileSystem(number).name.lower() if number in list(FileSystem) else "file system"
        return name, hold_on(found).enforces(found)


@contextmanager
def lifted(hold: Hold, files: int) -> Iterator[None]:
    """Hold a workspace to nothing for this block, which is the platform's: hers may be full.

    Where a file system counts root's writes too, nothing could be renamed in a full one. A crash inside
    leaves it unheld until the next look.
    """
    before = hold.limited_to(files)
    if before is None:
        yield
        return
    hold.limit(files, None)
    try:
        yield
    finally:
        hold.limit(files, before)
