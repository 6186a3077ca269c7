"""The loop devices that show disk images: which there are, how they do, and how one becomes larger.

Owns the kernel's numbers (linux/loop.h, fs/ext4/ext4.h) and where it tells of them in /sys. Must not mount,
nor know whose an image is.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.folders.steps import opened

SUFFIX = ".ext4"
BLOCK = 4096

_ROOM = 96 << 20
"""The least that an image is larger than its quota; an eighth is added for what ext4 itself needs."""
_GROUP = 8 * BLOCK * BLOCK
"""A block group, 128 MiB: ext4 may have no use for a part of one."""
_RESIZE = 0x40086610
"""EXT4_IOC_RESIZE_FS; with what it has already it does nothing."""
_SET_CAPACITY = 0x4C07
"""LOOP_SET_CAPACITY: the file has become larger."""
_MAJOR = 7
"""Of loop devices (Documentation/admin-guide/devices.txt)."""
_SUPERBLOCK, _COUNTS = 1024, (4, 0x150)
"""Where it begins, and is told how many blocks there are, low and high word."""
_LEAST = 64 << 20
_FREE_SECONDS = 2.0


def capacity(size: int) -> int:
    """The bytes of an image in which `size` bytes can be written, and the platform's own besides."""
    return -(-(size + size // 8 + _ROOM) // _GROUP) * _GROUP


@dataclass(frozen=True)
class Device:
    """A loop device: its name, such as `loop0`, and the file that it shows."""

    name: str
    file: Path

    @property
    def path(self) -> Path:
        """Its node."""
        return Path("/dev") / self.name

    @property
    def size(self) -> int:
        """In bytes."""
        return int(Path(f"/sys/block/{self.name}/size").read_text()) * 512

    @property
    def facts(self) -> Path:
        """Where ext4 tells of itself."""
        return Path("/sys/fs/ext4") / self.name


def device(files: int) -> Device | None:
    """The device of the image that has `files`, an open directory; None for what lies in no image of ours."""
    number = os.fstat(files).st_dev
    if os.major(number) != _MAJOR:
        return None
    known = Path(f"/sys/dev/block/{_MAJOR}:{os.minor(number)}")
    try:
        file = Path((known / "loop" / "backing_file").read_text().removesuffix("\n"))
    except OSError:
        return None
    ours = file.suffix == SUFFIX and file.parent.parent.name == "workspaces"
    return Device(known.resolve().name, file) if ours else None


def grow(files: int, found: Device, size: int) -> None:
    """Make the image mounted under `files` at least `size` bytes large, while it is in use. Raises OSError.

    Each step is done again if a crash came after it.
    """
    if found.file.stat().st_size < size:
        os.truncate(found.file, size)
    whole = found.file.stat().st_size
    if found.size < whole:
        with opened(found.path, None, os.O_RDONLY | os.O_CLOEXEC) as loop:
            fcntl.ioctl(loop, _SET_CAPACITY)
    if extent(found.path) < whole:
        fcntl.ioctl(files, _RESIZE, struct.pack("=Q", whole // BLOCK))


def failed(files: int) -> bool:
    """Whether the image that has `files` took harm: a fault in it, or the machine's disk took no more."""
    found = device(files)
    if found is None:
        return False
    try:
        wrong = int((found.facts / "errors_count").read_text())
        return wrong > 0 or bool(os.fstatvfs(files).f_flag & os.ST_RDONLY)
    except (OSError, ValueError):
        return True


def starved(files: int) -> bool:
    """Whether the disk is full that the image lies on which has `files`: what people write is lost then."""
    found = device(files)
    if found is None:
        return False
    with suppress(OSError):
        seen = os.statvfs(found.file)
        return seen.f_bfree * seen.f_frsize < _LEAST
    return False


def is_sound(files: int) -> bool:
    """Whether the image that has `files` is as it should be, and its file system as large as its file."""
    found = device(files)
    if found is None or failed(files):
        return False
    return extent(found.path) == found.file.stat().st_size


def is_free(file: Path) -> bool:
    """Whether no device shows the file; one that has just been unmounted is waited for."""
    until = time.monotonic() + _FREE_SECONDS
    while any(shown == str(file.resolve()) for shown in _shown()):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _shown() -> Iterator[str]:
    """The files that loop devices show."""
    for told in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            yield told.read_text().removesuffix("\n")


def extent(place: Path) -> int:
    """The bytes that the file system in an image, or in its device, has been given."""
    with place.open("rb") as shown:
        shown.seek(_SUPERBLOCK)
        head = shown.read(_SUPERBLOCK)
    low, high = (int(struct.unpack_from("<I", head, offset)[0]) for offset in _COUNTS)
    return (high << 32 | low) * BLOCK
