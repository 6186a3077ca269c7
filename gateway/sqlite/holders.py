"""What somebody does with her own leases: ask for one, renew it, give it back.

Owns that nobody gets further than her own leases and quotas, whatever she says; each check lies in the
transaction of what it allows. Must not choose devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.devices import DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.holders import GivenBack
from gateway.leases import Change, Lease
from gateway.scheduling.standing import Standing
from gateway.scheduling.waiting import Request
from gateway.sqlite.rows import user_of
from gateway.sqlite.workspaces import Workspaces
from gateway.units import format_duration, format_instant
from gateway.users import User

MOST_WAITING = 4
"""Requests of one user in the queue: whoever plans it looks at every one."""

_GIVEN_BACK = "You gave your GPUs back."
_WITHDRAWN = "You withdrew it."
# Less is no renewal: an end is shown to the minute.
_LEAST = timedelta(minutes=1)


class Holders(Workspaces):
    """See gateway.holders.HolderStore."""

    def requests_of(self, user_id: int, now: datetime) -> Sequence[tuple[Request, Standing]]:
        """See HolderStore."""
        with self._db.read():
            if not self._queued(user_id):
                return ()
            return [
                (each.request, each.standing) for each in self.waiting(now) if each.request.user_id == user_id
            ]

    def request(self, user_id: int, request: DeviceRequest, length: timedelta | None, now: datetime) -> Lease:
        """See HolderStore."""
        with self._db.write():
            user = self._entitled_to(user_id, length)
            return self.grant(user.name, request, length, user.name, now)

    def line_up(
        self, user_id: int, request: DeviceRequest, length: timedelta | None, now: datetime
    ) -> Lease | Standing:
        """See HolderStore."""
        with self._db.write():
            user = self._entitled_to(user_id, length)
            if len(self._queued(user_id)) >= MOST_WAITING:
                raise PlatformError(
                    Code.CONFLICT, f"You wait for {MOST_WAITING} requests already; withdraw one: gpu release"
                )
            outcome = self.queue(user.name, request, length, user.name, now)
            return outcome if isinstance(outcome, Lease) else outcome.standing

    def outlook(self, user_id: int, request_id: int, now: datetime) -> Lease | Standing | None:
        """See HolderStore."""
        with self._db.read():
            if request_id in self._queued(user_id):
                return next(
                    (each for _, each in self.requests_of(user_id, now) if each.request_id == request_id),
                    None,
                )
            return next(
                (lease for lease in self.held_leases() if (lease.id, lease.user_id) == (request_id, user_id)),
                None,
            )

    def step_out(self, user_id: int, request_id: int, now: datetime) -> None:
        """See HolderStore."""
        with self._db.write():
            if request_id in self._queued(user_id):
                name = self.person(user_id).name
                self._change(request_id, Change.WITHDRAW, _WITHDRAWN, name, now)

    def renew(
        self, user_id: int, lease_id: int | None, length: timedelta | None, now: datetime
    ) -> Sequence[tuple[Lease, datetime]]:
        """See HolderStore."""
        with self._db.write():
            user = self._present(user_id)
            latest = now + self._longest(user)
            mine = self._mine(user, lease_id, now)
            for lease in mine:
                if lease.noticed_at is not None:
                    raise PlatformError(
                        Code.CONFLICT,
                        f"Lease {lease.id} ends {format_instant(lease.expires_at)} for somebody who waits "
                        "and cannot be extended; ask anew with gpu request",
                    )
            movable = [lease for lease in mine if lease.expires_at + (length or _LEAST) <= latest]
            if not movable or (length is not None and len(movable) < len(mine)):
                raise _too_late(next(lease for lease in mine if lease not in movable), length, latest)
            return [
                self.extend(lease.id, length or latest - lease.expires_at, user.name, now)
                for lease in movable
            ]

    def give_back(self, user_id: int, id_: int | None, now: datetime) -> GivenBack:
        """See HolderStore."""
        with self._db.write():
            user = self._present(user_id)
            requests = [each for each in self._queued(user_id) if id_ in (None, each)]
            leases = [] if id_ in requests else self._mine(user, id_, now, required=not requests)
            for request_id in requests:
                self._change(request_id, Change.WITHDRAW, _WITHDRAWN, user.name, now)
            if leases:
                self._end(user_id, [lease.id for lease in leases], _GIVEN_BACK, user.name, now)
            return GivenBack(leases, requests)

    def _entitled_to(self, user_id: int, length: timedelta | None) -> User:
        """The user, who may hold a GPU for so long. Raises DENIED and QUOTA_EXCEEDED."""
        user = self._present(user_id)
        most = self._longest(user)
        if length is not None and length > most:
            raise PlatformError(
                Code.QUOTA_EXCEEDED,
                f"You may hold a GPU for {format_duration(most)} at most; ask for less than "
                f"{format_duration(length)}",
            )
        return user

    def _present(self, user_id: int) -> User:
        """The user, who may act. Raises DENIED for one who is removed or disabled."""
        row = self._db.row("select * from user where id = ? and removed_at is null and enabled", user_id)
        if row is None:
            raise PlatformError(Code.DENIED, "Your account is disabled or removed; ask your operator")
        return user_of(row)

    def _longest(self, user: User) -> timedelta:
        return timedelta(seconds=self._effective(user.id)["lease"])

    def _queued(self, user_id: int) -> list[int]:
        """The ids of the requests that she waits for."""
        rows = self._db.rows(
            "select id from lease where user_id = ? and state = 'queued' order by id", user_id
        )
        return [row["id"] for row in rows]

    def _mine(self, user: User, lease_id: int | None, now: datetime, *, required: bool = True) -> list[Lease]:
        """Her live leases, or the one of them with this number: somebody else's is as unknown as none."""
        mine = [
            lease
            for lease in self.held_leases()
            if lease.user_id == user.id and lease.live and lease.expires_at > now
        ]
        found = [lease for lease in mine if lease_id in (None, lease.id)]
        if required and not found and lease_id is not None:
            raise PlatformError(Code.NOT_FOUND, f"You hold no lease {lease_id}; see: gpu status")
        if required and not found:
            raise PlatformError(Code.NOT_FOUND, "You hold no GPU; ask for one with: gpu request 1")
        return found


def _too_late(lease: Lease, length: timedelta | None, latest: datetime) -> PlatformError:
    ends = format_instant(lease.expires_at)
    if length is None:
        sentence = f"Lease {lease.id} ends {ends}, as late as you may have it"
        return PlatformError(Code.CONFLICT, f"{sentence}; extend it later, or ask your operator")
    return PlatformError(
        Code.QUOTA_EXCEEDED,
        f"Lease {lease.id} ends {ends} and may end {format_instant(latest)} at the latest, so not "
        f"{format_duration(length)} later; leave --for out to keep it as long as you may",
    )
