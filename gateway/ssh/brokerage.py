"""The worker's line to the broker.

Owns the matching of answers to questions, and the snapshot of who may authenticate. Must not know
asyncssh.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from gateway import proofs, verbs, wire
from gateway.activity import Active
from gateway.errors import Code, PlatformError
from gateway.messages import MessageError, encode
from gateway.ports import PipeSet, Progress
from gateway.questions import Answered, Ask, Said, Say

Verdict = proofs.Ticket | proofs.More
Shown = proofs.Evidence | proofs.Code | proofs.Password


class Brokerage:
    """Asks the broker and is told by it. `arrived`, `ended`, `announced`, `lost` are set before `begin`."""

    def __init__(self, sock: socket.socket) -> None:
        self.accounts: dict[str, frozenset[bytes]] = {}
        self.passwords = False
        self.authorities: frozenset[bytes] = frozenset()
        self.arrived: Callable[[str, socket.socket], None]
        self.ended: Callable[[str, str | None, str], None]
        self.announced: Callable[[str, str], None]
        self.lost: Callable[[], None]
        self._sock = sock
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._progress: dict[int, Progress] = {}
        self._says: dict[int, Say] = {}
        self._tickets: dict[str, asyncio.Future[Verdict]] = {}

    def begin(self) -> None:
        """Start to read on the running loop; `lost` is called when the broker is gone."""
        self._line = wire.PacketSocket(self._sock, self._received, self._gone)

    def authenticate(
        self, evidence: proofs.Evidence | proofs.Code | proofs.Password
    ) -> asyncio.Future[Verdict]:
        """The ticket, or that more is wanted; else the PlatformError that the broker names."""
        ticket: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._tickets[evidence.connection] = ticket
        self._send(evidence)
        return ticket

    async def enter(
        self, ticket: str, progress: Progress, terminal: bool = False
    ) -> tuple[socket.socket, str, str]:
        """A line to the runner in the user's container, a greeting for terminals, and news for the first.

        `progress` hears what takes long, and who has a `terminal` sees it.
        """
        request = self._next()
        self._progress[request] = progress
        try:
            message, fds = await self._ask(request, verbs.Enter(request, ticket, terminal))
        finally:
            self._progress.pop(request, None)
        return socket.socket(fileno=fds[0]), message.greeting, message.news

    async def pipes(self, sets: int) -> list[PipeSet]:
        """New pipes, made by the broker."""
        request = self._next()
        _, fds = await self._ask(request, verbs.Pipes(request, sets))
        size = verbs.DESCRIPTORS_A_SET
        return [PipeSet.of(fds[start : start + size]) for start in range(0, len(fds), size)]

    async def begin_session(
        self, ticket: str, channel: str, kind: str, what: str, greeted: bool = False
    ) -> None:
        """Have a session counted as open; is its terminal greeted? Raises PlatformError for one too many."""
        request = self._next()
        await self._ask(request, verbs.Begin(request, ticket, channel, kind, what, greeted))

    async def ask(self, ticket: str, channel: str, words: tuple[str, ...], say: Say) -> int:
        """Have `gpu` answered: its exit status; `say` is given what there is to say."""
        request = self._next()
        self._says[request] = say
        try:
            message, _ = await self._ask(request, Ask(request, ticket, channel, words))
        finally:
            self._says.pop(request, None)
        status: int = message.status
        return status

    def opened(self, ticket: str, channel: str, kind: str, what: str) -> None:
        """Tell of a forward that began."""
        self._send(verbs.Opened(ticket, channel, kind, what))

    def closed(self, ticket: str, channel: str) -> None:
        """Tell that it ended."""
        self._send(verbs.Closed(ticket, channel))

    def active(self, ticket: str) -> None:
        """Tell that somebody uses a connection."""
        self._send(Active(ticket))

    def gone(self, connection: str) -> None:
        """Tell that a connection ended."""
        refused = self._tickets.pop(connection, None)
        if refused is not None and not refused.done():
            refused.cancel()
        self._send(verbs.Gone(connection))

    def _send(self, message: object) -> None:
        self._line.send(encode(message))

    def _next(self) -> int:
        self._requests += 1
        return self._requests

    async def _ask(self, request: int, message: object) -> tuple[Any, list[int]]:
        answer: asyncio.Future[tuple[Any, list[int]]] = asyncio.get_running_loop().create_future()
        self._waiting[request] = answer
        self._send(message)
        try:
            return await answer
        except asyncio.CancelledError:
            # The answer may have come in the very turn in which nobody wants it any more.
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                wire.close_all(answer.result()[1])
            raise
        finally:
            self._waiting.pop(request, None)

    def _received(self, data: bytes, fds: list[int]) -> None:
        try:
            message = verbs.from_broker(data, len(fds))
        except MessageError:
            wire.close_all(fds)
            self._line.close()
            return
        match message:
            case verbs.Account():
                self.accounts[message.user] = frozenset(message.keys)
            case verbs.AccountGone():
                self.accounts.pop(message.user, None)
            case verbs.Authorities():
                self.authorities = frozenset(message.keys)
            case verbs.Connection():
                self.arrived(message.connection, socket.socket(fileno=fds[0]))
            case proofs.Ticket() | proofs.More() | proofs.Refused():
                self._judged(message)
            case verbs.Progress():
                if message.request in self._progress:
                    self._progress[message.request](message.text, message.bar)
            case Said():
                if message.request in self._says:
                    self._says[message.request](message.text, message.error)
            case verbs.Entered() | verbs.Piped() | verbs.Begun() | verbs.Failed() | Answered():
                self._answered(message, fds)
            case verbs.End():
                self.ended(message.connection, message.channel, message.message)
            case verbs.Announce():
                self.announced(message.connection, message.message)

    def _judged(self, message: Verdict | proofs.Refused) -> None:
        ticket = self._tickets.pop(message.connection, None)
        if ticket is None or ticket.done():
            return
        if not isinstance(message, proofs.Refused):
            ticket.set_result(message)
        else:
            ticket.set_exception(PlatformError(Code(message.code), message.message))

    def _answered(
        self, message: verbs.Entered | verbs.Piped | verbs.Begun | verbs.Failed | Answered, fds: list[int]
    ) -> None:
        answer = self._waiting.get(message.request)
        if answer is None or answer.done():
            wire.close_all(fds)
        elif isinstance(message, verbs.Failed):
            answer.set_exception(PlatformError(Code(message.code), message.message))
        else:
            answer.set_result((message, fds))

    def _gone(self) -> None:
        lost = PlatformError(Code.UNAVAILABLE, "The gateway is restarting; log in again.")
        for answer in [*self._waiting.values(), *self._tickets.values()]:
            if not answer.done():
                answer.set_exception(lost)
        self.lost()
