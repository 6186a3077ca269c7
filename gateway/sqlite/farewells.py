"""What people are to read at their next terminals, in the database: until they have read it.

Owns these rows: one a person for why her container was stopped, and her newest messages. Must not know the
words in which she reads it.
"""

from __future__ import annotations

from datetime import datetime

from gateway.notices import Farewell, Unread
from gateway.sqlite.rows import Base, instant, stamp

MOST_MESSAGES = 5
"""Of one person: a terminal is greeted with all of them."""


class Farewells(Base):
    """The farewells' part of the store."""

    def stopped(self, user_id: int, reason: str, now: datetime) -> None:
        """Record that her container was stopped; what she has not read of an earlier time is replaced."""
        with self._db.write():
            row = {"user_id": user_id, "at": stamp(now), "reason": reason}
            self._db.table("farewell").upsert(row, pk="user_id")

    def farewell(self, user_id: int) -> Farewell | None:
        """Why it was stopped, if she has not read it yet."""
        row = self._db.row("select at, reason from farewell where user_id = ?", user_id)
        return None if row is None else Farewell(instant(row["at"]), row["reason"])

    def leave_message(self, user_id: int, text: str) -> None:
        """Have her read this; of more than MOST_MESSAGES the oldest go. Within the caller's transaction."""
        self._db.insert("message", {"user_id": user_id, "text": text})
        self._db.change(
            "delete from message where user_id = ? and id not in"
            " (select id from message where user_id = ? order by id desc limit ?)",
            user_id,
            user_id,
            MOST_MESSAGES,
        )

    def unread(self, user_id: int) -> Unread | None:
        """All that she has not read yet; None for nothing."""
        with self._db.read():
            rows = self._db.rows("select id, text from message where user_id = ? order by id", user_id)
            farewell = self.farewell(user_id)
        if not rows and farewell is None:
            return None
        return Unread(tuple(row["text"] for row in rows), rows[-1]["id"] if rows else 0, farewell)

    def was_read(self, user_id: int, unread: Unread) -> None:
        """She has read it; what came later stays."""
        with self._db.write():
            self._db.change("delete from message where user_id = ? and id <= ?", user_id, unread.last)
            if unread.farewell is not None:
                at = stamp(unread.farewell.at)
                self._db.change("delete from farewell where user_id = ? and at = ?", user_id, at)
