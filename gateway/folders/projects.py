"""xfs and ext4: each workspace is a project, which the kernel holds to a size.

Owns the kernel's numbers and structures (linux/fs.h, linux/dqblk_xfs.h, quotactl(2)). What is made in a
directory with the flag PROJINHERIT gets its project; the containers' seccomp profile keeps users from
changing that. Must not know whose workspace it is.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from contextlib import suppress

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GET_ATTRIBUTES = 0x801C581F
_SET_ATTRIBUTES = 0x401C5820
_ATTRIBUTES = struct.Struct("=IIIII8s")
"""struct fsxattr: flags, extent size, extents, project, copy-on-write extent size."""
_INHERIT = 0x200
_QUOTACTL_FD = 443
_PROJECTS = 2
_GET, _SET, _GET_STATE = 0x5803, 0x5804, 0x5805
_STATE_BYTES = 256
_STATE = struct.Struct("=bxH")
"""The begin of struct fs_quota_stat: version, flags."""
_ENFORCED = 1 << 5
"""FS_QUOTA_PDQ_ENFD"""
_HARD_LIMIT = 1 << 3
_BLOCK = 512
_QUOTA = struct.Struct("=bbHIQQQQQ64x")
"""struct fs_disk_quota: version, type, fields, id, the limits of blocks and files, blocks in use."""
# Not mounted with prjquota, or without quotas; or this process may not (CAP_SYS_ADMIN), or the kernel is old.
_CANNOT = (errno.ESRCH, errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY)
_OURS = 1 << 30
"""Set in every number of ours, to keep away from those that operators give (projid(5))."""


class Projects:
    """Holds directories to a size on a file system that is mounted with `prjquota`."""

    def enforces(self, directory: int) -> bool:
        """Whether the file system holds projects to their limits, and does not only count."""
        state = ctypes.create_string_buffer(_STATE_BYTES)
        try:
            _quotactl(directory, _GET_STATE, 0, state)
        except OSError:
            return False
        return is_enforced(state.raw)

    def make(self, parent: int, name: str) -> None:
        """Make a directory that can be held, of a project of its own. There is success."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return
        files = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            # A file system that knows no projects has a plain directory then.
            with suppress(OSError):
                _mark(files, os.fstat(files).st_ino % _OURS | _OURS)
        finally:
            os.close(files)

    def limit(self, files: int, size: int | None) -> bool:
        """Hold the workspace open as `files` to `size` bytes, with None to nothing any more.

        False when it cannot be: quotas are off, we may not, or it is of no project. Raises OSError.
        """
        project = _project(files)
        blocks = 0 if size is None else max(size // _BLOCK, 1)
        if not project or not self.enforces(files):
            return False
        wanted = _packed(project, blocks)
        try:
            _quotactl(files, _SET, project, wanted)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            return False
        return size is not None

    def limited_to(self, files: int) -> int | None:
        """The bytes that a workspace is held to now; None: it is not.

        Limits outlive the option that enforces them.
        """
        if not self.enforces(files):
            return None
        found = _quota(files, _project(files))
        return found[0] if found and found[0] else None

    def counted(self, files: int) -> int | None:
        """The bytes that a workspace takes; None where nobody counts."""
        found = _quota(files, _project(files))
        return None if found is None else found[1]

    def is_movable(self, files: int) -> bool:
        """`join` makes it so."""
        return True

    def join(self, files: int, into: int) -> None:
        """Make all that is below `files` part of the project of the workspace open as `into`.

        Else it could not be moved there: rename(2) from one project into another is refused (EXDEV).
        """
        project = _project(into)
        self.forget(files)
        _mark_all(files, project)

    def forget(self, files: int) -> None:
        """Leave nothing of a project but its files, which can then be moved up into `files` to be deleted."""
        with suppress(OSError):
            self.limit(files, None)
            _mark(files, 0)


def _mark_all(top: int, project: int) -> None:
    """Mark a whole tree, however deep: down by name, up by `..`, with two descriptors at most.

    Nobody can reach the files meanwhile, so no directory is exchanged or moved under us.
    """
    current = os.dup(top)
    waiting = [_mark_here(current, project)]
    try:
        while waiting:
            name = waiting[-1].pop() if waiting[-1] else ".."
            if name == "..":
                waiting.pop()
                if not waiting:
                    return
            entered = os.open(name, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = entered
            if name != "..":
                waiting.append(_mark_here(current, project))
    finally:
        os.close(current)


def _mark_here(directory: int, project: int) -> list[str]:
    """Mark a directory and the files in it: the names of the directories in it."""
    _mark(directory, project)
    inner = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            elif entry.is_file(follow_symlinks=False):
                # What is neither cannot be opened for this, and takes no space.
                found = os.open(entry.name, _FILE, dir_fd=directory)
                try:
                    _mark(found, project)
                finally:
                    os.close(found)
    return inner


def _mark(files: int, project: int) -> None:
    """Set the project of a file, and of what will be made in a directory."""
    answer = bytearray(_ATTRIBUTES.size)
    fcntl.ioctl(files, _GET_ATTRIBUTES, answer)
    flags, extent, _, _, copied, _ = _ATTRIBUTES.unpack(answer)
    if stat.S_ISDIR(os.fstat(files).st_mode):
        flags = flags | _INHERIT if project else flags & ~_INHERIT
    fcntl.ioctl(files, _SET_ATTRIBUTES, _ATTRIBUTES.pack(flags, extent, 0, project, copied, b""))


def _project(files: int) -> int:
    """The project of a directory; 0: none."""
    answer = bytearray(_ATTRIBUTES.size)
    try:
        fcntl.ioctl(files, _GET_ATTRIBUTES, answer)
    except OSError:
        return 0
    flags, _, _, project, _, _ = _ATTRIBUTES.unpack(answer)
    return int(project) if flags & _INHERIT else 0


def _packed(project: int, blocks: int) -> ctypes.Array[ctypes.c_char]:
    """A struct fs_disk_quota that sets the hard limit of a project, in blocks of 512 bytes; 0: none."""
    wanted = _QUOTA.pack(1, _PROJECTS, _HARD_LIMIT, project, blocks, 0, 0, 0, 0)
    return ctypes.create_string_buffer(wanted, _QUOTA.size)


def parse(answer: bytes) -> tuple[int, int]:
    """A struct fs_disk_quota: the hard limit and what is used, in bytes; a limit of 0 is none."""
    fields = _QUOTA.unpack(answer)
    return int(fields[4]) * _BLOCK, int(fields[8]) * _BLOCK


def is_enforced(state: bytes) -> bool:
    """Whether a struct fs_quota_stat says that projects are held to their limits."""
    _, flags = _STATE.unpack_from(state)
    return bool(flags & _ENFORCED)


def _quota(files: int, project: int) -> tuple[int, int] | None:
    """What `parse` says of a project; None where there are no quotas of projects."""
    if not project:
        return None
    answer = ctypes.create_string_buffer(_QUOTA.size)
    try:
        _quotactl(files, _GET, project, answer)
    except FileNotFoundError:
        # xfs: quotas are on, and nobody has set or used anything.
        return 0, 0
    except OSError:
        return None
    return parse(answer.raw)


def _quotactl(files: int, command: int, project: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    """quotactl_fd(2), since Linux 5.14."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_QUOTACTL_FD, files, command << 8 | _PROJECTS, project, buffer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
