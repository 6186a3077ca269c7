"""The disk space of workspaces in the database: what was seen last, beside what the quotas say.

Owns the columns. Must not know how anything is measured.
"""

from __future__ import annotations

from datetime import datetime

from gateway.disks import Disk
from gateway.sqlite.database import Row
from gateway.sqlite.quotas import Quotas
from gateway.sqlite.rows import maybe_instant, stamp

_SELECT = (
    "select user.id, disk_used, disk_held, disk_seen_at from user left join workspace on user_id = user.id"
    " where removed_at is null"
)


class Disks(Quotas):
    """The disks' part of the store."""

    def disks(self) -> dict[int, Disk]:
        """The disk of every user who is not removed, by her id."""
        with self._db.read():
            rows = self._db.rows(_SELECT)
            limits = self._values_of("disk", [row["id"] for row in rows])
        return {row["id"]: _disk_of(row, limits[row["id"]]) for row in rows}

    def show_disk(self, user_id: int, used: int, held: bool, now: datetime) -> None:
        """Replace what is shown of one user's disk."""
        with self._db.write():
            self._db.change("insert or ignore into workspace (user_id) values (?)", user_id)
            self._db.change(
                "update workspace set disk_used = ?, disk_held = ?, disk_seen_at = ? where user_id = ?",
                used,
                int(held),
                stamp(now),
                user_id,
            )

    def disk(self, user_id: int) -> Disk:
        """One user's, who is not removed."""
        return _disk_of(
            self._db.rows(f"{_SELECT} and user.id = ?", user_id)[0], self._effective(user_id)["disk"]
        )


def _disk_of(row: Row, limit: int) -> Disk:
    return Disk(limit, row["disk_used"], bool(row["disk_held"]), maybe_instant(row["disk_seen_at"]))
