"""Whole workspaces put away and handed over, by renames inside the directory that holds them all.

Owns the order of steps: whatever moment a crash chooses, each file is in exactly one place, and doing it
again goes on from there. No container shows what is moved; who calls sees to it. Must not know the store.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from itertools import count
from pathlib import Path

from gateway.folders.emptying import empty
from gateway.folders.holding import hold_on, lifted
from gateway.folders.image import make_room
from gateway.folders.outside import output, run
from gateway.folders.steps import make_directory, opened

PUT_AWAY = "removed"
HANDED = "handed-over"
# What the platform makes anew for every container; none of it is a person's.
_PLATFORMS = ("etc", "socket", "tmp", "vartmp", "lost+found")
_COPY, _OLD = ".copy", ".old"
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def put_away(workspaces: int, workspace: str, number: str) -> None:
    """Move one of the directory open as `workspaces` to its `removed/NUMBER`, where it stays on one disk.

    Done before, or nothing there: success.
    """
    make_directory(workspaces, PUT_AWAY, 0o700)
    with opened(PUT_AWAY, workspaces) as removed:
        # Done before a crash: what is in the workspace's place now is a new one.
        if not present(number, removed):
            _move(workspaces, workspace, removed, number)


def delete(workspaces: int, number: str) -> None:
    """Delete what was put away. Absent is success; raises OSError when something resists."""
    try:
        with opened(PUT_AWAY, workspaces) as removed:
            with opened(number, removed) as files:
                hollow(files)
            os.rmdir(number, dir_fd=removed)
    except FileNotFoundError:
        return


def stage(workspaces: int, giver: int, taker: int) -> str | None:
    """Move the giver's workspace out of everybody's sight, in one step: the name of where it is below HANDED.

    Goes on with one that was moved before. None: there are no files.
    """
    name = f"{giver}-{taker}"
    make_directory(workspaces, HANDED, 0o700)
    with opened(HANDED, workspaces) as handed:
        if present(f"{name}{_OLD}", handed) and not present(name, handed):
            # A crash came between the two renames of `_remake`.
            os.rename(f"{name}{_COPY}", name, src_dir_fd=handed, dst_dir_fd=handed)
        if not present(name, handed) and not _move(workspaces, str(giver), handed, name):
            return None
        with opened(name, handed) as files:
            hold = hold_on(files)
            # For good: from here on it counts as the taker's.
            hold.limit(files, None)
            for own in _PLATFORMS:
                _remove(files, own)
            movable = hold.is_movable(files)
        if not movable:
            _remake(handed, name)
        _remove(handed, f"{name}{_OLD}")
    return name


def _remake(handed: int, name: str) -> None:
    """Make a plain directory of btrfs a subvolume, which shares its blocks: only that can go into another."""
    copy = f"{name}{_COPY}"
    _remove(handed, copy)
    hold_on(handed).make(handed, copy)
    here = f"/proc/self/fd/{handed}"
    run("cp", "-a", "--reflink=auto", "--", f"{here}/{name}/.", f"{here}/{copy}", keep=(handed,))
    os.rename(name, f"{name}{_OLD}", src_dir_fd=handed, dst_dir_fd=handed)
    os.rename(copy, name, src_dir_fd=handed, dst_dir_fd=handed)


def hollow(files: int) -> None:
    """Delete all of a workspace, and what its file system knows of its size; its directory stays."""
    hold_on(files).forget(files)
    empty(files)


def give(path: Path, uid: int, gid: int) -> None:
    """Make everything below `path` somebody's, links themselves included. Raises OSError.

    Nobody can reach `path` meanwhile, so nothing is exchanged under us; chown(1) goes to any depth, and
    with -P follows no link.
    """
    run("chown", "-hRP", "--", f"{uid}:{gid}", path)


def bring(workspaces: int, staged: str, own: int) -> None:
    """Copy what `stage` named into the workspace open as `own`, under the same name, whole or not at all.

    It may be more than the taker may have. The first is left for `discard`.
    """
    copy = f"{staged}{_COPY}"
    with opened(HANDED, workspaces) as handed, lifted(hold_on(own), own):
        here, there = f"/proc/self/fd/{handed}/{staged}", f"/proc/self/fd/{own}"
        make_room(own, _used(here, handed))
        _remove(own, copy)
        make_directory(own, copy, 0o700)
        run("cp", "-a", "--", f"{here}/.", f"{there}/{copy}", keep=(handed, own))
        # The first is deleted next.
        run("sync", "--file-system", there, keep=(own,))
        os.rename(copy, staged, src_dir_fd=own, dst_dir_fd=own)
        # Two file systems: that the second has its name must be on the disk before the first is gone.
        os.fsync(own)


def discard(workspaces: int, staged: str) -> None:
    """Delete what `bring` has copied. Absent is success."""
    with opened(HANDED, workspaces) as handed, suppress(FileNotFoundError):
        with opened(staged, handed) as files:
            hollow(files)
        os.rmdir(staged, dir_fd=handed)


def settle(workspaces: int, staged: str, taker: int, place: str, wish: str) -> str:
    """Move what `stage` named, or `bring` has copied, to `place` of the workspace open as `taker`.

    It is called `wish` there, or the first `wish-N` that is free; returns the name. Its owner may have put
    anything there: rename(2) puts a directory in the place of no file, no link and no filled directory.
    """
    hold = hold_on(taker)
    with opened(HANDED, workspaces) as handed, opened(place, taker) as files, lifted(hold, taker):
        source = taker if present(staged, taker) else handed
        if source == handed:
            with opened(staged, handed) as given:
                hold.join(given, taker)
        for number in count(1):
            name = wish if number == 1 else f"{wish}-{number}"
            try:
                os.rename(staged, name, src_dir_fd=source, dst_dir_fd=files)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                continue
            return name
    raise AssertionError("there is always a free number")


def _move(workspaces: int, workspace: str, target: int, name: str) -> bool:
    """Rename a workspace into `target`; False when there is none."""
    try:
        os.rename(workspace, name, src_dir_fd=workspaces, dst_dir_fd=target)
    except FileNotFoundError:
        return False
    return True


def _used(path: str, within: int) -> int:
    """The bytes that everything below a path takes, which leads through the descriptor `within`."""
    return int(output("du", "-s", "-B1", "--", path, keep=(within,)).partition("\t")[0])


def _remove(parent: int, name: str) -> None:
    with suppress(FileNotFoundError), opened(name, parent) as directory:
        empty(directory)
        os.rmdir(name, dir_fd=parent)


def present(name: str, parent: int) -> bool:
    """Whether there is anything of this name, a broken link included."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
