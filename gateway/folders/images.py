"""The disk images of all workspaces: which there are, and where each goes when a workspace is moved.

Owns what lies in `workspaces/disks`: `7.ext4` is the image of workspace 7, mounted at `workspaces/7`, and
`7.socket` is shown in it as `socket`, so that a full image keeps nobody from listening there. Whether a
workspace is in an image is told by these alone. Must not know whose it is.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from gateway.folders.loops import SUFFIX, failed, is_sound
from gateway.folders.mounting import attach, detach, is_attached, make_image
from gateway.folders.outside import run_outside
from gateway.folders.steps import opened

DISKS = "disks"
SOCKET = "socket"


class Images:
    """The images below `workspaces`, a directory that root alone writes in. Blocking; raises OSError."""

    def __init__(self, workspaces: Path) -> None:
        self._workspaces = workspaces
        self._disks = workspaces / DISKS

    def has(self, name: str) -> bool:
        """Whether this workspace is in an image, one that is gone included."""
        return self._file(name).is_file() or self._shown(name).is_dir()

    def any(self) -> bool:
        """Whether there is any; False for who may not look."""
        return bool(self._names())

    def failed(self) -> int:
        """How many of those that are mounted cannot be written any more."""
        count = 0
        for name in self._names():
            with suppress(OSError), opened(self._workspaces / name, None) as files:
                count += failed(files)
        return count

    def make(self, name: str, size: int) -> None:
        """Make an image in which `size` bytes can be written for a workspace of which there is nothing yet.

        One that has an image, or files in a plain directory, is left as it is.
        """
        with suppress(FileNotFoundError):
            if self.has(name) or os.listdir(self._workspaces / name):
                return
        _directory(self._disks, 0o700)
        make_image(self._file(name), size)

    def attach(self, name: str, size: int) -> None:
        """Have the image of a workspace mounted, mended if need be, and with room for `size` bytes."""
        place, shown = self._workspaces / name, self._shown(name)
        if not self._file(name).exists():
            raise OSError(errno.EIO, f"the disk image {self._file(name)} is gone")
        _directory(place, 0o711)
        with opened(place, None) as files:
            sound = is_sound(files)
        if not sound:
            with suppress(OSError):
                detach(place / SOCKET)
        attach(self._file(name), place, size)
        _directory(shown, 0o711)
        _directory(place / SOCKET, 0o711)
        if not os.path.ismount(place / SOCKET):
            run_outside("mount", "--bind", shown, place / SOCKET)

    def is_attached(self, name: str) -> bool:
        """Whether the image of a workspace is mounted."""
        return is_attached(self._file(name), self._workspaces / name)

    def remove(self, name: str) -> None:
        """Delete an image and all that is in it; its mount point stays, empty. Absent is success."""
        if self.has(name):
            self.detach(name)
            self._file(name).unlink(missing_ok=True)
            _remove_socket(self._shown(name))

    def detach(self, name: str) -> None:
        """Unmount an image that no container shows. Raises OSError when one does."""
        detach(self._workspaces / name / SOCKET)
        detach(self._workspaces / name)

    def put_away(self, name: str, target: Path) -> bool:
        """Move an image to `target`, a path without its suffix: whether it is there, now or already.

        False for a workspace without an image, and when a plain one was put away there.
        """
        away = target.with_name(target.name + SUFFIX)
        if away.exists():
            return True
        if target.exists() or not self.has(name):
            return False
        self.detach(name)
        with suppress(FileNotFoundError):
            (self._workspaces / name).rmdir()
        _remove_socket(self._shown(name))
        self._file(name).rename(away)
        return True

    def show(self, target: Path) -> bool:
        """Mount what `put_away` moved to `target`, at that path: whether there is such an image."""
        away = target.with_name(target.name + SUFFIX)
        if not away.exists():
            return False
        _directory(target, 0o700)
        attach(away, target)
        return True

    def delete(self, target: Path) -> None:
        """Delete what `put_away` moved to `target`. Absent is success."""
        away = target.with_name(target.name + SUFFIX)
        if away.exists():
            detach(target)
            away.unlink()
        with suppress(FileNotFoundError):
            if not os.listdir(target):
                target.rmdir()

    def _shown(self, name: str) -> Path:
        return self._disks / f"{name}.{SOCKET}"

    def _names(self) -> list[str]:
        with suppress(OSError):
            return [each.removesuffix(SUFFIX) for each in os.listdir(self._disks) if each.endswith(SUFFIX)]
        return []

    def _file(self, name: str) -> Path:
        return self._disks / f"{name}{SUFFIX}"


def _directory(path: Path, mode: int) -> None:
    """Make a directory of root's, or leave one that is there."""
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
        path.chmod(mode)


def _remove_socket(shown: Path) -> None:
    """Remove what the broker left of its sockets."""
    with suppress(FileNotFoundError):
        for path in shown.iterdir():
            path.unlink()
        shown.rmdir()
