"""One-time codes in the database.

Owns which user may register which keys by which code, of which only the digest comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.errors import Code, PlatformError
from gateway.keys import PublicKey
from gateway.onetime import Enrolment
from gateway.sqlite.keys import Keys
from gateway.sqlite.rows import instant, stamp, user_of
from gateway.users import User


class Enrolments(Keys):
    """The codes' part of the store."""

    def set_enrolment(self, name: str, enrolment: Enrolment, actor: str, now: datetime) -> None:
        """Let a user register a key with one code, in place of any earlier one.

        Raises NOT_FOUND, and CONFLICT for a disabled user.
        """
        with self._db.write():
            user = self._user(name)
            if not user.enabled:
                raise PlatformError(
                    Code.CONFLICT, f"{name} is disabled; first run: gpuadmin user enable {name}"
                )
            self._db.change("delete from enrolment where user_id = ?", user.id)
            self._db.insert(
                "enrolment",
                {
                    "user_id": user.id,
                    "digest": enrolment.digest,
                    "expires_at": stamp(enrolment.expires_at),
                },
            )
            self._event(now, actor, "user enrol", name, after={"expires_at": stamp(enrolment.expires_at)})

    def enrolments(self) -> dict[int, Enrolment]:
        """The codes that were not used, expired ones included, by user."""
        return {
            row["user_id"]: Enrolment(row["digest"], instant(row["expires_at"]))
            for row in self._db.rows("select * from enrolment")
        }

    def claimed(self) -> dict[int, tuple[bytes, ...]]:
        """The keys that were offered with right codes, by user."""
        found: dict[int, tuple[bytes, ...]] = {}
        for row in self._db.rows("select * from claimed_key order by rowid"):
            found[row["user_id"]] = (*found.get(row["user_id"], ()), row["blob"])
        return found

    def claim(self, user_id: int, digest: bytes, keys: Sequence[PublicKey], now: datetime) -> list[str]:
        """Fingerprints of those of `keys` that may become hers with this code; earlier ones are forgotten.

        Raises DENIED when the code is not there or not good any more.
        """
        with self._db.write():
            self._waiting(user_id, now, digest)
            self._db.change("delete from claimed_key where user_id = ?", user_id)
            free = [
                key
                for key in dict.fromkeys(keys)
                if not self._db.row("select 1 from key where fingerprint = ?", key.fingerprint)
            ]
            for key in free:
                self._db.insert("claimed_key", {"user_id": user_id, "blob": key.blob})
            return [key.fingerprint for key in free]

    def enrol(self, user_id: int, key: PublicKey, now: datetime) -> None:
        """Use up her code: a key that she has claimed with it is hers from here on.

        Raises DENIED when she has not, or when the code is not there or not good any more.
        """
        with self._db.write():
            user = self._waiting(user_id, now)
            claimed = self._db.change(
                "delete from claimed_key where user_id = ? and blob = ?", user_id, key.blob
            )
            if not claimed:
                raise _denied()
            self._db.change("delete from enrolment where user_id = ?", user_id)
            self._event(now, user.name, "user enrolled", user.name, after={"fingerprint": key.fingerprint})
            self._add_key(user, key, user.name, now)

    def _waiting(self, user_id: int, now: datetime, digest: bytes | None = None) -> User:
        """The user, who is enabled and has a code that is good now. Raises DENIED."""
        row = self._db.row(
            "select user.* from user join enrolment on user_id = user.id where user.id = ? and enabled = 1"
            " and removed_at is null and expires_at > ? and (digest = ? or ? is null)",
            user_id,
            stamp(now),
            digest,
            digest,
        )
        if row is None:
            raise _denied()
        return user_of(row)


def _denied() -> PlatformError:
    return PlatformError(Code.DENIED, "Permission denied.")
