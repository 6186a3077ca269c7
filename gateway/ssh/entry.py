"""One authenticated connection's way into its workspace.

Owns the ticket and the line to the runner: asked for when the first channel needs it, shared by all,
asked for again when it was lost. Must not know asyncssh.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from gateway.errors import PlatformError
from gateway.ports import PipeSource, Progress, Runner
from gateway.proofs import Code, Evidence, More, Password
from gateway.questions import Say
from gateway.ssh.brokerage import Brokerage
from gateway.ssh.tasks import Tasks

REASON_WITHIN = 2.0
"""Seconds for the broker to say why a runner's line ended, before the person is told something general."""

MakeRunner = Callable[[socket.socket, PipeSource], Runner]


class Entry:
    """The way in of one connection."""

    def __init__(
        self, brokerage: Brokerage, pipes: PipeSource, make_runner: MakeRunner, tasks: Tasks
    ) -> None:
        self._greeting = self._news = ""
        self._brokerage = brokerage
        self._pipes = pipes
        self._make_runner = make_runner
        self._tasks = tasks
        self._ticket: str
        self._runner: Runner | None = None
        self._lock = asyncio.Lock()
        self._left = False

    @property
    def passwords(self) -> bool:
        """Whether this gateway takes passwords."""
        return self._brokerage.passwords

    async def authenticated(self, evidence: Evidence | Code | Password) -> tuple[str, ...] | None:
        """Have the broker judge the evidence, and keep its ticket: what it permits, or None: more is wanted.

        Raises PlatformError when the evidence is refused.
        """
        verdict = await self._brokerage.authenticate(evidence)
        if isinstance(verdict, More):
            return None
        self._ticket = verdict.ticket
        return verdict.permits

    async def runner(self, progress: Progress, terminal: bool = False) -> Runner:
        """The runner of this user's container, which is started when need be. Raises PlatformError.

        Who has a `terminal` sees `progress`, however long it takes; all others are told soon to come back.
        """
        async with self._lock:
            if self._runner is None:
                entered = await self._brokerage.enter(self._ticket, progress, terminal)
                line, self._greeting, self._news = entered
                self._runner = self._make_runner(line, self._pipes)
                if self._left:
                    self._runner.close()
                else:
                    self._tasks.create_task(self._watch(self._runner))
            return self._runner

    async def begin_session(self, channel: str, kind: str, what: str, greeted: bool = False) -> None:
        """Ask the broker for one session more. Raises PlatformError when she has too many."""
        await self._brokerage.begin_session(self._ticket, channel, kind, what, greeted)

    def greeting(self) -> str:
        """What to greet a terminal with; the first is told the news."""
        greeting, self._news = self._greeting + self._news, ""
        return greeting

    async def ask(self, channel: str, words: tuple[str, ...], say: Say) -> int:
        """Have the broker answer `gpu` for a session that has begun: the status. Raises PlatformError."""
        return await self._brokerage.ask(self._ticket, channel, words, say)

    def opened(self, channel: str, kind: str, what: str) -> None:
        """Tell the broker of a forward."""
        self._brokerage.opened(self._ticket, channel, kind, what)

    def closed(self, channel: str) -> None:
        """Tell the broker that it ended."""
        self._brokerage.closed(self._ticket, channel)

    def active(self) -> None:
        """Tell the broker that somebody uses this connection."""
        self._brokerage.active(self._ticket)

    def leave(self) -> None:
        """The connection ended."""
        self._left = True
        if self._runner is not None:
            self._runner.close()

    async def _watch(self, runner: Runner) -> None:
        try:
            await runner.closed()
        except PlatformError:
            return
        finally:
            if self._runner is runner:
                self._runner = None
