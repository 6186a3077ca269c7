"""Keys in the database.

Owns which key is whose, and with which options. Must not check a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.errors import Code, PlatformError
from gateway.keyoptions import KeyOptions
from gateway.keys import PublicKey, StoredKey
from gateway.sqlite.quotas import Quotas
from gateway.sqlite.rows import instant, stamp
from gateway.users import User


class Keys(Quotas):
    """The keys' part of the store."""

    def add_keys(self, name: str, keys: Sequence[PublicKey], actor: str, now: datetime) -> list[PublicKey]:
        """Those of `keys` that are new to her or have other options now; all are added, or none.

        One key is one person's: raises CONFLICT when it is somebody else's, and NOT_FOUND for no such user.
        """
        with self._db.write():
            user = self._user(name)
            return [key for key in keys if self._add_key(user, key, actor, now)]

    def rotate_key(self, name: str, old: str, key: PublicKey, actor: str, now: datetime) -> None:
        """Put `key` in the place of the one with fingerprint `old`, in one step, with its own options.

        Raises NOT_FOUND when she has no such key, CONFLICT when the new one is anybody's already.
        """
        with self._db.write():
            user = self._user(name)
            self._key_of(old, user)
            if not self._add_key(user, key, actor, now):
                raise PlatformError(
                    Code.CONFLICT, f"{name} has {key.fingerprint} already; remove the old key alone."
                )
            self.remove_key(old, actor, now)

    def _add_key(self, user: User, key: PublicKey, actor: str, now: datetime) -> bool:
        holder = self._db.row("select user_id from key where fingerprint = ?", key.fingerprint)
        if holder and holder["user_id"] != user.id:
            raise PlatformError(
                Code.CONFLICT,
                f"The key {key.fingerprint} is another user's; one key is one person's."
                f" Make another for {user.name} with: ssh-keygen -t ed25519",
            )
        if holder:
            return self._change_options(user, key, actor, now)
        self._db.insert(
            "key",
            {
                "fingerprint": key.fingerprint,
                "user_id": user.id,
                "type": key.type,
                "blob": key.blob,
                "comment": key.comment,
                "added_at": stamp(now),
                "options": str(key.options),
            },
        )
        after = {"fingerprint": key.fingerprint, "options": str(key.options)}
        self._event(now, actor, "key add", user.name, after=after)
        return True

    def _change_options(self, user: User, key: PublicKey, actor: str, now: datetime) -> bool:
        row = self._db.row("select options from key where fingerprint = ?", key.fingerprint)
        before, after = row["options"] if row else "", str(key.options)
        if before == after:
            return False
        self._db.change("update key set options = ? where fingerprint = ?", after, key.fingerprint)
        self._event(
            now,
            actor,
            "key options",
            user.name,
            {"fingerprint": key.fingerprint, "options": before},
            {"fingerprint": key.fingerprint, "options": after},
        )
        return True

    def keys(self, name: str | None = None) -> list[StoredKey]:
        """The keys of one user, or of everybody, by user. Raises NOT_FOUND for no such user."""
        wanted = None if name is None else self._user(name).id
        rows = self._db.rows(
            "select key.*, user.name from key join user on user.id = key.user_id"
            " where ? is null or user_id = ? order by user.name, added_at, fingerprint",
            wanted,
            wanted,
        )
        return [
            StoredKey(
                row["name"],
                row["type"],
                row["fingerprint"],
                row["comment"],
                instant(row["added_at"]),
                KeyOptions.parse(row["options"]),
            )
            for row in rows
        ]

    def remove_key(self, fingerprint: str, actor: str, now: datetime) -> str:
        """Drop a key; the broker notices and ends its sessions. Whose it was. Raises NOT_FOUND."""
        with self._db.write():
            name = self._key_of(fingerprint)
            self._db.change("delete from key where fingerprint = ?", fingerprint)
            self._event(now, actor, "key remove", name, before={"fingerprint": fingerprint})
            return name

    def _key_of(self, fingerprint: str, user: User | None = None) -> str:
        """Whose key it is. Raises NOT_FOUND when it is nobody's, or not this user's."""
        row = self._db.row(
            "select user.name, user.id from key join user on user.id = key.user_id where fingerprint = ?",
            fingerprint,
        )
        if row is None or (user is not None and row["id"] != user.id):
            whose = "" if user is None else f" of {user.name}"
            raise PlatformError(
                Code.NOT_FOUND, f"There is no key {fingerprint!r}{whose}; see: gpuadmin key list"
            )
        return str(row["name"])
