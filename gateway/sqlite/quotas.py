"""Quotas in the database: what was set for everybody, for a group and for one user.

Owns the rows. Must not know what a key means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from gateway import quotas
from gateway.quotas import Owner
from gateway.sqlite.groups import Groups


class Quotas(Groups):
    """The quotas' part of the store."""

    def set_quotas(
        self, owner: Owner, values: Mapping[str, int | None], actor: str, now: datetime
    ) -> int | None:
        """Set keys for one owner, all or none; None takes a setting away. Raises NOT_FOUND.

        What is held above a lowered quota stays held; nothing more is granted. The id of the `Wanted` that
        gives containers and disks their new limits, or None when no key is one of theirs.
        """
        with self._db.write():
            user_id, group_id = self._owner_ids(owner)
            before = self._set(user_id, group_id)
            for key, value in values.items():
                self._db.change(
                    "delete from quota where user_id is ? and group_id is ? and key = ?",
                    user_id,
                    group_id,
                    key,
                )
                if value is not None:
                    self._db.insert(
                        "quota", {"user_id": user_id, "group_id": group_id, "key": key, "value": value}
                    )
            subject = owner.user or (f"group {owner.group}" if owner.group else "default")
            self._event(now, actor, "quota set", subject, {key: before.get(key) for key in values}, values)
            if quotas.APPLIED_KEYS.isdisjoint(values):
                return None
            return self.want("limits", subject, actor, now)

    def set_quota(self, name: str | None, key: str, value: int, actor: str, now: datetime) -> None:
        """Set one key for user `name`, or the default for everybody with None. Raises NOT_FOUND."""
        self.set_quotas(Owner(name), {key: value}, actor, now)

    def quota(self, name: str | None = None) -> dict[str, int]:
        """Every key's value in force for user `name`, or the default with None. Raises NOT_FOUND."""
        with self._db.read():
            return self._effective(None if name is None else self._user(name).id)

    def group_quota(self, name: str) -> dict[str, int]:
        """The keys that a group sets, and nothing of what others set. Raises NOT_FOUND."""
        return self._set(None, self._group_id(name))

    def _owner_ids(self, owner: Owner) -> tuple[int | None, int | None]:
        if owner.user is not None:
            return self._user(owner.user).id, None
        return None, None if owner.group is None else self._group_id(owner.group)

    def _set(self, user_id: int | None, group_id: int | None = None) -> dict[str, int]:
        rows = self._db.rows(
            "select key, value from quota where user_id is ? and group_id is ?", user_id, group_id
        )
        return {row["key"]: row["value"] for row in rows}

    def _values_of(self, key: str, user_ids: Iterable[int]) -> dict[int, int]:
        """One key's value in force for many users, in two questions whatever their number."""
        own: dict[int | None, dict[str, int]] = {}
        groups: dict[int, dict[str, int]] = {}
        for row in self._db.rows("select * from quota where key = ?", key):
            if row["group_id"] is None:
                own[row["user_id"]] = {key: row["value"]}
            else:
                groups[row["group_id"]] = {key: row["value"]}
        inside: dict[int, list[dict[str, int]]] = {}
        for row in self._db.rows("select * from member"):
            inside.setdefault(row["user_id"], []).append(groups.get(row["group_id"], {}))
        everybody = own.get(None, {})
        return {
            user_id: quotas.effective(self._machine, everybody, inside.get(user_id, []), own.get(user_id))[
                key
            ]
            for user_id in user_ids
        }

    def _effective(self, user_id: int | None) -> dict[str, int]:
        if user_id is None:
            return quotas.effective(self._machine, self._set(None))
        groups = [self._set(None, group_id) for group_id in self._group_ids(user_id)]
        return quotas.effective(self._machine, self._set(None), groups, self._set(user_id))
