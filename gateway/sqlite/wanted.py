"""What operators want of the broker, and what the broker shows them: rows both ways.

Owns the hand-over between the two processes. Must not do what is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.errors import Code, PlatformError
from gateway.sqlite.rows import Base, instant, stamp
from gateway.store import LiveConnection, LiveSession, Wanted

_CONNECTIONS = """
    select connection.*, user.name from connection join user on user.id = user_id order by connection.id
"""


@dataclass(frozen=True)
class Answer:
    """How something wanted ended: `error` is None for success, else one sentence and the `Code` of it."""

    error: str | None
    code: str | None = None


class WantedRows(Base):
    """The part of the store through which gpuadmin and the broker speak."""

    def want(self, verb: str, subject: str, actor: str, now: datetime) -> int:
        """Ask the broker for something (see `ports.Wanted`): the id to wait for."""
        with self._db.write():
            self._event(now, actor, verb, subject)
            return self._db.insert(
                "wanted", {"verb": verb, "subject": subject, "actor": actor, "created_at": stamp(now)}
            )

    def wanted(self) -> list[Wanted]:
        """What operators asked for and nobody has done yet, oldest first."""
        rows = self._db.rows("select id, verb, subject, actor from wanted where done_at is null order by id")
        return [Wanted(**row) for row in rows]

    def done(self, wanted_id: int, error: str | None, now: datetime, code: str | None = None) -> None:
        """Answer one `Wanted`: None for success, else the one sentence for the operator and its `Code`."""
        with self._db.write():
            changed = self._db.change(
                "update wanted set done_at = ?, error = ?, code = ? where id = ? and done_at is null",
                stamp(now),
                error,
                code,
                wanted_id,
            )
            if changed:
                self._event(now, "gateway", "done", str(wanted_id), reason=error or "")

    def answer(self, wanted_id: int) -> Answer | None:
        """How a `Wanted` ended, or None while it has not. Raises NOT_FOUND."""
        row = self._db.row("select done_at, error, code from wanted where id = ?", wanted_id)
        if row is None:
            raise PlatformError(Code.NOT_FOUND, f"Nothing with the number {wanted_id} was ever wanted.")
        return None if row["done_at"] is None else Answer(row["error"], row["code"])

    def show_connections(self, connections: Sequence[LiveConnection]) -> None:
        """Replace what `gpuadmin session list` shows; nothing is written when nothing changed."""
        with self._db.write():
            if sorted(connections, key=lambda connection: connection.id) == self.connections():
                return
            self._db.change("delete from connection")
            for connection in connections:
                self._insert_connection(connection)

    def _insert_connection(self, connection: LiveConnection) -> None:
        self._db.insert(
            "connection",
            {
                "id": connection.id,
                "user_id": connection.user_id,
                "peer": connection.peer,
                "fingerprint": connection.fingerprint,
                "started_at": stamp(connection.started_at),
            },
        )
        self._db.table("session").insert_all(
            {
                "connection_id": connection.id,
                "id": session.id,
                "kind": session.kind,
                "command": session.command,
                "started_at": stamp(session.started_at),
            }
            for session in connection.sessions
        )

    def connections(self) -> list[LiveConnection]:
        """What the broker showed last, by id; killed, it leaves them behind: ask first whether it runs."""
        sessions: dict[str, list[LiveSession]] = {}
        with self._db.read():
            for row in self._db.rows("select * from session order by rowid"):
                live = LiveSession(row["id"], row["kind"], row["command"], instant(row["started_at"]))
                sessions.setdefault(row["connection_id"], []).append(live)
            rows = self._db.rows(_CONNECTIONS)
        return [
            LiveConnection(
                id=row["id"],
                user_id=row["user_id"],
                user=row["name"],
                peer=row["peer"],
                fingerprint=row["fingerprint"],
                started_at=instant(row["started_at"]),
                sessions=tuple(sessions.get(row["id"], [])),
            )
            for row in rows
        ]
