"""Groups in the database, and who is in them.

Owns the rows. Must not know what being in a group gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.errors import Code, PlatformError
from gateway.sqlite.rows import instant, stamp
from gateway.sqlite.wanted import WantedRows
from gateway.users import Group


class Groups(WantedRows):
    """The groups' part of the store."""

    def add_group(self, name: str, actor: str, now: datetime) -> None:
        """A new group with nobody in it. `name` was parsed. Raises CONFLICT when there is one."""
        with self._db.write():
            if self._db.row("select 1 from user_group where name = ?", name):
                raise PlatformError(
                    Code.CONFLICT, f"There is a group {name!r} already; see: gpuadmin group list"
                )
            self._db.insert("user_group", {"name": name, "created_at": stamp(now)})
            self._event(now, actor, "group add", name)

    def groups(self) -> list[Group]:
        """Every group with its members, by name."""
        members: dict[int, list[str]] = {}
        with self._db.read():
            for row in self._db.rows(
                "select group_id, name from member join user on user.id = user_id order by name"
            ):
                members.setdefault(row["group_id"], []).append(row["name"])
            rows = self._db.rows("select * from user_group order by name")
        return [
            Group(row["id"], row["name"], instant(row["created_at"]), tuple(members.get(row["id"], [])))
            for row in rows
        ]

    def remove_group(self, name: str, actor: str, now: datetime) -> None:
        """Remove a group and its quotas. Raises NOT_FOUND, and CONFLICT while somebody is in it."""
        with self._db.write():
            group_id = self._group_id(name)
            inside = next(group.members for group in self.groups() if group.id == group_id)
            if inside:
                raise PlatformError(
                    Code.CONFLICT,
                    f"{', '.join(inside[:5])}{' and others' if len(inside) > 5 else ''} would lose what the "
                    f"group {name} gives; first run: gpuadmin group leave {name} {inside[0]} ...",
                )
            self._db.change("delete from user_group where id = ?", group_id)
            self._event(now, actor, "group remove", name)

    def join(self, group: str, names: Sequence[str], actor: str, now: datetime) -> list[str]:
        """Those of `names` who were not in it and are now; all, or none. Raises NOT_FOUND.

        Their containers get the group's limits as soon as a broker looks.
        """
        with self._db.write():
            group_id = self._group_id(group)
            joined = [name for name in names if self._join(group_id, group, name, actor, now)]
            if joined:
                self.want("limits", group, actor, now)
            return joined

    def leave(self, group: str, names: Sequence[str], actor: str, now: datetime) -> list[str]:
        """Those of `names` who were in it and are no longer; all, or none. Raises NOT_FOUND."""
        with self._db.write():
            group_id = self._group_id(group)
            left = [name for name in names if self._leave(group_id, group, name, actor, now)]
            if left:
                self.want("limits", group, actor, now)
            return left

    def _join(self, group_id: int, group: str, name: str, actor: str, now: datetime) -> bool:
        user_id = self._user(name).id
        if self._db.row("select 1 from member where group_id = ? and user_id = ?", group_id, user_id):
            return False
        self._db.insert("member", {"group_id": group_id, "user_id": user_id})
        self._event(now, actor, "group join", name, after={"group": group})
        return True

    def _leave(self, group_id: int, group: str, name: str, actor: str, now: datetime) -> bool:
        user_id = self._user(name).id
        left = self._db.change("delete from member where group_id = ? and user_id = ?", group_id, user_id)
        if left:
            self._event(now, actor, "group leave", name, before={"group": group})
        return left > 0

    def _group_id(self, name: str) -> int:
        row = self._db.row("select id from user_group where name = ?", name)
        if row is None:
            raise PlatformError(Code.NOT_FOUND, f"There is no group {name!r}; see: gpuadmin group list")
        return int(row["id"])

    def _group_ids(self, user_id: int) -> list[int]:
        """The groups that a user is in."""
        rows = self._db.rows("select group_id from member where user_id = ? order by group_id", user_id)
        return [row["group_id"] for row in rows]
