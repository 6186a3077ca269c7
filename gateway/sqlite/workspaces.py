"""What operators do to workspaces, as rows: rescues, removals with their retention, and handing over.

Owns what is recorded before anything is done, so that a crash in between is made good. Must not touch
a file or a container.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from gateway.errors import Code, PlatformError
from gateway.sqlite.queue import Queue
from gateway.sqlite.rollouts import Rollouts
from gateway.sqlite.rows import stamp, user_of
from gateway.users import RETENTION, User
from gateway.workspaces import Removal


class Workspaces(Queue, Rollouts):
    """The workspaces' part of the store."""

    def start_workspace(self, name: str, rescue: bool, actor: str, now: datetime) -> int:
        """Record that a container is to run, with a clean home in a rescue: the `Wanted` to wait for.

        Raises NOT_FOUND, and CONFLICT for a disabled user.
        """
        with self._db.write():
            user = self._user(name)
            if not user.enabled:
                raise PlatformError(
                    Code.CONFLICT, f"{name} is disabled; first run: gpuadmin user enable {name}"
                )
            ended = self._set_rescue(user, rescue)
            return self.want(
                "rescue" if rescue else "restart" if ended else "start", str(user.id), actor, now
            )

    def stop_workspace(self, name: str, actor: str, now: datetime, *, at_once: bool = False) -> int:
        """Record that a container is to be stopped: the `Wanted` to wait for. Raises NOT_FOUND.

        `at_once`, here and below: her programs get no time to save their work.
        """
        with self._db.write():
            return self.want("stop-now" if at_once else "stop", str(self._user(name).id), actor, now)

    def recreate_workspace(self, name: str, actor: str, now: datetime, *, at_once: bool = False) -> int:
        """Record that a container is to be made anew, which ends a rescue. Raises NOT_FOUND."""
        with self._db.write():
            user = self._user(name)
            self._set_rescue(user, False)
            return self.want("recreate-now" if at_once else "recreate", str(user.id), actor, now)

    def remove_workspace(self, name: str, actor: str, now: datetime, *, at_once: bool = False) -> int:
        """Record that her files are to be put away and, after `users.RETENTION`, deleted.

        Raises NOT_FOUND, and CONFLICT while she holds GPUs: a lease belongs to a workspace.
        """
        with self._db.write():
            user = self._user(name)
            if any(lease.user_id == user.id for lease in self.held_leases()):
                raise PlatformError(Code.CONFLICT, f"{name} holds GPUs; first run: gpuadmin release {name}")
            self._set_rescue(user, False)
            self._db.insert("removed_workspace", {"user_id": user.id, "removed_at": stamp(now)})
            verb = "remove-workspace-now" if at_once else "remove-workspace"
            return self.want(verb, str(user.id), actor, now)

    def hand_over(self, giver: str, taker: str, actor: str, now: datetime) -> int:
        """Record that one user's files are to become another's. The giver may be a removed user.

        Raises NOT_FOUND for a giver without files or an unknown taker, CONFLICT when they are one.
        """
        with self._db.write():
            to = self._user(taker)
            row = self._db.row(
                "select * from user where name = ? and purged_at is null"
                " and (removed_at is null or removed_at > ?) order by removed_at is not null, id desc",
                giver,
                stamp(now - RETENTION),
            )
            if row is None:
                raise PlatformError(Code.NOT_FOUND, f"There is no user {giver!r} whose files are still kept.")
            if row["id"] == to.id:
                raise PlatformError(Code.CONFLICT, f"The files are {taker}'s already; name two users.")
            self._set_rescue(user_of(row), False)
            return self.want("hand-over", f"{row['id']} {to.id}", actor, now)

    def person(self, user_id: int) -> User:
        """The user with this id, removed or not. Raises NOT_FOUND."""
        row = self._db.row("select * from user where id = ?", user_id)
        if row is None:
            raise PlatformError(Code.NOT_FOUND, f"There is no user with the id {user_id}.")
        return user_of(row)

    def rescued(self, user_id: int) -> bool:
        """Whether her next container has the clean home."""
        row = self._db.row("select rescue from workspace where user_id = ?", user_id)
        return row is not None and bool(row["rescue"])

    def removals(self) -> list[Removal]:
        """Removed workspaces whose files were not put away yet, oldest first."""
        rows = self._db.rows(
            "select id, user_id from removed_workspace where put_away_at is null order by id"
        )
        return [Removal(**row) for row in rows]

    def put_away(self, removal_id: int, now: datetime) -> None:
        """Record that a removed workspace's files are where nobody sees them."""
        with self._db.write():
            self._db.change(
                "update removed_workspace set put_away_at = ? where id = ? and put_away_at is null",
                stamp(now),
                removal_id,
            )

    def purgeable_removals(self, now: datetime) -> list[int]:
        """Ids of removed workspaces whose retention has passed and whose files were not deleted yet."""
        rows = self._db.rows(
            "select id from removed_workspace"
            " where removed_at <= ? and put_away_at is not null and purged_at is null order by id",
            stamp(now - RETENTION),
        )
        return [row["id"] for row in rows]

    def removal_purged(self, removal_id: int, now: datetime) -> None:
        """Record that a removed workspace's files are gone."""
        with self._db.write():
            changed = self._db.change(
                "update removed_workspace set purged_at = ? where id = ? and purged_at is null",
                stamp(now),
                removal_id,
            )
            if changed:
                self._event(
                    now, "gateway", "workspace purge", str(removal_id), reason="the retention has passed"
                )

    def show_running(self, user_ids: Iterable[int]) -> None:
        """Replace whose containers run; nothing is written when nothing changed."""
        wanted = set(user_ids)
        if wanted == self.running():
            return
        with self._db.write():
            for user_id in wanted ^ self.running():
                self._db.change(
                    "update workspace set running = ? where user_id = ?", int(user_id in wanted), user_id
                )

    def running(self) -> set[int]:
        """Whose containers run, as the broker showed last: ask first whether it runs."""
        return {row["user_id"] for row in self._db.rows("select user_id from workspace where running = 1")}

    def _group_names(self, user_id: int) -> tuple[str, ...]:
        rows = self._db.rows(
            "select name from member join user_group on user_group.id = group_id"
            " where user_id = ? order by name",
            user_id,
        )
        return tuple(row["name"] for row in rows)

    def _set_rescue(self, user: User, rescue: bool) -> bool:
        """Record it; whether this ended a rescue."""
        before = self.rescued(user.id)
        self._db.change("update workspace set rescue = ? where user_id = ?", int(rescue), user.id)
        return before and not rescue
