"""Connections that a forward asks for, made from inside the container.

Owns the attempts, their time limit, and the relay afterwards. Must not decide whether a destination is
allowed: that is policy, and the worker's.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from gateway.runner.inside.loop import Loop, Timer
from gateway.runner.inside.relay import Flow
from gateway.runner.inside.resolve import Address, Resolver, literal

_SECONDS = 20.0  # for one address
_RETRY = 0.05  # a unix listener whose queue is full cannot be awaited
_UNKNOWN_NAME = -1  # no errno: the resolver's answer is that there is no address
_REASONS = {
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN), "resource"),
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no_route",
    errno.ETIMEDOUT: "timed_out",
    _UNKNOWN_NAME: "unknown_name",
}


class Dialling:
    """One attempt after another, until an address answers.

    `answered` is called once, with None when connected or one of protocol.REASONS. From then on the bytes
    flow between the connection and `end`, the descriptor that came with the request; both are owned here.
    """

    def __init__(
        self, loop: Loop, resolver: Resolver, end: int, answered: Callable[[str | None], object]
    ) -> None:
        os.set_blocking(end, False)
        self._loop, self._resolver, self._end, self._answered = loop, resolver, end, answered
        self._addresses: list[Address] = []
        self._is_unix = False
        self._heard = 0
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._stop_resolving: Callable[[], object] = _nothing

    def tcp(self, host: str, port: int) -> None:
        """Connect to a port of a host as this container knows it, trying all its addresses."""
        self._addresses = literal(host, port)
        if self._addresses:
            return self._next(errno.EHOSTUNREACH)
        try:
            self._stop_resolving = self._resolver.resolve(host, port, self._resolved)
        except OSError as problem:
            self._refuse(problem.errno or errno.EAGAIN)

    def unix(self, path: str) -> None:
        """Connect to a stream socket's path."""
        self._is_unix = True
        self._addresses = [(socket.AF_UNIX, (path.encode("utf-8", "surrogateescape"),))]
        self._next(errno.ENOENT)

    def give_up(self) -> None:
        """The worker does not want it any more; it is answered all the same."""
        self._stop_resolving()
        self._refuse(errno.ECANCELED)

    def cancel(self) -> None:
        """The SSH connection is gone; an open relay ends by itself, its other end being closed."""
        if self._end >= 0 and self._answered is not _nothing:
            self._stop_resolving()
            self._drop()
            os.close(self._end)
            self._end = -1

    def _resolved(self, addresses: list[Address]) -> None:
        """The resolver's answer."""
        self._addresses = addresses
        self._next(_UNKNOWN_NAME)

    def _next(self, problem: int) -> None:
        """Try the next address; `problem` is why there is a next one."""
        self._drop()
        if not self._addresses:
            return self._refuse(problem)
        family, address = self._addresses.pop(0)
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
        except OSError as failed:
            return self._refuse(failed.errno or errno.EMFILE)
        self._timer = self._loop.call_later(_SECONDS, lambda: self._failed(errno.ETIMEDOUT))
        self._attempt(family, address)

    def _attempt(self, family: int, address: tuple[Any, ...]) -> None:
        """Begin to connect; a unix socket's full queue is tried again until the time is up."""
        sock = self._socket
        if sock is None:
            return
        try:
            code = sock.connect_ex(address[0] if family == socket.AF_UNIX else address)
        except OSError:  # a path that is too long
            code = errno.ENAMETOOLONG
        if code == errno.EAGAIN and family == socket.AF_UNIX:
            self._loop.call_later(_RETRY, lambda: self._again(sock, family, address))
        elif code == errno.EINPROGRESS:
            self._loop.add_writer(sock.fileno(), lambda: self._connected(sock))
        elif code:
            self._next(code)
        else:
            self._relay(sock)

    def _failed(self, code: int) -> None:
        """An address answered no, which says more than one that this container cannot even try."""
        self._heard = code
        self._next(code)

    def _again(self, sock: socket.socket, family: int, address: tuple[Any, ...]) -> None:
        """Try once more, unless the time was up in between."""
        if sock is self._socket:
            self._attempt(family, address)

    def _connected(self, sock: socket.socket) -> None:
        """The kernel has an answer."""
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return self._failed(code)
        try:
            sock.getpeername()
        except OSError:  # a stale event of an earlier owner of this descriptor's number
            return
        self._relay(sock)

    def _relay(self, sock: socket.socket) -> None:
        """Connected: answer, and let the bytes flow."""
        self._socket = None
        self._stop_timer()
        self._loop.remove_writer(sock.fileno())
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answered, self._answered = self._answered, _nothing
        answered(None)
        Relay(self._loop, sock, socket.socket(fileno=self._end))

    def _refuse(self, problem: int) -> None:
        """Nothing answered: say so, and let the descriptor go."""
        self._drop()
        os.close(self._end)
        self._end = -1
        answered, self._answered = self._answered, _nothing
        answered(_reason(self._heard or problem, self._is_unix))

    def _drop(self) -> None:
        """Forget the attempt that is under way."""
        self._stop_timer()
        sock, self._socket = self._socket, None
        if sock is not None:
            self._loop.remove_writer(sock.fileno())
            sock.close()

    def _stop_timer(self) -> None:
        """The attempt has an end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Relay:
    """Both directions between two sockets, each of which ends on its own; owns both."""

    def __init__(self, loop: Loop, one: socket.socket, other: socket.socket) -> None:
        self._loop, self._open = loop, 2
        self._sockets = (one, other)
        self._flows = (
            Flow(loop, one.fileno(), other.fileno(), lambda delivered: self._ended(one, other, delivered)),
            Flow(loop, other.fileno(), one.fileno(), lambda delivered: self._ended(other, one, delivered)),
        )

    def _ended(self, source: socket.socket, sink: socket.socket, delivered: bool) -> None:
        """Pass the end on: forwards when the source is done, backwards when the sink is gone."""
        try:
            if delivered:
                sink.shutdown(socket.SHUT_WR)
            else:
                source.shutdown(socket.SHUT_RD)
        except OSError:  # it is gone altogether
            pass
        self._open -= 1
        if not self._open:
            self._close()
        else:
            # Its peer may close altogether later on, which an idle other side would never find out.
            self._loop.add_hangup(source.fileno(), self._close)

    def _close(self) -> None:
        """Both directions are over."""
        for flow in self._flows:
            flow.stop()
        for sock in self._sockets:
            self._loop.remove_hangup(sock.fileno())
            sock.close()


def _reason(problem: int, is_unix: bool) -> str:
    """One of protocol.REASONS. A socket file that cannot be reached is no matter of policy, as for sshd."""
    reason = _REASONS.get(problem, "connect_failed")
    return reason if not is_unix or reason == "resource" else "connect_failed"


def _nothing(*_: object) -> None:
    """Already answered."""
