"""Why people's containers were stopped, in the database: one row each, until she has read it.

Owns these rows. Must not know the words in which she reads it.
"""

from __future__ import annotations

from datetime import datetime

from gateway.notices import Farewell
from gateway.sqlite.rows import Base, instant, stamp


class Farewells(Base):
    """The farewells' part of the store."""

    def stopped(self, user_id: int, reason: str, now: datetime) -> None:
        """Record that her container was stopped; what she has not read of an earlier time is replaced."""
        with self._db.write():
            row = {"user_id": user_id, "at": stamp(now), "reason": reason}
            self._db.table("farewell").upsert(row, pk="user_id")

    def farewell(self, user_id: int) -> Farewell | None:
        """What she has not read yet."""
        row = self._db.row("select at, reason from farewell where user_id = ?", user_id)
        return None if row is None else Farewell(instant(row["at"]), row["reason"])

    def farewell_read(self, user_id: int, farewell: Farewell) -> None:
        """She has read it; a later one stays."""
        with self._db.write():
            self._db.change("delete from farewell where user_id = ? and at = ?", user_id, stamp(farewell.at))
