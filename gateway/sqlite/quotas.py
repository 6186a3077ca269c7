"""Quotas in the database: what was set for everybody and for one user.

Owns the rows. Must not know what a key means.
"""

from __future__ import annotations

from datetime import datetime

from gateway import quotas
from gateway.sqlite.rows import Base


class Quotas(Base):
    """The quotas' part of the store."""

    def set_quota(self, name: str | None, key: str, value: int, actor: str, now: datetime) -> None:
        """Set one key for user `name`, or the default for everybody with None. Raises NOT_FOUND.

        What is held above a lowered quota stays held; nothing more is granted.
        """
        with self._db.write():
            user_id = None if name is None else self._user(name).id
            before = self._set(user_id).get(key)
            self._db.change("delete from quota where user_id is ? and key = ?", user_id, key)
            self._db.insert("quota", {"user_id": user_id, "key": key, "value": value})
            subject = "default" if name is None else name
            self._event(now, actor, "quota set", subject, {key: before}, {key: value})

    def quota(self, name: str | None = None) -> dict[str, int]:
        """Every key's value in force for user `name`, or the default with None. Raises NOT_FOUND."""
        return self._effective(None if name is None else self._user(name).id)

    def _set(self, user_id: int | None) -> dict[str, int]:
        rows = self._db.rows("select key, value from quota where user_id is ?", user_id)
        return {row["key"]: row["value"] for row in rows}

    def _effective(self, user_id: int | None) -> dict[str, int]:
        own = {} if user_id is None else self._set(user_id)
        return quotas.effective(self._machine, self._set(None), own)
