"""What a worker finds at the broker when somebody wants to come in: an admission over a real store.

Owns the worker, which keeps what it is told, and who is known there: alice has a one-time code, bob a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway import proofs
from gateway.admission import Admission
from gateway.connections import Connection, Connections
from gateway.desk import Desk
from gateway.evidence import proves
from gateway.keys import PublicKey
from gateway.onetime import Enrolment, code_of, digest_of
from gateway.sqlite.store import Store
from gateway.totp import step_of
from gateway.users import SiteAccount
from tests.support.front import until
from tests.support.keys import Key, evidence
from tests.support.stores import NOW, open_store

CODE = code_of(b"0123456789")
BOBS = Key("ssh-ed25519")


class Worker:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def send(self, message: object, descriptors: tuple[int, ...] = ()) -> None:
        """See Peer."""
        self.told.append(message)


@dataclass
class Door:
    """An admission over a real store, and a worker. Alice has a code, bob a key."""

    admission: Admission
    connections: Connections
    store: Store
    worker: Worker = field(default_factory=Worker)
    time: datetime = NOW
    made: int = 0

    async def learn(self) -> None:
        """Take in the accounts as they are now."""
        self.admission.accounts = {each.name: each for each in self.store.accounts()}

    def keyed(self, address: str = "192.0.2.1") -> Connection:
        """A connection whose session id is fixed."""
        self.made += 1
        connection = self.connections.arrive(self.worker, f"{address}:4", NOW)
        assert self.connections.may_sign(self.worker, connection.id, bytes([self.made]) * 32)
        return connection

    async def type(
        self, connection: Connection, user: str, code: str, *offered: bytes, worker: Worker | None = None
    ) -> Any:
        """The worker carries a code here, and the keys that were offered: the answer."""
        return await self._answer(proofs.Code(connection.id, user, code, offered), worker or self.worker)

    async def show(self, connection: Connection, user: str, key: Any, session_id: bytes = b"") -> Any:
        """The same with a signature."""
        told = evidence(connection.id, session_id or connection.session_id, user, key)
        return await self._answer(told, self.worker)

    async def _answer(self, message: Any, worker: Worker) -> Any:
        before = len(worker.told)
        if isinstance(message, proofs.Code):
            self.admission.typed(worker, message)
        else:
            self.admission.shown(worker, message)
        await until(lambda: len(worker.told) > before)
        assert len(worker.told) == before + 1
        return worker.told[-1]


@asynccontextmanager
async def a_door(state: Path) -> AsyncIterator[Door]:
    """One over a new store in the folder `state`, put away afterwards."""
    store, desk = open_store(state), Desk(lambda: open_store(state))
    async with asyncio.TaskGroup() as tasks:
        connections = Connections(proves)
        admission = Admission(connections, desk, step_of, tasks, lambda: made.time)
        made = Door(admission, connections, store)
        store.add_user("alice", [], SiteAccount(), "root", NOW)
        store.add_user("bob", [PublicKey.of_blob(BOBS.blob)], SiteAccount(), "root", NOW)
        store.set_enrolment("alice", Enrolment(digest_of(CODE), NOW + timedelta(hours=2)), "root", NOW)
        admission.changed = made.learn
        await made.learn()
        yield made
    await desk.ask(lambda asked: asked.close())  # type: ignore[attr-defined]
    desk.close()
    store.close()


def denied(answer: Any) -> bool:
    """Whether an answer is the one that everybody gets who is not let in."""
    return isinstance(answer, proofs.Refused) and (answer.code, answer.message) == (
        "denied",
        "Permission denied.",
    )
