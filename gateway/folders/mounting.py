"""Disk images: sparse files with an ext4 of their own, mounted where a workspace is.

Owns how one is made, mended and mounted. Whatever moment a crash chooses, doing it again goes on from there.
Must not know whose workspace it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.folders.loops import BLOCK, capacity, device, extent, is_free, is_sound
from gateway.folders.outside import run, run_outside
from gateway.folders.steps import opened

# One inode a block: nobody runs out of files before she runs out of space. The journal is small, for the
# machine's disk has to give it at once.
_MKFS = ("-q", "-b", str(BLOCK), "-i", str(BLOCK), "-m", "0", "-O", "64bit,metadata_csum", "-J", "size=32")
# discard: what is deleted is given back to the machine. noinit_itable: nothing is written ahead of use.
_OPTIONS = "loop,nosuid,nodev,discard,noinit_itable,errors=remount-ro"
_FIXED = (0, 1, 2, 3)
"""What e2fsck(8) ends with when nothing is wrong any more; 2 asks for a boot, which a file does not need."""


def make_image(file: Path, size: int) -> None:
    """Make an image in which `size` bytes can be written, whole or not at all. There is success."""
    if file.exists():
        return
    partial = file.with_suffix(".new")
    partial.unlink(missing_ok=True)
    with partial.open("xb") as made:
        os.fchmod(made.fileno(), 0o600)
        made.truncate(capacity(size))
    run("mkfs.ext4", *_MKFS, partial)
    with partial.open("rb") as made:
        os.fsync(made.fileno())
    partial.rename(file)


def attach(file: Path, place: Path, size: int = 0) -> None:
    """Have the image mounted at `place`, an empty directory, sound and as large as its file. Raises OSError.

    One that is mounted and is not so is unmounted and mended first; one that cannot be mended is not mounted.
    Before it is mounted it gets room for `size` bytes.
    """
    with _alone(file) as lock:
        if is_attached(file, place):
            with opened(place, None) as files:
                if is_sound(files):
                    return
            try:
                detach(place)
            except OSError:
                # In use, as by us while a container shows it: it stays as it is until the next one.
                return
        if os.listdir(place):
            raise OSError(errno.ENOTEMPTY, f"files lie in {place} beside the image {file}")
        # What a container still shows is mounted there again as it is: mended it would be by two at once.
        if is_free(file):
            _mend(file, lock)
            _stretch(file, lock, capacity(size))
        _mount(file, place)
        if not is_attached(file, place):
            raise OSError(errno.EIO, f"{file} is mounted, but does not appear at {place}")


def detach(place: Path) -> None:
    """Unmount what is mounted at `place`, if anything; and its loop device. Raises OSError when in use."""
    while os.path.ismount(place):
        run_outside("umount", place)


def is_attached(file: Path, place: Path) -> bool:
    """Whether this image is mounted there."""
    if not os.path.ismount(place):
        return False
    with opened(place, None) as files:
        found = device(files)
    return found is not None and found.file == file.resolve()


def _mend(file: Path, lock: int) -> None:
    """Play back the journal, and mend what e2fsck mends without asking; at once where nothing is wrong."""
    try:
        run("e2fsck", "-p", file, keep=(lock,), fine=_FIXED)
    except OSError as error:
        raise OSError(errno.EUCLEAN, f"the disk image {file} is damaged; run e2fsck -f on it") from error


def _mount(file: Path, place: Path) -> None:
    try:
        run_outside("mount", "-t", "ext4", "-o", _OPTIONS, file, place)
    except OSError as error:
        page = "docs/operations.md, Disk images, says what that needs"
        raise OSError(errno.EPERM, f"an image cannot be mounted; {page}: {error.strerror}") from error


def _stretch(file: Path, lock: int, size: int) -> None:
    """Let the file system have all of a file of at least `size` bytes; a crash may have kept it."""
    if file.stat().st_size < size:
        os.truncate(file, size)
    if extent(file) < file.stat().st_size:
        # resize2fs(8) asks for a whole check first.
        run("e2fsck", "-f", "-p", file, keep=(lock,), fine=_FIXED)
        run("resize2fs", file, keep=(lock,))


@contextmanager
def _alone(file: Path) -> Iterator[int]:
    """One at a time works on an image. e2fsck may outlive a gateway that was killed, and keeps this lock."""
    with opened(file, None, os.O_RDONLY | os.O_CLOEXEC) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
