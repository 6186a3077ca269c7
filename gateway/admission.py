"""From what somebody shows to her ticket, when it takes more than one step.

    key or certificate ──► ticket
    key or certificate ──► verification code ──► ticket
    password ──► ticket, or verification code
    one-time code, keys offered ──► "log in again" ──► one of those keys, now hers ──► ticket

Owns the order of the steps and the throttles. Who shows what on a connection is proven in connections.py; a
refusal always reads the same. Must not know sockets or SSH.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from gateway import proofs, verbs
from gateway.certificates import Trust
from gateway.connections import Connection, Connections, Half, Peer, denied
from gateway.credentials import Credential, refusal
from gateway.desk import Desk
from gateway.errors import Code, PlatformError
from gateway.journal import explain, note
from gateway.keys import PublicKey
from gateway.onetime import digest_of, opens
from gateway.throttle import Throttle
from gateway.users import Account

LONGEST_NAME = 64
LONGEST_CODE = 256
WINDOW = timedelta(hours=1)
MOST_WRONG = 10
"""Wrong one-time codes an hour for one name from one address; a name alone could be locked out by anybody."""

CLAIMED = "Your code is right. Log in again now: the first key that your client offers becomes yours."
UNCLAIMED = (
    "Your code is right, but your client has offered no key that can be yours. Make one with: "
    "ssh-keygen -t ed25519 - and log in with the code again."
)
MOST_UNVERIFIED = 10
"""Wrong verification codes an hour for one user, who has shown her key: three in a million hit."""
NO_SECRET = "A group of yours asks for verification codes, and you have no secret yet; ask your operator."

MOST_HASHED = 2
"""Passwords at a time: each takes a core and 64 MiB for a while."""

Matches = Callable[[str, str], bool]
StepOf = Callable[[str, str, datetime], int | None]
Shown = proofs.Evidence | proofs.Code | proofs.Password
Work = Coroutine[Any, Any, None]


class Admission:
    """Judges what workers carry here. `accounts` and `trust` are replaced whole when the store changes.

    `matches(kept, password)` blocks; without it no password is taken. `changed` is awaited when this has
    changed the store itself, and returns when everybody knows.
    """

    def __init__(
        self,
        connections: Connections,
        desk: Desk,
        step_of: StepOf,
        tasks: asyncio.TaskGroup,
        now: Callable[[], datetime],
    ) -> None:
        self._connections = connections
        self._desk = desk
        self._tasks = tasks
        self._now = now
        self._step_of = step_of
        self._wrong = Throttle(MOST_WRONG, WINDOW)
        self._unverified = Throttle(MOST_UNVERIFIED, WINDOW)
        self.accounts: Mapping[str, Account] = {}
        self.trust = Trust()
        self.matches: Matches | None = None
        self._hashing = asyncio.Semaphore(MOST_HASHED)
        self.changed: Callable[[], Awaitable[None]] = _nothing

    def shown(self, worker: Peer, evidence: proofs.Evidence) -> None:
        """A key or a certificate."""
        try:
            connection = self._connections.unproven_of(worker, evidence.connection)
            account = self._account(evidence.user)
            if evidence.key in account.claimed:
                key = self._connections.prove_claimed(connection, evidence, account)
                self._later(worker, connection, evidence.user, self._enrol(worker, connection, account, key))
                return
            used = self._connections.prove(connection, evidence, account, self._now(), self.trust)
            self._go_on(worker, connection, account, used)
        except PlatformError as error:
            self._refuse(worker, evidence, error)

    def typed(self, worker: Peer, typed: proofs.Code) -> None:
        """An answer to a question: a verification code after her key, else a one-time code.

        With that she claims the keys that she has offered.
        """
        try:
            connection = self._connections.unproven_of(worker, typed.connection)
            if connection.half is not None:
                self._later(worker, connection, typed.user, self._verify(worker, connection, typed))
                return
            digest = digest_of(typed.code[:LONGEST_CODE])
            account = self._opened(connection, typed.user, digest)
            if account is not None:
                keys = [key for key in map(_addable, typed.offered[: verbs.MOST_OFFERED]) if key is not None]
                self._later(worker, connection, typed.user, self._claim(connection, account, digest, keys))
                return
            # The one question that everybody is asked may be answered by a password where these are taken.
            self.given(worker, proofs.Password(typed.connection, typed.user, typed.code))
        except PlatformError as error:
            self._refuse(worker, typed, error)

    def given(self, worker: Peer, given: proofs.Password) -> None:
        """A password. An unknown name costs as much time as a wrong one."""
        try:
            connection = self._connections.unproven_of(worker, given.connection)
            if connection.half is not None:
                raise denied()
            if self.matches is None:
                self._wrong.failed((given.user[:LONGEST_NAME], connection.address), self._now())
                raise denied()
            self._later(worker, connection, given.user, self._compare(worker, connection, given))
        except PlatformError as error:
            self._refuse(worker, given, error)

    async def _compare(self, worker: Peer, connection: Connection, given: proofs.Password) -> None:
        assert self.matches is not None
        who, now = (given.user[:LONGEST_NAME], connection.address), self._now()
        if self._wrong.full(who, now):
            raise denied()
        account = self.accounts.get(given.user)
        kept = account.password if account is not None and account.enabled else ""
        async with self._hashing:
            right = await asyncio.to_thread(self.matches, kept, given.password[:LONGEST_CODE])
        if not right:
            self._wrong.failed(who, now)
            raise denied()
        # She may have left, or been shut out, meanwhile.
        known = self._account(given.user)
        if not self._connections.waits(connection) or known.password != kept:
            raise denied()
        self._go_on(worker, connection, known, Credential(b"", "password", password=kept))

    def _opened(self, connection: Connection, user: str, digest: bytes) -> Account | None:
        """Whose code it is; takes as long when nobody has one. Wrong ones too often are worth as little."""
        now = self._now()
        account = self.accounts.get(user)
        enrolment = account.enrolment if account is not None and account.enabled else None
        throttled = self._wrong.full((user[:LONGEST_NAME], connection.address), now)
        return account if opens(enrolment, digest, now) and not throttled else None

    async def _claim(
        self, connection: Connection, account: Account, digest: bytes, keys: list[PublicKey]
    ) -> None:
        """Remember which keys her client has offered; one that signs becomes hers. Never returns."""
        now = self._now()
        claimed = await self._desk.ask(lambda store: store.claim(account.user_id, digest, keys, now))
        note("claimed", connection=connection.id, user=account.name, keys=claimed)
        await self.changed()
        raise PlatformError(Code.UNAVAILABLE, CLAIMED if claimed else UNCLAIMED)

    async def _enrol(self, worker: Peer, connection: Connection, account: Account, key: PublicKey) -> None:
        now = self._now()
        await self._desk.ask(lambda store: store.enrol(account.user_id, key, now))
        note("enrolled", connection=connection.id, user=account.name, key=key.fingerprint)
        await self.changed()
        # She may have left, or been shut out, meanwhile.
        known = self._account(account.name)
        if not self._connections.waits(connection) or known.user_id != account.user_id:
            raise denied()
        mine = replace(known, keys={**known.keys, key.blob: key.fingerprint})
        self._go_on(worker, connection, mine, Credential(key.blob, key.fingerprint))

    def _go_on(self, worker: Peer, connection: Connection, account: Account, used: Credential) -> None:
        """The ticket, or first the question for her verification code."""
        if not account.secret and not account.second_factor:
            self._admit(worker, connection, account, used)
        elif not account.secret:
            raise PlatformError(Code.UNAVAILABLE, NO_SECRET)
        else:
            connection.half = Half(account.user_id, used)
            worker.send(proofs.More(connection.id))

    async def _verify(self, worker: Peer, connection: Connection, typed: proofs.Code) -> None:
        """The second factor, after the first. Its step of time is used up before anything is given."""
        half, now = connection.half, self._now()
        account = self._account(typed.user)
        if half is None or half.user_id != account.user_id or self._unverified.full(account.user_id, now):
            raise denied()
        step = self._step_of(account.secret, typed.code[:LONGEST_CODE], now) if account.secret else None
        if step is None or not await self._desk.ask(lambda store: store.use_step(account.user_id, step)):
            self._unverified.failed(account.user_id, now)
            raise denied()
        # She may have left, or been shut out, meanwhile.
        known = self._account(typed.user)
        gone = not self._connections.waits(connection) or known.user_id != half.user_id
        if gone or refusal(known, self.trust, half.used, connection.address, self._now()) is not None:
            raise denied()
        self._admit(worker, connection, known, half.used)

    def _admit(self, worker: Peer, connection: Connection, account: Account, used: Credential) -> None:
        self._connections.admit(connection, account, used)
        certificate = used.certificate
        note(
            "login",
            connection=connection.id,
            user=connection.user,
            key=used.fingerprint,
            peer=connection.peer,
            certificate=certificate and certificate.key_id,
            serial=certificate and certificate.serial,
        )
        worker.send(proofs.Ticket(connection.id, connection.ticket, used.permits))

    def _account(self, user: str) -> Account:
        account = self.accounts.get(user)
        if account is None or not account.enabled:
            raise denied()
        return account

    def _later(self, worker: Peer, connection: Connection, user: str, work: Work) -> None:
        """Do what waits for the store; nothing else is heard of this connection meanwhile."""

        async def do() -> None:
            try:
                await work
            except Exception as error:
                known = explain(error)
                self._refuse(worker, proofs.Code(connection.id, user, "", ()), known)
            finally:
                connection.busy = False

        connection.busy = True
        self._tasks.create_task(do())

    def _refuse(self, worker: Peer, shown: Shown, error: PlatformError) -> None:
        name = shown.user[:LONGEST_NAME]
        note("login_refused", connection=shown.connection, user=name, code=error.code.value)
        worker.send(proofs.Refused(shown.connection, error.code.value, error.message))


def _addable(blob: bytes) -> PublicKey | None:
    try:
        return PublicKey.of_blob(blob)
    except PlatformError:
        return None


async def _nothing() -> None:
    """Until somebody wants to know."""
