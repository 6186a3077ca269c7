"""Restarts to come in the database: what people were told of a changed set of GPUs, a row each.

Owns these rows, so that a restart of the gateway moves no moment. When a container restarts, and how far that
can be put off, is gateway.restarts's. Must not stop a container.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from gateway import restarts
from gateway.errors import Code, PlatformError
from gateway.restarts import Restart
from gateway.sqlite.database import Row
from gateway.sqlite.holders import Holders
from gateway.sqlite.rows import Facts, instant, stamp


class Restarts(Holders):
    """The restarts' part of the store."""

    def restarts(self) -> list[Restart]:
        """Every restart that was told of and has not been done."""
        return [_restart_of(row) for row in self._db.rows("select * from restart order by id")]

    def announce_restart(self, restart: Restart, now: datetime) -> None:
        """Record what she is told, with an event, in place of what she was told before."""
        with self._db.write():
            self._keep(restart, "gateway", "announce restart", None, now)

    def forget_restart(self, user_id: int) -> None:
        """There is nothing to restart for any more."""
        with self._db.write():
            self._db.change("delete from restart where user_id = ?", user_id)

    def restart_of(self, user_id: int) -> Restart | None:
        """See HolderStore."""
        row = self._db.row("select * from restart where user_id = ?", user_id)
        return None if row is None else _restart_of(row)

    def put_off(self, user_id: int, length: timedelta | None, now: datetime) -> tuple[Restart, datetime]:
        """See HolderStore."""
        with self._db.write():
            before, name = self._coming(user_id)
            restart = restarts.put_off(before, length, now)
            self._keep(restart, name, "put off restart", before, now)
            return restart, before.due_at

    def hasten(self, user_id: int, now: datetime) -> None:
        """See HolderStore."""
        with self._db.write():
            before, name = self._coming(user_id)
            if before.due_at > now:
                self._keep(restarts.hastened(before, now), name, "hasten restart", before, now)

    def _coming(self, user_id: int) -> tuple[Restart, str]:
        """What she was told, and her name. Raises DENIED, and CONFLICT when nothing is to restart."""
        user, restart = self._present(user_id), self.restart_of(user_id)
        if restart is None:
            raise PlatformError(
                Code.CONFLICT,
                "Your container shows the GPUs that you hold, does not run or is about to be stopped; see: "
                "gpu status",
            )
        return restart, user.name

    def _keep(self, restart: Restart, actor: str, verb: str, before: Restart | None, now: datetime) -> None:
        row: dict[str, str | int | float | bytes | None] = {
            "user_id": restart.user_id,
            "devices": json.dumps(restart.devices),
            "told_at": stamp(restart.told_at),
            "due_at": stamp(restart.due_at),
        }
        self._db.change("delete from restart where user_id = ?", restart.user_id)
        self._db.insert("restart", row)
        was: Facts | None = None if before is None else {"due_at": stamp(before.due_at)}
        is_: Facts = {"due_at": stamp(restart.due_at), "devices": list(restart.devices)}
        self._event(now, actor, verb, self.person(restart.user_id).name, was, is_)


def _restart_of(row: Row) -> Restart:
    return Restart(
        user_id=row["user_id"],
        devices=tuple(json.loads(row["devices"])),
        told_at=instant(row["told_at"]),
        due_at=instant(row["due_at"]),
    )
