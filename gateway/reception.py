"""Answers the workers' verbs: checks the ticket, asks the broker, replies.

Owns the dispatch and the tasks that it starts. A verb that breaks the protocol ends that worker, one
whose ticket does not hold is refused; neither touches another worker's connections. Must not know
sockets or SSH.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime

from gateway import proofs, verbs
from gateway.activity import Active
from gateway.admission import Admission
from gateway.broker import Broker
from gateway.certificates import Trust
from gateway.connections import Connection, Connections, Peer
from gateway.credentials import refusal
from gateway.errors import Code, PlatformError
from gateway.inquiries import AnswerUser, Inquiries
from gateway.journal import explain, note
from gateway.messages import MessageError
from gateway.notices import Unread
from gateway.ports import Progress
from gateway.questions import Ask
from gateway.rooms import Entry
from gateway.store import LiveSession
from gateway.users import Account

EnterUser = Callable[[int, str, Progress, bool], Awaitable[Entry]]
MakePipes = Callable[[int], list[int]]

LONGEST_WORDS = 2_000
"""Characters of a message for a person; an engine's reasons may be long."""
_CHANNEL = re.compile(r"[0-9a-f]{1,16}")
SESSIONS = frozenset(("shell", "exec", "subsystem"))
FORWARD = "forward"
KINDS = SESSIONS | {FORWARD}
"""What a channel may be for."""
_SHOWN = re.compile(r"[ -~]{0,1024}")


