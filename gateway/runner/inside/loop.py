"""One epoll loop with asyncio's names for what it can do.

Owns waiting: for descriptors, for timers, for the end of child processes. Must not know what it waits
for. The few methods are asyncio's own, so that `mux` runs on either.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable
from itertools import count
from typing import Any

_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
_GONE = select.EPOLLHUP | select.EPOLLERR
_WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR

Callback = Callable[[], object]


class Timer:
    """A call that may still be cancelled."""

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Do not call; harmless when it was called."""
        self.callback = None


class Loop:
    """Calls back when descriptors are ready. Nothing may block in a callback."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._hangups: dict[int, Callback] = {}
        self._masks: dict[int, int] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._children: dict[int, Callable[[int], object]] = {}
        self._catch_children()

    def add_reader(self, fd: int, callback: Callback) -> None:
        """Call whenever `fd` has something to read, or its end or failure to tell."""
        self._readers[fd] = callback
        self._watch(fd)

    def remove_reader(self, fd: int) -> bool:
        """Stop that; must come before the descriptor is closed. Tells whether it was watched."""
        known = self._readers.pop(fd, None) is not None
        self._watch(fd)
        return known

    def add_writer(self, fd: int, callback: Callback) -> None:
        """Call whenever `fd` takes bytes, or its peer is gone."""
        self._writers[fd] = callback
        self._watch(fd)

    def remove_writer(self, fd: int) -> bool:
        """Stop that; must come before the descriptor is closed. Tells whether it was watched."""
        known = self._writers.pop(fd, None) is not None
        self._watch(fd)
        return known

    def add_hangup(self, fd: int, callback: Callback) -> None:
        """Call when both directions of `fd` have ended, for one that is not read any more.

        The callback must remove it: a hang-up stays.
        """
        self._hangups[fd] = callback
        self._watch(fd)

    def remove_hangup(self, fd: int) -> None:
        """Stop that; must come before the descriptor is closed. Harmless when it was not watched."""
        self._hangups.pop(fd, None)
        self._watch(fd)

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Call once, `delay` seconds from now."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), timer))
        return timer

    def add_child(self, pid: int, ended: Callable[[int], object]) -> None:
        """Call with the wait status when our child `pid` has ended; it is reaped by then."""
        self._children[pid] = ended

    def run(self) -> None:
        """Serve for ever."""
        while True:
            self.step(None)

    def step(self, timeout: float | None) -> None:
        """Wait once, at most `timeout` seconds, and call what is due."""
        for fd, events in self._epoll.poll(self._patience(timeout)):
            if events & _READ and fd in self._readers:
                self._readers[fd]()
            if events & _WRITE and fd in self._writers:
                self._writers[fd]()
            if events & _GONE and fd in self._hangups:
                self._hangups[fd]()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()

    def _patience(self, timeout: float | None) -> float | None:
        """How long epoll may wait: until the next timer, at most `timeout`."""
        if not self._timers:
            return timeout
        until = max(0.0, self._timers[0][0] - time.monotonic())
        return until if timeout is None else min(until, timeout)

    def _watch(self, fd: int) -> None:
        """Tell epoll what is wanted. Nothing means leaving: a hang-up cannot be masked and would spin."""
        wanted: int | None = select.EPOLLIN * (fd in self._readers) | select.EPOLLOUT * (fd in self._writers)
        if not wanted and fd not in self._hangups:
            wanted = None
        known = self._masks.get(fd)
        if wanted == known:
            return
        if wanted is None:
            self._epoll.unregister(fd)
            del self._masks[fd]
            return
        self._masks[fd] = wanted
        if known is not None:
            self._epoll.modify(fd, wanted)
        else:
            self._epoll.register(fd, wanted)

    def _catch_children(self) -> None:
        """Turn SIGCHLD into a readable descriptor."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.add_reader(reader, lambda: self._reap(reader))

    def _reap(self, wakeup: int) -> None:
        """Collect every child that has ended; one SIGCHLD may stand for many."""
        os.read(wakeup, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            ended: Any = self._children.pop(pid, None)
            if ended is not None:
                ended(status)
