"""Leases in the database: extended, ended and released in one immediate transaction each.

Owns the rows of what was granted; queue.py grants. That no device has two holders is the schema's
(`one_holder`). Must not stop a container.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction

from gateway import quotas, usage
from gateway.errors import Code, PlatformError
from gateway.leases import Change, Lease, State, after
from gateway.losses import Loss
from gateway.sqlite.database import Row
from gateway.sqlite.devices import Devices
from gateway.sqlite.quotas import Quotas
from gateway.sqlite.rows import Facts, instant, maybe_instant, stamp
from gateway.sqlite.users import Users
from gateway.sqlite.wanted import WantedRows
from gateway.units import LONGEST
from gateway.users import User

_LEASES = """
    select lease.*, user.name,
        (select json_group_array(device_id) from
            (select device_id from lease_device where lease_id = lease.id order by device_id)) as devices,
        (select json_group_array(json_array(device_id, lost_at, ended_at)) from
            (select * from loss where lease_id = lease.id order by id)) as losses
    from lease join user on user.id = lease.user_id
"""
# A request that is queued, and one that was withdrawn, have no devices.
_HOLDING = "where lease.granted_at is not null and lease.released_at is null "
_SINCE = "where lease.granted_at is not null and (lease.released_at is null or lease.released_at >= ?) "
# A lease's reason is read by its holder when her container stops.
_BY_OPERATOR = "An operator ended the lease of your GPUs."


class Leases(Users, Quotas, Devices, WantedRows):
    """The leases' part of the store, which needs all the others'."""

    def extend(
        self, lease_id: int, length: timedelta | None, actor: str, now: datetime
    ) -> tuple[Lease, datetime]:
        """Move a live lease's end by `length`, or by her quota `lease`: the lease, and when it ended before.

        Raises NOT_FOUND, CONFLICT for a lease that is over, QUOTA_EXCEEDED by the quota `gpu_hours`.
        """
        with self._db.write():
            lease = self.lease(lease_id)
            if not lease.live or lease.expires_at <= now:
                raise PlatformError(
                    Code.CONFLICT,
                    f"Lease {lease_id} is over; grant anew with: gpuadmin allocate {lease.user} --gpus "
                    f"{len(lease.devices)}",
                )
            user = self._user(lease.user)
            values = self._effective(user.id)
            time = timedelta(seconds=values["lease"]) if length is None else length
            if lease.expires_at + time > now + LONGEST:
                raise PlatformError(
                    Code.CONFLICT, f"Lease {lease_id} would end in more than ten years; extend it by less."
                )
            self._check_hours(user, lease.gpus, time, now)
            expires_at = stamp(lease.expires_at + time)
            self._db.change("update lease set expires_at = ? where id = ?", expires_at, lease_id)
            self._change(lease_id, Change.EXTEND, "Its end was moved.", actor, now)
            before: Facts = {"lease": lease_id, "expires_at": stamp(lease.expires_at)}
            after: Facts = {"lease": lease_id, "expires_at": expires_at}
            self._event(now, actor, "extend", user.name, before, after)
            return self.lease(lease_id), lease.expires_at

    def _check_hours(self, user: User, count: Fraction, length: timedelta, now: datetime) -> None:
        """Raise QUOTA_EXCEEDED when `count` GPUs for `length` more are above the quota `gpu_hours`."""
        allowed = quotas.allowance(self._effective(user.id)["gpu_hours"])
        if allowed is not None:
            mine = [
                lease
                for lease in self.leases(now - allowed.window)
                if lease.user_id == user.id and not lease.preemptible
            ]
            usage.check(user.name, allowed, mine, count, length, now)

    def lease(self, lease_id: int) -> Lease:
        """One lease that was granted, released or not. Raises NOT_FOUND."""
        row = self._db.row(_LEASES + "where lease.id = ? and lease.granted_at is not null", lease_id)
        if row is None:
            raise PlatformError(Code.NOT_FOUND, f"There is no lease {lease_id}; see: gpuadmin leases")
        return _lease_of(row)

    def held_leases(self) -> list[Lease]:
        """Leases that hold devices: live ones and those in grace, oldest first."""
        rows = self._db.rows(_LEASES + _HOLDING + "order by lease.id")
        return [_lease_of(row) for row in rows]

    def leases(self, since: datetime) -> list[Lease]:
        """Every lease that held devices at or after `since`, released or not, oldest first."""
        rows = self._db.rows(_LEASES + _SINCE + "order by lease.id", stamp(since))
        return [_lease_of(row) for row in rows]

    def leases_of(self, user_id: int, since: datetime, most: int) -> list[Lease]:
        """The newest `most` of these that are one user's, the newest first."""
        rows = self._db.rows(
            _LEASES + _SINCE + "and user_id = ? order by lease.id desc limit ?", stamp(since), user_id, most
        )
        return [_lease_of(row) for row in rows]

    def expire(self, lease_id: int, reason: str, actor: str, now: datetime) -> None:
        """End a live lease, with an event; anything else is left as it is."""
        with self._db.write():
            self._change(lease_id, Change.END, reason, actor, now, {"reason": reason})

    def released(self, lease_id: int, actor: str, now: datetime) -> None:
        """Free the devices of a lease in grace, with an event; anything else stays as it is."""
        with self._db.write():
            if self._change(lease_id, Change.FREE, "No container shows its devices.", actor, now):
                self._db.change(
                    "update lease_device set released_at = ? where lease_id = ?", stamp(now), lease_id
                )

    def shown(self, lease_ids: Sequence[int], now: datetime) -> None:
        """A container that shows these leases' devices runs."""
        with self._db.write():
            for lease_id in lease_ids:
                self._db.change("update lease set shown = 1 where id = ?", lease_id)
                self._change(lease_id, Change.SHOW, "A container shows its devices.", "gateway", now)

    def told(self, lease_id: int, of_end: bool, now: datetime) -> None:
        """The holder of a live lease was told of it; `of_end`: that it ends."""
        with self._db.write():
            self._db.change("update lease set told_at = ? where id = ?", stamp(now), lease_id)
            if of_end:
                self._change(lease_id, Change.WARN, "Its holder was told of its end.", "gateway", now)

    def _change(
        self,
        lease_id: int,
        change: Change,
        reason: str,
        actor: str,
        now: datetime,
        also: Mapping[str, str] | None = None,
    ) -> bool:
        """Change the state of a lease, and the columns `also` with it, with an event.

        False, and nothing is changed, where the change does not apply. Within the caller's transaction.
        """
        row = self._db.row(
            "select state, shown, name from lease join user on user.id = user_id where lease.id = ?", lease_id
        )
        before = None if row is None else State(row["state"])
        state = None if row is None or before is None else after(before, change, shown=bool(row["shown"]))
        if row is None or before is None or state is None:
            return False
        released_at = stamp(now) if state is State.RELEASED else None
        columns = {"state": state.value, "released_at": released_at, **(also or {})}
        names = ", ".join(f"{name} = ?" for name in columns)
        self._db.change(f"update lease set {names} where id = ?", *columns.values(), lease_id)
        was, is_ = {"state": before.value}, {"state": state.value}
        self._event(now, actor, "lease", f"lease {lease_id} of {row['name']}", was, is_, reason)
        return True

    def flag_lease(self, lease_id: int, problem: str | None, now: datetime) -> None:
        """Set or clear what an operator has to look at."""
        with self._db.write():
            before = self.lease(lease_id).problem
            if before == problem:
                return
            self._db.change("update lease set problem = ? where id = ?", problem, lease_id)
            self._event(
                now, "gateway", "lease problem", str(lease_id), {"problem": before}, {"problem": problem}
            )

    def end_user_leases(self, name: str, actor: str, now: datetime, *, at_once: bool = False) -> int:
        """End all that user `name` holds or waits for, and ask for her container's end: the `Wanted`'s id.

        `at_once`: her programs get no time to save their work. Raises NOT_FOUND when there is nothing.
        """
        with self._db.write():
            user = self._user(name)
            mine = self._hers(user.id)
            if not mine:
                raise PlatformError(
                    Code.NOT_FOUND, f"{name} holds no lease and waits for none; see: gpuadmin leases"
                )
            return self._end(user.id, mine, _BY_OPERATOR, actor, now, at_once=at_once)

    def end_lease(self, lease_id: int, actor: str, now: datetime, *, at_once: bool = False) -> int:
        """End one lease or request, as `end_user_leases` does. Raises NOT_FOUND for one released, or none."""
        with self._db.write():
            row = self._db.row("select user_id, released_at from lease where id = ?", lease_id)
            if row is None:
                raise PlatformError(Code.NOT_FOUND, f"There is no lease {lease_id}; see: gpuadmin leases")
            if row["released_at"] is not None:
                raise PlatformError(
                    Code.NOT_FOUND, f"Lease {lease_id} is released already; see: gpuadmin leases"
                )
            return self._end(row["user_id"], [lease_id], _BY_OPERATOR, actor, now, at_once=at_once)

    def remove_user(self, name: str, actor: str, now: datetime) -> int:
        """Remove a user, her keys and leases, and ask for her container's end: the id of the `Wanted`.

        Her files are kept for `users.RETENTION`. Raises NOT_FOUND.
        """
        with self._db.write():
            user = self._user(name)
            mine = self._hers(user.id)
            self._forget(user, actor, now)
            return self._end(user.id, mine, "Your account was removed.", actor, now, at_once=True)

    def _hers(self, user_id: int) -> list[int]:
        """The ids of all that she holds or waits for."""
        rows = self._db.rows(
            "select id from lease where released_at is null and user_id = ? order by id", user_id
        )
        return [row["id"] for row in rows]

    def _end(
        self,
        user_id: int,
        leases: Sequence[int],
        reason: str,
        actor: str,
        now: datetime,
        *,
        at_once: bool = False,
    ) -> int:
        for lease_id in leases:
            self._change(lease_id, Change.WITHDRAW, reason, actor, now)
            self.expire(lease_id, reason, actor, now)
        return self.want("end-leases-now" if at_once else "end-leases", str(user_id), actor, now)


def _lease_of(row: Row) -> Lease:
    return Lease(
        id=row["id"],
        user_id=row["user_id"],
        user=row["name"],
        devices=tuple(json.loads(row["devices"])),
        state=State(row["state"]),
        granted_at=instant(row["granted_at"]),
        expires_at=instant(row["expires_at"]),
        released_at=maybe_instant(row["released_at"]),
        reason=row["reason"],
        problem=row["problem"],
        losses=tuple(
            Loss(device, instant(since), maybe_instant(until))
            for device, since, until in json.loads(row["losses"])
        ),
        shown=bool(row["shown"]),
        told_at=maybe_instant(row["told_at"]),
        preemptible=bool(row["preemptible"]),
        noticed_at=maybe_instant(row["noticed_at"]),
        profile=row["profile"],
    )
