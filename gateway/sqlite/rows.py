"""Rows to values and back, and the events that every change leaves.

Owns the spelling of instants in the database and the part of the store that all nouns share. Must not
decide anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.errors import Code, PlatformError
from gateway.quotas import Machine
from gateway.sqlite.database import Database, Row
from gateway.users import UidRange, User

_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"

Facts = Mapping[str, str | int | float | bool | list[str] | None]


def stamp(at: datetime) -> str:
    """An aware instant as stored: of one length in UTC, so that text order is the order of time."""
    return at.astimezone(UTC).strftime(_INSTANT)


def instant(text: str) -> datetime:
    """What `stamp` wrote."""
    return datetime.fromisoformat(text)


def maybe_instant(text: str | None) -> datetime | None:
    """`instant`, for a column that may be null."""
    return None if text is None else instant(text)


def user_of(row: Row) -> User:
    """A user from a whole row of table `user`."""
    return User(
        id=row["id"],
        name=row["name"],
        uid=row["uid"],
        gid=row["gid"],
        enabled=bool(row["enabled"]),
        created_at=instant(row["created_at"]),
        home=row["home"],
        removed_at=maybe_instant(row["removed_at"]),
    )


class Base:
    """What every noun's part of the store works with: the database, and the rules of this machine."""

    def __init__(self, database: Database, machine: Machine, uids: UidRange) -> None:
        self._db = database
        self._machine = machine
        self._uids = uids

    def _event(
        self,
        now: datetime,
        actor: str,
        verb: str,
        subject: str,
        before: Facts | None = None,
        after: Facts | None = None,
        reason: str = "",
    ) -> None:
        """Write an event; inside the transaction of the change it speaks of: both are there, or neither."""
        self._db.insert(
            "event",
            {
                "at": stamp(now),
                "actor": actor,
                "verb": verb,
                "subject": subject,
                "before": None if before is None else json.dumps(before),
                "after": None if after is None else json.dumps(after),
                "reason": reason,
            },
        )

    def _user(self, name: str) -> User:
        """The user called `name` who is not removed. Raises NOT_FOUND."""
        row = self._db.row("select * from user where name = ? and removed_at is null", name)
        if row is None:
            raise PlatformError(Code.NOT_FOUND, f"There is no user {name!r}; see: gpuadmin user list")
        return user_of(row)
