"""Sockets that listen inside the container, and who connected to them until the worker takes them.

Owns the listeners of one SSH connection, how many callers wait and for how long. Must not decide whether
anybody may listen: that is policy, and the worker's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial

from gateway.runner.inside.dials import Relay
from gateway.runner.inside.loop import Loop, Timer
from gateway.runner.inside.sockets import Opened, opened, reason
from gateway.runner.listening import (
    MOST_ARRIVED,
    Accept,
    Arrived,
    Listen,
    Listening,
    ListenPrivate,
    ListenUnix,
    Unlistened,
)
from gateway.runner.protocol import Dialed, Message, Refused, Taken

_SECONDS = 60.0  # a caller waits once or twice as long for the worker
_PAUSE = 0.2  # when no descriptor is left for a caller
_NUMBERS = 2**31 - 1


class Listeners:
    """The listeners of one SSH connection; `send` queues a message to its worker."""

    def __init__(self, loop: Loop, send: Callable[[Message], object]) -> None:
        self._loop, self._send = loop, send
        self._open: dict[int, Opened] = {}
        self._arrivals: dict[int, socket.socket | None] = {}
        self._last = 0
        self._watched = True
        self._old: set[int] = set()
        self._sweeping: Timer | None = None
        self._resting: Timer | None = None

    def __contains__(self, id: int) -> bool:
        return id in self._open

    def listen(self, message: Listen | ListenUnix | ListenPrivate) -> None:
        """Listen, and say where or why not."""
        try:
            made = opened(message)
        except OSError as problem:
            self._send(Refused(message.id, reason(problem)))
            return
        self._open[message.id] = made
        self._send(Listening(message.id, made.port, made.path))
        if self._watched:
            self._watch(message.id)

    def unlisten(self, id: int) -> None:
        """Listen no more, and say so; callers that are here already stay."""
        self._shut(id)
        self._send(Unlistened(id))

    def accept(self, message: Accept, fd: int) -> None:
        """Let the bytes flow between a caller and `fd`, which is owned here."""
        self._send(Taken(message.id))
        caller = self._take(message.arrival)
        if caller is None:
            os.close(fd)
            self._send(Refused(message.id, "connect_failed"))
            return
        end = socket.socket(fileno=fd)
        end.setblocking(False)
        self._send(Dialed(message.id))
        Relay(self._loop, caller, end)

    def decline(self, arrival: int) -> None:
        """Hang up on a caller."""
        caller = self._take(arrival)
        if caller is not None:
            caller.close()

    def close(self) -> None:
        """The SSH connection is gone, and with it listeners, their files and who waits."""
        for id in list(self._open):
            self._shut(id)
        for arrival in list(self._arrivals):
            self.decline(arrival)
        for timer in (self._sweeping, self._resting):
            if timer is not None:
                timer.cancel()

    def _take(self, arrival: int) -> socket.socket | None:
        """Whoever waits under this number, who waits no more. There is room for another."""
        caller = self._arrivals.pop(arrival, None)
        if not self._watched and self._resting is None and len(self._arrivals) < MOST_ARRIVED:
            self._watch_all()
        return caller

    def _watch(self, id: int) -> None:
        for sock in self._open[id].sockets:
            self._loop.add_reader(sock.fileno(), partial(self._arrive, id, sock))

    def _watch_all(self) -> None:
        """Take callers again."""
        self._watched = True
        for id in self._open:
            self._watch(id)

    def _ignore_all(self) -> None:
        """Leave callers to the kernel's queue."""
        self._watched = False
        for made in self._open.values():
            for sock in made.sockets:
                self._loop.remove_reader(sock.fileno())

    def _shut(self, id: int) -> None:
        made = self._open.pop(id)
        for sock in made.sockets:
            self._loop.remove_reader(sock.fileno())
        made.close()

    def _arrive(self, id: int, sock: socket.socket) -> None:
        """Somebody connected: tell the worker, and no more than it can answer."""
        try:
            caller, address = sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left, and the listener stays ready: ask again later
            return self._rest()
        caller.setblocking(False)
        host, port = "", 0
        if caller.family != socket.AF_UNIX:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host, port = address[:2]
        self._last = self._last % _NUMBERS + 1
        self._arrivals[self._last] = caller
        self._send(Arrived(id, self._last, host, port))
        if len(self._arrivals) >= MOST_ARRIVED:
            self._ignore_all()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_SECONDS, self._sweep)

    def _rest(self) -> None:
        """Take nobody for a moment."""
        self._ignore_all()
        self._resting = self._loop.call_later(_PAUSE, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if len(self._arrivals) < MOST_ARRIVED:
            self._watch_all()

    def _sweep(self) -> None:
        """Hang up on who waited since the last sweep; the worker still owes an answer for each."""
        for arrival in self._old & self._arrivals.keys():
            caller = self._arrivals[arrival]
            if caller is not None:
                caller.close()
                self._arrivals[arrival] = None
        self._old = set(self._arrivals)
        self._sweeping = self._loop.call_later(_SECONDS, self._sweep) if self._arrivals else None
