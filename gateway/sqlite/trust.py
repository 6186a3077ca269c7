"""Authorities and what was revoked, in the database.

Owns whose certificates are believed. Must not judge a certificate.
"""

from __future__ import annotations

from datetime import datetime

from gateway.certificates import Authority, Revocation, Trust
from gateway.errors import Code, PlatformError
from gateway.keys import PublicKey
from gateway.sqlite.rows import Base, instant, stamp


class TrustRows(Base):
    """The authorities' part of the store."""

    def add_authority(self, key: PublicKey, actor: str, now: datetime) -> bool:
        """Believe the certificates of `key` from now on; False when they are already."""
        with self._db.write():
            if self._db.row("select 1 from authority where fingerprint = ?", key.fingerprint):
                return False
            self._db.insert(
                "authority",
                {
                    "fingerprint": key.fingerprint,
                    "type": key.type,
                    "blob": key.blob,
                    "comment": key.comment,
                    "added_at": stamp(now),
                },
            )
            self._event(now, actor, "ca add", key.fingerprint, after={"comment": key.comment})
            return True

    def authorities(self) -> list[Authority]:
        """Those whose certificates are believed, oldest first."""
        rows = self._db.rows("select * from authority order by added_at, fingerprint")
        return [
            Authority(row["type"], row["fingerprint"], row["comment"], instant(row["added_at"]))
            for row in rows
        ]

    def remove_authority(self, fingerprint: str, actor: str, now: datetime) -> None:
        """Believe none of its certificates any more, and forget its revocations. Raises NOT_FOUND."""
        with self._db.write():
            self._authority(fingerprint)
            self._db.change("delete from authority where fingerprint = ?", fingerprint)
            self._event(now, actor, "ca remove", fingerprint)

    def revoke(self, fingerprint: str, kind: str, value: str, actor: str, now: datetime) -> bool:
        """Let nobody in with those certificates; `kind` is serial, id or key. False when revoked already.

        Raises NOT_FOUND for no such authority.
        """
        with self._db.write():
            self._authority(fingerprint)
            done = self._db.change(
                "insert or ignore into revoked (authority, kind, value, revoked_at) values (?, ?, ?, ?)",
                fingerprint,
                kind,
                value,
                stamp(now),
            )
            if done:
                self._event(now, actor, "ca revoke", fingerprint, after={"kind": kind, "value": value})
            return bool(done)

    def revocations(self) -> list[Revocation]:
        """Everything that was revoked, oldest first."""
        rows = self._db.rows("select * from revoked order by revoked_at, authority, kind, value")
        return [
            Revocation(row["authority"], row["kind"], row["value"], instant(row["revoked_at"]))
            for row in rows
        ]

    def trust(self) -> Trust:
        """Whose certificates are believed, and which of them are revoked."""
        with self._db.read():
            rows = self._db.rows("select blob, fingerprint from authority")
            revoked = self.revocations()
        return Trust(
            {row["blob"]: row["fingerprint"] for row in rows},
            frozenset((each.authority, each.kind, each.value) for each in revoked),
        )

    def _authority(self, fingerprint: str) -> None:
        if self._db.row("select 1 from authority where fingerprint = ?", fingerprint) is None:
            raise PlatformError(
                Code.NOT_FOUND, f"There is no authority {fingerprint!r}; see: gpuadmin ca list"
            )
