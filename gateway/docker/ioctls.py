"""Which ioctl(2) commands a workspace may make: all but those that would lead out of its disk quota.

Owns the list of the others. Every command is 32 bits wide; the kernel ignores what stands above.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

WIDTH = 32

# The owner of a directory may make a subvolume in it, which no quota group counts (linux/btrfs.h), and make
# one that is hers read-only, so that it cannot be deleted.
_BTRFS = (
    0x50009401,  # BTRFS_IOC_SNAP_CREATE
    0x5000940E,  # BTRFS_IOC_SUBVOL_CREATE
    0x50009417,  # BTRFS_IOC_SNAP_CREATE_V2
    0x50009418,  # BTRFS_IOC_SUBVOL_CREATE_V2
    0x4008941A,  # BTRFS_IOC_SUBVOL_SETFLAGS
)
# The owner of a file may take it out of its project (linux/fs.h), and a directory's heirs.
_ATTRIBUTES = (
    0x401C5820,  # FS_IOC_FSSETXATTR
    0x40086602,  # FS_IOC_SETFLAGS
    0x40046602,  # FS_IOC32_SETFLAGS
)
REFUSED = frozenset(_BTRFS + _ATTRIBUTES)


def all_but(refused: Collection[int]) -> Iterator[tuple[int, int]]:
    """Masks and values: a command is none of `refused` exactly when for one pair `command & mask == value`.

    A seccomp profile can only say what is allowed, and compare an argument once a rule. The widest come
    first, which most commands belong to.
    """
    waiting = deque([(0, 0)])
    while waiting:
        bits, value = waiting.popleft()
        rest = WIDTH - bits
        if not any(command >> rest == value >> rest for command in refused):
            yield (1 << WIDTH) - (1 << rest), value
        elif rest:
            waiting += [(bits + 1, value), (bits + 1, value | 1 << rest - 1)]