class Reception:
    """Serves every worker. `make_pipes(sets)` returns the descriptors of that many sets.

    `answer(user_id, words, say)` answers `gpu`. `enter` is the broker's way in, or one that does more.
    """

    def __init__(
        self,
        broker: Broker,
        connections: Connections,
        make_pipes: MakePipes,
        admission: Admission,
        answer: AnswerUser,
        tasks: asyncio.TaskGroup,
        now: Callable[[], datetime],
    ) -> None:
        self._broker = broker
        self._connections = connections
        self._make_pipes = make_pipes
        self._inquiries = Inquiries(connections, answer, tasks)
        self._tasks = tasks
        self._now = now
        self._seen: set[int] = set()
        self.admission = admission
        self.enter: EnterUser = lambda user_id, id_, progress, terminal: broker.enter(user_id, id_, progress)
        broker.end_sessions = self.end_user
        broker.announce = self.announce
        broker.occupied = self._occupied
        broker.inside = self._inside

    @property
    def accounts(self) -> Mapping[str, Account]:
        """Everybody, by name."""
        return self.admission.accounts

    @accounts.setter
    def accounts(self, accounts: Mapping[str, Account]) -> None:
        self.admission.accounts = accounts

    @property
    def trust(self) -> Trust:
        """Whose certificates are believed."""
        return self.admission.trust

    @trust.setter
    def trust(self, trust: Trust) -> None:
        self.admission.trust = trust

    def moment(self) -> datetime:
        """The time now."""
        return self._now()

    def receive(self, worker: Peer, data: bytes, count: int) -> None:
        """Serve one packet of a worker. Raises MessageError when the worker does not keep the protocol."""
        message = verbs.from_worker(data, count)
        match message:
            case proofs.Evidence():
                self.admission.shown(worker, message)
            case proofs.Code():
                self.admission.typed(worker, message)
            case proofs.Password():
                self.admission.given(worker, message)
            case verbs.Enter():
                self._tasks.create_task(self._enter(worker, message))
            case verbs.Pipes():
                self._pipes(worker, message)
            case verbs.Begin():
                self._begin(worker, message)
            case Ask():
                self._inquiries.ask(worker, message)
            case Active():
                self._active(worker, message)
            case verbs.Opened() | verbs.Closed():
                self._channel(worker, message)
            case verbs.Gone():
                self._gone(self._connections.leave(worker, message.connection))
            case _:
                raise MessageError("the verb has no place here")

    def worker_ended(self, worker: Peer) -> None:
        """Forget what a worker carried; its sockets ended with it."""
        for connection in self._connections.of_worker(worker):
            self._gone(self._connections.leave(worker, connection.id))

    def end_user(self, user_id: int, reason: str) -> None:
        """End every connection of a user that is in her container, telling her why.

        One that still waits for the container is left alone: it is to be let into the next one.
        """
        for connection in self._connections.of_user(user_id):
            if connection.entered:
                connection.entered = False
                connection.worker.send(verbs.End(connection.id, None, reason[:LONGEST_WORDS]))

    def announce(self, user_id: int, text: str) -> None:
        """Show a notice on every terminal that a user has open, whichever worker carries it."""
        for connection in self._connections.of_user(user_id):
            if connection.entered:
                connection.worker.send(verbs.Announce(connection.id, text[:LONGEST_WORDS]))

    def end(self, id_: str, reason: str) -> bool:
        """End the connection or the one channel with this id; False when there is none."""
        found = self._connections.find(id_)
        if found is None:
            return False
        connection, channel = found
        connection.worker.send(verbs.End(connection.id, channel, reason))
        return True

    def judge(self) -> None:
        """End the connections of users who are gone or disabled, or whose key or certificate is not good."""
        for connection in self._connections:
            account = self.accounts.get(connection.user)
            if account is None or account.user_id != connection.user_id:
                reason = "Your account was removed."
            elif not account.enabled:
                reason = "Your account was disabled; ask your operator."
            else:
                shown = (connection.credential, connection.address, self._now())
                reason = refusal(account, self.trust, *shown) or ""
            if not reason:
                continue
            note("connection_revoked", connection=connection.id, user=connection.user, reason=reason)
            self._connections.revoke(connection)
            connection.worker.send(verbs.End(connection.id, None, reason))

    async def _enter(self, worker: Peer, message: verbs.Enter) -> None:
        try:
            await self._let_in(worker, message)
        except Exception as error:
            known = explain(error)
            note("entry_failed", code=known.code.value, reason=known.message)
            text = known.message[:LONGEST_WORDS]
            worker.send(verbs.Failed(message.request, known.code.value, text))

    async def _let_in(self, worker: Peer, message: verbs.Enter) -> None:
        def progress(text: str, bar: bool = False) -> None:
            worker.send(verbs.Progress(message.request, text[:LONGEST_WORDS], bar))

        connection = self._connections.holder(worker, message.ticket)
        entry = await self.enter(connection.user_id, connection.id, progress, message.terminal)
        with entry.line:
            # She may have left, or been shut out, while her container started.
            self._connections.holder(worker, message.ticket)
            connection.entered = True
            self._seen.add(connection.user_id)
            connection.unread = entry.unread
            news = "" if entry.unread is None else "".join(f"  {line}\n" for line in entry.unread.lines)
            worker.send(verbs.Entered(message.request, entry.greeting, news), (entry.line.detach(),))

    def _pipes(self, worker: Peer, message: verbs.Pipes) -> None:
        if not 0 < message.sets <= verbs.MOST_SETS:
            raise MessageError("too many pipes at once")
        try:
            descriptors = self._make_pipes(message.sets)
        except OSError as error:
            text = f"The gateway has no descriptors left ({error.strerror}); try again."
            worker.send(verbs.Failed(message.request, Code.UNAVAILABLE.value, text))
            return
        worker.send(verbs.Piped(message.request, message.sets), tuple(descriptors))

    def _begin(self, worker: Peer, message: verbs.Begin) -> None:
        _check_shown(message)
        try:
            connection = self._connections.holder(worker, message.ticket)
            account = self.accounts.get(connection.user)
            session = LiveSession(message.channel, message.kind, message.what, self._now())
            self._connections.open_session(connection, session, 0 if account is None else account.sessions)
        except PlatformError as error:
            note("verb_refused", code=error.code.value)
            worker.send(verbs.Failed(message.request, error.code.value, error.message))
            return
        worker.send(verbs.Begun(message.request))
        if message.greeted and connection.unread is not None:
            self._tasks.create_task(self._read(connection.user_id, connection.unread))
            connection.unread = None

    async def _read(self, user_id: int, unread: Unread) -> None:
        try:
            await self._broker.read(user_id, unread)
        except PlatformError as error:
            # She reads it again then.
            note("work_failed", work="greeting", reason=error.message)

    def _channel(self, worker: Peer, message: verbs.Opened | verbs.Closed) -> None:
        _check_shown(message)
        try:
            connection = self._connections.holder(worker, message.ticket)
            if isinstance(message, verbs.Closed):
                connection.channels.pop(message.channel, None)
                self._inquiries.withdraw(connection, message.channel)
                return
            session = LiveSession(message.channel, message.kind, message.what, self._now())
            self._connections.open_channel(connection, session)
        except PlatformError as error:
            # A session's last word often follows that of its connection.
            if isinstance(message, verbs.Opened):
                note("verb_refused", code=error.code.value)

    def _active(self, worker: Peer, message: Active) -> None:
        # One that was revoked meanwhile is nobody's.
        with suppress(PlatformError):
            self._seen.add(self._connections.holder(worker, message.ticket).user_id)

    def active(self) -> set[int]:
        """The users who came in, or did something over a connection, since this was asked last."""
        seen, self._seen = self._seen, set()
        return seen

    def _occupied(self, user_id: int) -> bool:
        hers = self._connections.of_user(user_id)
        return any(connection.channels.keys() - self._inquiries.asking(connection) for connection in hers)

    def _inside(self, user_id: int) -> bool:
        return self._occupied(user_id) or any(each.entered for each in self._connections.of_user(user_id))

    def _gone(self, connection: Connection | None) -> None:
        if connection is None:
            return
        self._inquiries.withdraw(connection)
        if connection.ticket:
            note("logout", connection=connection.id, user=connection.user)
        else:
            note("login_abandoned", connection=connection.id, peer=connection.peer)


def _check_shown(message: verbs.Begin | verbs.Opened | verbs.Closed) -> None:
    """Operators' terminals show these words. Raises MessageError for any that could do more than be read."""
    if not _CHANNEL.fullmatch(message.channel):
        raise MessageError("a channel has another kind of id")
    if isinstance(message, verbs.Closed):
        return
    # Sessions are asked for, forwards told of: one by the other's verb would not be counted.
    kinds = SESSIONS if isinstance(message, verbs.Begin) else {FORWARD}
    if message.kind not in kinds or not _SHOWN.fullmatch(message.what):
        raise MessageError("what a channel is for was not escaped, or is another verb's")
