"""Users in the database.

Owns who exists and who is enabled. Must not check a signature nor touch a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from gateway.errors import Code, PlatformError
from gateway.keyoptions import KeyOptions
from gateway.keys import PublicKey
from gateway.sqlite.enrolments import Enrolments
from gateway.sqlite.factors import SecondFactors
from gateway.sqlite.rows import stamp, user_of
from gateway.users import RETENTION, Account, NewUser, SiteAccount, User, numbers, overlapping


class _Undo(Exception):
    """Ends a transaction that is to leave nothing."""


class Users(Enrolments, SecondFactors):
    """The people's part of the store."""

    def add_user(
        self,
        name: str,
        keys: Sequence[PublicKey],
        site: SiteAccount,
        actor: str,
        now: datetime,
        groups: Sequence[str] = (),
    ) -> User:
        """A new user with her keys, in `groups`, or nothing. `name` was parsed.

        Raises CONFLICT when a name, uid, home or key is somebody's, INVALID for a bad site account,
        NOT_FOUND for no such group.
        """
        site.check(self._uids)
        with self._db.write():
            self._refuse_taken(name, site)
            user_id = self._next_id()
            uid, gid = numbers(user_id, site, self._uids)
            self._db.insert(
                "user",
                {
                    "id": user_id,
                    "name": name,
                    "uid": uid,
                    "gid": gid,
                    "home": site.home,
                    "created_at": stamp(now),
                },
            )
            self._db.insert("workspace", {"user_id": user_id, "image_id": None})
            after = {"id": user_id, "uid": uid, "gid": gid, "home": site.home}
            self._event(now, actor, "user add", name, after=after)
            self.add_keys(name, keys, actor, now)
            for group in groups:
                self._join(self._group_id(group), group, name, actor, now)
            return self._user(name)

    def add_users(
        self, people: Mapping[int, NewUser], actor: str, now: datetime, *, trial: bool = False
    ) -> tuple[list[User], dict[int, PlatformError]]:
        """Add all of `people`, or none when one cannot be added: the users, or what each one's fault is.

        As a `trial` nobody is added either way, and only the faults are of interest.
        """
        added: list[User] = []
        faults: dict[int, PlatformError] = {}
        with suppress(_Undo), self._db.write():
            for number, new in people.items():
                try:
                    added.append(self.add_user(new.name, new.keys, new.site, actor, now, new.groups))
                except PlatformError as error:
                    # A disk that is full is nobody's fault of theirs.
                    if error.code is Code.UNAVAILABLE:
                        raise
                    faults[number] = error
            if faults or trial:
                raise _Undo
        return ([] if faults or trial else added), faults

    def _refuse_taken(self, name: str, site: SiteAccount) -> None:
        if self._db.row("select 1 from user where name = ? and removed_at is null", name):
            raise PlatformError(
                Code.CONFLICT,
                f"There is a user {name!r} already; choose another name, or see: gpuadmin user list",
            )
        holder = self._db.row("select name from user where uid = ? and removed_at is null", site.uid)
        if holder:
            raise PlatformError(Code.CONFLICT, f"The uid {site.uid} is {holder['name']}'s; choose another.")
        homes = [user.home for user in self.users() if user.home is not None]
        other = overlapping(site.home, [str(self._db.path.parent), *homes]) if site.home else None
        if other is not None:
            raise PlatformError(
                Code.CONFLICT,
                f"The home {site.home} and {other}, which is not hers, overlap; choose another.",
            )

    def _next_id(self) -> int:
        # SQLite keeps the highest id that an AUTOINCREMENT table ever had, deleted rows included.
        row = self._db.row("select seq from sqlite_sequence where name = 'user'")
        return 1 if row is None else int(row["seq"]) + 1

    def user(self, name: str) -> User:
        """The user called `name`. Raises NOT_FOUND, for a removed one as well."""
        return self._user(name)

    def users(self) -> list[User]:
        """Every user who is not removed, by name."""
        return [
            user_of(row) for row in self._db.rows("select * from user where removed_at is null order by name")
        ]

    def set_enabled(self, name: str, enabled: bool, actor: str, now: datetime) -> None:
        """Let a user in, or no longer; the broker notices and ends her sessions. Raises NOT_FOUND."""
        with self._db.write():
            user = self._user(name)
            if user.enabled == enabled:
                return
            self._db.change("update user set enabled = ? where id = ?", int(enabled), user.id)
            verb = "user enable" if enabled else "user disable"
            self._event(now, actor, verb, name, {"enabled": user.enabled}, {"enabled": enabled})

    def _forget(self, user: User, actor: str, now: datetime) -> None:
        """Mark removed and drop the keys; her files are kept for `users.RETENTION`, her id for ever."""
        self._db.change("update user set removed_at = ?, enabled = 0 where id = ?", stamp(now), user.id)
        self._db.change("delete from key where user_id = ?", user.id)
        self._db.change("delete from enrolment where user_id = ?", user.id)
        self._db.change("delete from totp where user_id = ?", user.id)
        self._db.change("delete from password where user_id = ?", user.id)
        self._db.change("delete from member where user_id = ?", user.id)
        self._event(now, actor, "user remove", user.name, {"id": user.id, "enabled": user.enabled})

    def purgeable(self, now: datetime) -> list[int]:
        """Ids of removed users whose files' retention has passed and were not deleted yet."""
        rows = self._db.rows(
            "select id from user where removed_at <= ? and purged_at is null order by id",
            stamp(now - RETENTION),
        )
        return [row["id"] for row in rows]

    def purged(self, user_id: int, now: datetime) -> None:
        """Record that a removed user's files are gone."""
        with self._db.write():
            changed = self._db.change(
                "update user set purged_at = ? where id = ? and removed_at is not null and purged_at is null",
                stamp(now),
                user_id,
            )
            if changed:
                self._event(now, "gateway", "user purge", str(user_id), reason="the retention has passed")

    def accounts(self) -> list[Account]:
        """Every user who is not removed, disabled ones included, with her keys."""
        keys: dict[int, dict[bytes, str]] = {}
        options: dict[int, dict[bytes, KeyOptions]] = {}
        with self._db.read():
            for row in self._db.rows("select user_id, blob, fingerprint, options from key"):
                keys.setdefault(row["user_id"], {})[row["blob"]] = row["fingerprint"]
                if row["options"]:
                    options.setdefault(row["user_id"], {})[row["blob"]] = KeyOptions.parse(row["options"])
            enrolments, claimed = self.enrolments(), self.claimed()
            secrets, asked, passwords = self.secrets(), self.asked_for_codes(), self.passwords()
            users = self.users()
            most = self._values_of("sessions", [user.id for user in users])
        return [
            Account(
                each.id,
                each.name,
                each.enabled,
                keys.get(each.id, {}),
                most[each.id],
                options.get(each.id, {}),
                enrolments.get(each.id),
                claimed.get(each.id, ()),
                secrets.get(each.id, ""),
                each.id in asked,
                passwords.get(each.id, ""),
            )
            for each in users
        ]
