"""Her own program that runs before her container is stopped: `~/.config/gpu/on-stop`.

Owns how it is started, and what is kept of what it writes: the beginning, in `on-stop.log` beside it. Must
not know when it is time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress

from gateway.runner.inside.account import Account, account
from gateway.runner.inside.connection import World
from gateway.runner.inside.environment import environment
from gateway.runner.inside.spawn import onto

LOG_LIMIT = 64 * 1024
"""Bytes that are kept of what it writes; the rest is read and dropped."""
_PIECE = 16 * 1024
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Hook:
    """One run of it. Its end is its first process's; what it left in the background is not waited for."""

    def __init__(
        self, world: World, path: str, who: Account, env: dict[str, str], ended: Callable[[], object]
    ) -> None:
        """Start it. Raises OSError, which its log tells as well, when it does not start."""
        self._loop, self._ended = world.loop, ended
        self._log, self._left = _open_log(path + ".log"), LOG_LIMIT
        self._output, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            pid = world.spawner.start(path, [path], env, who.home, onto(nothing, theirs, theirs))
        except OSError as problem:
            self._keep(f"{path} cannot be run: {os.strerror(problem.errno or 0)}\n".encode())
            self._close()
            raise
        finally:
            os.close(nothing)
            os.close(theirs)
        self._loop.add_reader(self._output, self._read)
        self._loop.add_child(pid, self._over)

    def _read(self) -> None:
        """Take what it writes, so that it never waits for a reader."""
        with suppress(BlockingIOError):
            piece = os.read(self._output, _PIECE)
            self._keep(piece)
            if not piece:
                self._loop.remove_reader(self._output)

    def _over(self, status: int) -> None:
        """It was reaped; what lies in the pipe still counts, what its children write later does not."""
        with suppress(BlockingIOError):
            while self._left and (piece := os.read(self._output, _PIECE)):
                self._keep(piece)
        self._loop.remove_reader(self._output)
        self._close()
        self._ended()

    def _keep(self, data: bytes) -> None:
        """Write to the log what still fits; a full disk keeps nothing from going on."""
        kept = data[: self._left]
        self._left -= len(kept)
        with suppress(OSError):
            os.write(self._log, kept)

    def _close(self) -> None:
        os.close(self._output)
        os.close(self._log)


def start(world: World, reason: str, seconds: int, ended: Callable[[], object]) -> Hook | None:
    """Start her hook, if there is an executable file of hers. `ended` is called when it has ended.

    It finds the environment of a session, and in it why and how many seconds it has.
    """
    who = account()
    path = os.path.join(who.home, ".config/gpu/on-stop")
    runtime = f"/run/user/{who.uid}"
    env = environment(world.base, who, {}, None, runtime if os.path.isdir(runtime) else None)
    env.update(GPU_STOP_REASON=reason, GPU_STOP_SECONDS=str(seconds))
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != who.uid or not os.access(path, os.X_OK):
            return None
        return Hook(world, path, who, env, ended)
    except OSError:
        return None


def _open_log(path: str) -> int:
    """Its log, begun anew; where that is not a file that can be written, nothing is kept."""
    try:
        log = os.open(path, _LOG_FLAGS, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(log).st_mode):
        return log
    os.close(log)
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
