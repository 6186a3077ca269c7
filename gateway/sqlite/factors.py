"""Second factors in the database.

Owns the secrets of verification codes, which of them were used, and which groups ask for them. Must not judge
a code.
"""

from __future__ import annotations

from datetime import datetime

from gateway.errors import Code, PlatformError
from gateway.sqlite.groups import Groups
from gateway.sqlite.rows import stamp


class SecondFactors(Groups):
    """The second factors' part of the store."""

    def set_secret(self, name: str, secret: str, actor: str, now: datetime) -> None:
        """Ask a user for codes of `secret` beside her key. Raises NOT_FOUND, CONFLICT when she has one."""
        with self._db.write():
            user = self._user(name)
            if self._db.row("select 1 from totp where user_id = ?", user.id):
                raise PlatformError(
                    Code.CONFLICT,
                    f"{name} has a secret already, which is not shown again; for a new one first run: "
                    f"gpuadmin user totp {name} off",
                )
            self._db.insert("totp", {"user_id": user.id, "secret": secret, "added_at": stamp(now)})
            self._event(now, actor, "user totp", name, {"totp": False}, {"totp": True})

    def drop_secret(self, name: str, actor: str, now: datetime) -> bool:
        """Ask her for no codes any more; False when she had no secret. Raises NOT_FOUND."""
        with self._db.write():
            dropped = self._db.change("delete from totp where user_id = ?", self._user(name).id)
            if dropped:
                self._event(now, actor, "user totp", name, {"totp": True}, {"totp": False})
            return dropped > 0

    def ask_group(self, group: str, ask: bool, actor: str, now: datetime) -> bool:
        """Ask everybody in a group for codes, or no longer; False when that was so. Raises NOT_FOUND."""
        with self._db.write():
            changed = self._db.change(
                "update user_group set second_factor = ? where id = ? and second_factor <> ?",
                int(ask),
                self._group_id(group),
                int(ask),
            )
            if changed:
                self._event(now, actor, "group totp", group, {"totp": not ask}, {"totp": ask})
            return changed > 0

    def set_password(self, name: str, kept: str, actor: str, now: datetime) -> None:
        """Let her in by a password of which `kept` is the hash. Raises NOT_FOUND."""
        with self._db.write():
            user_id = self._user(name).id
            self._db.change("delete from password where user_id = ?", user_id)
            self._db.insert("password", {"user_id": user_id, "hash": kept, "set_at": stamp(now)})
            self._event(now, actor, "user password", name, after={"password": True})

    def drop_password(self, name: str, actor: str, now: datetime) -> bool:
        """Let her in by no password any more; False when she had none. Raises NOT_FOUND."""
        with self._db.write():
            dropped = self._db.change("delete from password where user_id = ?", self._user(name).id)
            if dropped:
                self._event(now, actor, "user password", name, after={"password": False})
            return dropped > 0

    def passwords(self) -> dict[int, str]:
        """Who has a password, and its hash."""
        return {row["user_id"]: row["hash"] for row in self._db.rows("select user_id, hash from password")}

    def secrets(self) -> dict[int, str]:
        """Who has a secret, and which."""
        return {row["user_id"]: row["secret"] for row in self._db.rows("select user_id, secret from totp")}

    def asked_for_codes(self) -> set[int]:
        """Who is in a group that asks for codes."""
        rows = self._db.rows(
            "select distinct user_id from member join user_group on user_group.id = group_id"
            " where second_factor = 1"
        )
        return {row["user_id"] for row in rows}

    def use_step(self, user_id: int, step: int) -> bool:
        """Use up a step of time and all before it; False when it was used, or she has no secret."""
        with self._db.write():
            return (
                self._db.change(
                    "update totp set last_step = ? where user_id = ? and last_step < ?", step, user_id, step
                )
                > 0
            )
