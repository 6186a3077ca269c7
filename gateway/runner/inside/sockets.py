"""Opens sockets that listen, by the rules of OpenSSH's sshd, and removes what they left in the file system.

Owns which addresses are listened on (sshd's default `GatewayPorts no`) and who may open a socket file
(`StreamLocalBindMask 0177`). Must not accept anybody.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gateway.runner.listening import Listen, ListenPrivate, ListenUnix

_QUEUE = 128  # connections that the kernel holds for us, as sshd has it
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_RESOURCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Opened:
    """One listener: a TCP port, or a socket file `path` with its device and inode in `file`."""

    sockets: list[socket.socket]
    port: int = 0
    path: str = ""
    file: tuple[int, int] = (0, 0)
    directory: str = ""

    def close(self) -> None:
        """Listen no more, and remove the file if it is still ours."""
        for sock in self.sockets:
            sock.close()
        with suppress(OSError):
            if self.path and _identity(_raw(self.path)) == self.file:
                os.unlink(_raw(self.path))
        if self.directory:
            with suppress(OSError):
                os.rmdir(self.directory)


def opened(message: Listen | ListenUnix | ListenPrivate) -> Opened:
    """The listener that is asked for. Raises OSError, with nothing left behind."""
    if isinstance(message, Listen):
        return _tcp(message.host, message.port)
    return _unix(message.path) if isinstance(message, ListenUnix) else _private()


def reason(problem: OSError) -> str:
    """Why it failed, as one of protocol.REASONS."""
    if problem.errno == errno.EADDRINUSE:
        return "in_use"
    code = problem.errno
    return "denied" if code in _DENIED else "resource" if code in _RESOURCE else "connect_failed"


def _tcp(host: str, port: int) -> Opened:
    """Listen on loopback, whatever host was asked for; one of its two addresses is enough."""
    sockets: list[socket.socket] = []
    problem = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, address in [only for only in _LOOPBACK if only[1] == host] or _LOOPBACK:
        try:
            sockets.append(_listening(family, (address, port)))
        except OSError as failed:
            # IPv4 comes first, and its reason says more than that there is no IPv6.
            problem = problem if problem.errno != errno.EADDRNOTAVAIL else failed
        else:
            port = sockets[-1].getsockname()[1]
    if not sockets:
        raise problem
    return Opened(sockets, port)


def _unix(path: str, directory: str = "") -> Opened:
    """Listen on a path that nobody has, or that is left over from a listener which is gone."""
    raw = _raw(path)
    if not raw:  # the kernel would choose a name of its own
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    if _left_over(raw):
        os.unlink(raw)
    before = os.umask(0o177)
    try:
        sock = _listening(socket.AF_UNIX, raw)
    finally:
        os.umask(before)
    return Opened([sock], 0, path, _identity(raw), directory)


def _private() -> Opened:
    """Listen where sshd puts a forwarded agent's socket."""
    directory = f"/tmp/ssh-{os.urandom(8).hex()}"
    os.mkdir(directory, 0o700)
    try:
        return _unix(f"{directory}/agent.{os.getpid()}", directory)
    except OSError:
        os.rmdir(directory)
        raise


def _listening(family: int, address: Any) -> socket.socket:
    """A socket that listens; never blocks."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(_QUEUE)
    except OSError:
        sock.close()
        raise
    return sock


def _left_over(raw: bytes) -> bool:
    """Whether a socket file is there and nobody listens on it: its owner was killed."""
    try:
        if not stat.S_ISSOCK(os.lstat(raw).st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(raw)
        except OSError as problem:
            return problem.errno == errno.ECONNREFUSED
    return False


def _identity(raw: bytes) -> tuple[int, int]:
    """Which file a name means now, no link followed."""
    found = os.lstat(raw)
    return found.st_dev, found.st_ino


def _raw(path: str) -> bytes:
    """The bytes that a path stands for."""
    return path.encode("utf-8", "surrogateescape")
