"""btrfs: each workspace is a subvolume, and a quota group holds it to a size.

Owns the kernel's numbers and structures (linux/btrfs.h, linux/btrfs_tree.h) and where it counts (sysfs, since
5.9). A workspace's group is one level up, so that it also counts subvolumes that were handed over into the
workspace. Must not know whose workspace it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUBVOL_CREATE = 0x5000940E
_INO_LOOKUP = 0xD0009412
_FS_INFO = 0x8400941F
_TREE_SEARCH = 0xD0009411
_QGROUP_ASSIGN = 0x40189429
_QGROUP_CREATE = 0x4010942A
_QGROUP_LIMIT = 0x8030942B
_QUOTA_RESCAN = 0x4040942C
_TOP = 256
"""BTRFS_FIRST_FREE_OBJECTID: the inode number of the top of every subvolume, and of nothing else."""
_LEVEL = 213
"""Of our groups, 213/SUBVOLUME; a number that other programs, which count from 1, do not use."""
_MAX_RFER = 1
_NO_LIMIT = (1 << 64) - 1
_QUOTA_TREE = 8
_RELATION = 246
# Quotas are off; an older kernel's word for that; or this process may not (CAP_SYS_ADMIN).
_CANNOT = (errno.ENOTCONN, errno.EINVAL, errno.EPERM, errno.ENOENT, errno.EOPNOTSUPP)
_COUNTERS = Path("/sys/fs/btrfs")


class Btrfs:
    """Holds subvolumes to a size while the file system's quotas are on (`btrfs quota enable`)."""

    def enforces(self, directory: int) -> bool:
        """Whether the quotas of the file system are on."""
        return _counters(directory).is_dir()

    def make(self, parent: int, name: str) -> None:
        """Make a directory that can be held: a subvolume, whose mode is 0755 at first. There is success."""
        with suppress(FileExistsError):
            fcntl.ioctl(parent, _SUBVOL_CREATE, bytearray(struct.pack("=q4088s", 0, name.encode())))

    def limit(self, files: int, size: int | None) -> bool:
        """Hold the workspace open as `files` to `size` bytes, with None to nothing any more.

        False when it cannot be: quotas are off, we may not, or it is a plain directory. Raises OSError.
        """
        subvolume = _subvolume(files)
        if subvolume is None or not self.enforces(files):
            return False
        if self.limited_to(files) == size:
            return size is not None
        group, most = _group(subvolume), _NO_LIMIT if size is None else size
        try:
            with _outside(files) as parent:
                with suppress(FileExistsError):
                    fcntl.ioctl(parent, _QGROUP_CREATE, struct.pack("=QQ", 1, group))
                _assign(parent, subvolume, group)
                # Last: a group with a limit is one that is complete.
                fcntl.ioctl(parent, _QGROUP_LIMIT, struct.pack("=QQQQQQ", group, _MAX_RFER, most, 0, 0, 0))
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            return False
        return size is not None

    def limited_to(self, files: int) -> int | None:
        """The bytes that a workspace is held to now; None: it is not."""
        flags, most = _read(files, "limit_flags"), _read(files, "max_referenced")
        return most if flags is not None and flags & _MAX_RFER else None

    def counted(self, files: int) -> int | None:
        """The bytes that a workspace takes, as of the last commit (30 s); None where nobody counts."""
        return _read(files, "referenced")

    def is_movable(self, files: int) -> bool:
        """A subvolume goes anywhere, a plain directory not out of its own."""
        return _subvolume(files) is not None

    def join(self, files: int, into: int) -> None:
        """Count what `files` has, all of it, as part of the workspace open as `into`."""
        source, target = _subvolume(files), _subvolume(into)
        if source is None or target is None or not self.enforces(files):
            return
        # Files that are counted nowhere do less harm than a hand-over that stops half-way.
        with suppress(OSError), _outside(files) as parent:
            for member in {source, *_members(files, _group(source))}:
                _assign(parent, member, _group(target))
        self.forget(files)

    def forget(self, files: int) -> None:
        """Take a workspace's group away; its subvolumes go with their last file."""
        subvolume = _subvolume(files)
        if subvolume is None or not self.enforces(files):
            return
        group = _group(subvolume)
        # What stays is a number that nobody will use again.
        with suppress(OSError), _outside(files) as parent:
            for member in _members(files, group):
                fcntl.ioctl(parent, _QGROUP_ASSIGN, struct.pack("=QQQ", 0, member, group))
            fcntl.ioctl(parent, _QGROUP_CREATE, struct.pack("=QQ", 0, group))


def is_nested(files: int, beside: int) -> bool:
    """Whether `files` is open on the top of a subvolume other than the one that has `beside`."""
    found = os.fstat(files)
    return found.st_ino == _TOP and found.st_dev != os.fstat(beside).st_dev


@contextmanager
def _outside(files: int) -> Iterator[int]:
    """The directory above a workspace: through one that is full even its limit could not be changed."""
    parent = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=files)
    try:
        yield parent
    finally:
        os.close(parent)


def _group(subvolume: int) -> int:
    return _LEVEL << 48 | subvolume


def _subvolume(files: int) -> int | None:
    """The id of the subvolume whose top is open as `files`; None for any other directory."""
    if os.fstat(files).st_ino != _TOP:
        return None
    answer = bytearray(struct.pack("=QQ4080x", 0, _TOP))
    fcntl.ioctl(files, _INO_LOOKUP, answer)
    return int(struct.unpack_from("=Q", answer)[0])


def _assign(files: int, member: int, group: int) -> None:
    """Put a group into another. Counted anew when the kernel cannot tell by itself what that changes."""
    with suppress(FileExistsError):
        if fcntl.ioctl(files, _QGROUP_ASSIGN, bytearray(struct.pack("=QQQ", 1, member, group))) > 0:
            with suppress(OSError):
                fcntl.ioctl(files, _QUOTA_RESCAN, bytes(64))


def _members(files: int, group: int) -> list[int]:
    """The subvolumes in a group: the items (group, RELATION, subvolume) of the quota tree."""
    request = bytearray(4096)
    most = _NO_LIMIT
    struct.pack_into(
        "=QQQQQQQIII", request, 0, _QUOTA_TREE, group, group, 0, most, 0, most, _RELATION, _RELATION, 100
    )
    fcntl.ioctl(files, _TREE_SEARCH, request)
    found, place = [], 104
    for _ in range(struct.unpack_from("=I", request, 64)[0]):
        _, _, member, _, length = struct.unpack_from("=QQQII", request, place)
        if not member >> 48:
            found.append(int(member))
        place += 32 + length
    return found


def _counters(files: int) -> Path:
    """Where this file system's groups are counted; there only while its quotas are on."""
    answer = bytearray(1024)
    fcntl.ioctl(files, _FS_INFO, answer)
    return _COUNTERS / str(uuid.UUID(bytes=bytes(answer[16:32]))) / "qgroups"


def _read(files: int, name: str) -> int | None:
    subvolume = _subvolume(files)
    if subvolume is None:
        return None
    try:
        return int((_counters(files) / f"{_LEVEL}_{subvolume}" / name).read_text(), 0)
    except OSError:
        return None
