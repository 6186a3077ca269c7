"""Disks as tests need them: small ones that fill up, and one on which root is nobody.

Owns mounts of this machine, and takes every one away again. Must not assert anything about a gateway.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TEXT: Any = {"check": True, "capture_output": True, "text": True}
# Of the generic system call table, and of mount.h and fcntl.h.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _AT_EMPTY_PATH, _AT_FDCWD = 1, 4, 0x1000, -100
_MOUNT_ATTR_IDMAP = 0x00100000


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of its own, mounted at `folder`/disk; no part of it is kept for root."""
    image, disk = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    disk.mkdir()
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
        image.unlink()


@contextmanager
def btrfs_disk(folder: Path, megabytes: int = 128, *, quotas: bool = True) -> Iterator[Path]:
    """A btrfs of its own, mounted at `folder`/btrfs, which counts unless `quotas` are off."""
    image, disk = folder / "btrfs.img", folder / "btrfs"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    disk.mkdir()
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        if quotas:
            subprocess.run(["btrfs", "quota", "enable", disk], check=True)
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
        disk.rmdir()
        image.unlink()


def committed(disk: Path) -> None:
    """Return when the disk has counted all that was written."""
    subprocess.run(["sync", "--file-system", disk], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte: the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


@contextmanager
def squashed(source: Path, target: Path, uid: int) -> Iterator[None]:
    """Show `source` at `target` so that `uid` alone has a name there: root can make and give away nothing.

    An idmapped mount (mount_setattr(2)): like root_squash of an NFS server, by the kernel itself. A uid
    without a mapping gets EOVERFLOW.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(*arguments: object) -> int:
        result: int = libc.syscall(*arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", "echo; read end"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as inside:
        assert inside.stdin is not None
        assert inside.stdout is not None
        inside.stdout.readline()
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{inside.pid}/{name}").write_text(f"{uid} {uid} 1\n")
        namespace = os.open(f"/proc/{inside.pid}/ns/user", os.O_RDONLY)
        inside.stdin.close()
    tree = call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, namespace)
    try:
        call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, len(attributes))
        call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)
        os.close(namespace)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", target], check=True)


def loop_devices(folder: Path) -> list[str]:
    """The names of the files below `folder` that loop devices show."""
    shown = subprocess.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], **_TEXT)
    return [Path(line).name for line in shown.stdout.split("\n") if line.startswith(f"{folder}/")]


@contextmanager
def image_mounts(folder: Path) -> Iterator[None]:
    """Unmount everything below `folder` in the end."""
    try:
        yield
    finally:
        unmount_below(folder)


def unmount_below(folder: Path) -> None:
    """As a machine does that is shut down."""
    shown = subprocess.run(["findmnt", "--raw", "--noheadings", "--output", "TARGET"], **_TEXT).stdout.split()
    for target in reversed([each for each in shown if each.startswith(f"{folder}/")]):
        subprocess.run(["umount", target], check=True)
