"""Leases in the database: granted, ended and released in one immediate transaction each.

Owns the rows and the order of steps. The choice of devices is `gateway.leases.choose`; that no device
has two holders is the schema's (`one_holder`). Must not stop a container.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway import quotas, usage
from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.leases import Change, Lease, State, after, choose
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
            (select device_id from lease_device where lease_id = lease.id order by device_id)) as devices
    from lease join user on user.id = lease.user_id
"""
# A request that is queued, and one that was withdrawn, have no devices.
_HOLDING = "where lease.granted_at is not null and lease.released_at is null "
_SINCE = "where lease.granted_at is not null and (lease.released_at is null or lease.released_at >= ?) "
# A lease's reason is read by its holder when her container stops.
_BY_OPERATOR = "An operator ended the lease of your GPUs."


class Leases(Users, Quotas, Devices, WantedRows):
    """The leases' part of the store, which needs all the others'."""

    def grant(
        self, name: str, request: DeviceRequest, length: timedelta | None, actor: str, now: datetime
    ) -> Lease:
        """A lease of devices for user `name`, for `length` or what her quota `lease` says.

        All in one transaction, so that of several at once exactly one gets the last device. Raises
        NOT_FOUND, CONFLICT for a disabled user, QUOTA_EXCEEDED, and what `choose` raises.
        """
        with self._db.write():
            user = self._user(name)
            if not user.enabled:
                raise PlatformError(
                    Code.CONFLICT, f"{name} is disabled; first run: gpuadmin user enable {name}"
                )
            held = self.held_leases()
            values = self._effective(user.id)
            mine = sum(len(lease.devices) for lease in held if lease.user_id == user.id)
            quotas.check(name, values, mine, request.count)
            time = timedelta(seconds=values["lease"]) if length is None else length
            self._check_hours(user, request.count, time, now)
            devices = choose(self.devices(), held, request)
            expires_at = now + time
            lease_id = self._insert(user.id, devices, now, expires_at)
            after: Facts = {"lease": lease_id, "devices": list(devices), "expires_at": stamp(expires_at)}
            self._event(now, actor, "allocate", name, after=after)
            return self.lease(lease_id)

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
            self._check_hours(user, len(lease.devices), time, now)
            expires_at = stamp(lease.expires_at + time)
            self._db.change(
                "update lease set expires_at = ?, warned = null where id = ?", expires_at, lease_id
            )
            self._change(lease_id, Change.EXTEND, "Its end was moved.", actor, now)
            before: Facts = {"lease": lease_id, "expires_at": stamp(lease.expires_at)}
            after: Facts = {"lease": lease_id, "expires_at": expires_at}
            self._event(now, actor, "extend", user.name, before, after)
            return self.lease(lease_id), lease.expires_at

    def _check_hours(self, user: User, count: int, length: timedelta, now: datetime) -> None:
        """Raise QUOTA_EXCEEDED when `count` GPUs for `length` more are above the quota `gpu_hours`."""
        allowed = quotas.allowance(self._effective(user.id)["gpu_hours"])
        if allowed is not None:
            mine = [lease for lease in self.leases(now - allowed.window) if lease.user_id == user.id]
            usage.check(user.name, allowed, mine, count, length, now)

    def _insert(self, user_id: int, devices: Sequence[str], now: datetime, expires_at: datetime) -> int:
        lease_id = self._db.insert(
            "lease",
            {
                "user_id": user_id,
                "state": State.GRANTED.value,
                "count": len(devices),
                "length": int((expires_at - now).total_seconds()),
                "asked_at": stamp(now),
                "granted_at": stamp(now),
                "expires_at": stamp(expires_at),
            },
        )
        self._db.table("lease_device").insert_all(
            {"lease_id": lease_id, "device_id": device, "released_at": None} for device in devices
        )
        return lease_id

    def lease(self, lease_id: int) -> Lease:
        """One lease, released or not. Raises NOT_FOUND."""
        row = self._db.row(_LEASES + "where lease.id = ?", lease_id)
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
            if self._change(lease_id, Change.END, reason, actor, now):
                self._db.change("update lease set reason = ? where id = ?", reason, lease_id)

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

    def _change(self, lease_id: int, change: Change, reason: str, actor: str, now: datetime) -> bool:
        """Change the state of a lease, with an event; False, and nothing is changed, where it does not apply.

        Within the caller's transaction.
        """
        row = self._db.row(_LEASES + "where lease.id = ?", lease_id)
        lease = None if row is None else _lease_of(row)
        state = None if lease is None else after(lease, change)
        if lease is None or state is None:
            return False
        released_at = stamp(now) if state is State.RELEASED else None
        self._db.change(
            "update lease set state = ?, released_at = ? where id = ?", state.value, released_at, lease.id
        )
        subject = f"lease {lease.id} of {lease.user}"
        was, is_ = {"state": lease.state.value}, {"state": state.value}
        self._event(now, actor, "lease", subject, was, is_, reason)
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

    def end_user_leases(self, name: str, actor: str, now: datetime) -> int:
        """End all that user `name` holds, and ask for its containers' end: the id of the `Wanted`.

        Raises NOT_FOUND when she holds nothing.
        """
        with self._db.write():
            user = self._user(name)
            mine = [lease for lease in self.held_leases() if lease.user_id == user.id]
            if not mine:
                raise PlatformError(Code.NOT_FOUND, f"{name} holds no lease; see: gpuadmin leases")
            return self._end(user.id, mine, _BY_OPERATOR, actor, now)

    def end_lease(self, lease_id: int, actor: str, now: datetime) -> int:
        """End one lease, as `end_user_leases` does. Raises NOT_FOUND for one released or unknown."""
        with self._db.write():
            lease = self.lease(lease_id)
            if lease.state is State.RELEASED:
                raise PlatformError(
                    Code.NOT_FOUND, f"Lease {lease_id} is released already; see: gpuadmin leases"
                )
            return self._end(lease.user_id, [lease], _BY_OPERATOR, actor, now)

    def remove_user(self, name: str, actor: str, now: datetime) -> int:
        """Remove a user, her keys and leases, and ask for her container's end: the id of the `Wanted`.

        Her files are kept for `users.RETENTION`. Raises NOT_FOUND.
        """
        with self._db.write():
            user = self._user(name)
            mine = [lease for lease in self.held_leases() if lease.user_id == user.id]
            self._forget(user, actor, now)
            return self._end(user.id, mine, "Your account was removed.", actor, now)

    def _end(self, user_id: int, leases: Sequence[Lease], reason: str, actor: str, now: datetime) -> int:
        for lease in leases:
            self.expire(lease.id, reason, actor, now)
        return self.want("end-leases", str(user_id), actor, now)


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
        shown=bool(row["shown"]),
        warned=None if row["warned"] is None else timedelta(seconds=row["warned"]),
    )
