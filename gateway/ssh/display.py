"""A person's X server, for her programs inside the container (RFC 4254 section 6.3).

Owns a display for each session that asks: a listener on the container's loopback, as sshd with its default
`X11UseLocalhost yes`, and the cookie, which `xauth` puts into her ~/.Xauthority. The cookie is a fake that
her client replaces. Must not know the X protocol.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from asyncssh.channel import SSHX11Channel

from gateway.errors import Code, PlatformError
from gateway.journal import explain
from gateway.ports import Arrival, Execution, Listener, Progress, Runner
from gateway.sessions import Kind, SessionRequest
from gateway.ssh.channels import Bounded
from gateway.ssh.forward import Forward
from gateway.ssh.forwarding import Forwarding

FIRST, LAST = 10, 1000
"""Displays that sshd takes: those below are real servers'."""
_PORTS = 6000
_PROTOCOL = re.compile(rb"[A-Za-z0-9.:/_-]{1,64}")
_LONGEST_COOKIE = 512
_XAUTH_WITHIN = 30.0
"""Seconds for the program that writes the cookie: her home may be on a slow disk."""


class DisplayChannel(Bounded, SSHX11Channel):
    """One program's connection to the display."""


class Displays:
    """The displays of one connection, by the session that asked."""

    def __init__(self, connection: Forwarding) -> None:
        self._connection = connection

    async def open(
        self, session: object, protocol: bytes, cookie: bytes, screen: int, progress: Progress
    ) -> str | None:
        """What DISPLAY has to be; None when that fails or is not permitted."""
        permitted = self._connection.check_certificate_permission("X11-forwarding")
        # Both go to a program that reads lines: CVE-2016-3115 was an `sshd` that passed on others.
        if not permitted or not _PROTOCOL.fullmatch(protocol) or not 0 < len(cookie) <= _LONGEST_COOKIE:
            return None
        try:
            name = f"{await self._listen(session, progress)}.{screen}"
            runner = await self._connection.entry.runner(progress)
            await _authorize(runner, f"unix:{name}".encode(), protocol, cookie)
        except Exception as error:
            progress(explain(error).message)
            await self._connection.listeners.close(session)
            return None
        return f"localhost:{name}"

    def close(self, session: object) -> None:
        """The session is over; programs that are connected go on."""
        self._connection.tasks.create_task(self._close(session))

    async def _close(self, session: object) -> None:
        await self._connection.listeners.close(session)

    async def _listen(self, session: object, progress: Progress) -> int:
        """Listen on the first display that is free: its number."""
        for number in range(FIRST, LAST):
            try:
                await self._connection.listeners.listen(
                    f"display :{number}",
                    _at(_PORTS + number),
                    self._reach,
                    lambda made: session,
                    progress,
                )
            except PlatformError as error:
                if error.code is not Code.CONFLICT:
                    raise
            else:
                return number
        raise PlatformError(Code.NO_CAPACITY, "Your container has no display left; end some sessions.")

    def _reach(self, make: Callable[[], Forward], arrival: Arrival, made: Listener) -> Awaitable[object]:
        return self._connection.channel(DisplayChannel).open(make, arrival.host, arrival.port)


def _at(port: int) -> Callable[[Runner, Callable[[Arrival], object]], Awaitable[Listener]]:
    return lambda runner, arrived: runner.listen_tcp("127.0.0.1", port, arrived)


async def _authorize(runner: Runner, display: bytes, protocol: bytes, cookie: bytes) -> None:
    """Have her own xauth put the cookie where her programs look for it. Raises PlatformError."""
    execution = await runner.start(SessionRequest(Kind.EXEC, b"exec xauth -q - >/dev/null 2>&1"))
    try:
        assert execution.stdin is not None
        words = (display, protocol, cookie.hex().encode())
        with suppress(OSError):  # it may be gone by now, and its status tells
            # A new pipe takes this whole: it is shorter than a page.
            os.write(execution.stdin, b"remove %s\nadd %s %s %s\n" % (display, *words))
        execution.close_stdin()
        await _succeeded(execution)
    finally:
        execution.close()


async def _succeeded(execution: Execution) -> None:
    try:
        ended = await asyncio.wait_for(execution.wait(), _XAUTH_WITHIN)
    except TimeoutError:
        execution.signal("KILL")
        raise PlatformError(Code.UNAVAILABLE, "The program xauth does not end in your container.") from None
    if ended.status != 0:
        raise PlatformError(Code.UNAVAILABLE, "The program xauth failed in your container; is it installed?")
