"""What somebody who holds GPUs, or wants to, asks of the store.

Owns that contract; store.py has the rest. Every method is one transaction, about one user by her id, who is
the actor of its events. Must not know SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from gateway.devices import Device, DeviceRequest
from gateway.leases import Lease
from gateway.restarts import Restart
from gateway.scheduling.standing import Standing
from gateway.scheduling.waiting import Request


@dataclass(frozen=True)
class GivenBack:
    """What somebody holds no more, and waits for no more (the requests' ids)."""

    leases: Sequence[Lease]
    requests: Sequence[int]


class HolderStore(Protocol):
    """The part of the store that answers `gpu`."""

    def devices(self) -> list[Device]:
        """Every GPU that was seen, by node and index."""

    def leases_of(self, user_id: int, since: datetime, most: int) -> list[Lease]:
        """Her newest `most` leases that held devices at or after `since`, the newest first."""

    def requests_of(self, user_id: int, now: datetime) -> Sequence[tuple[Request, Standing]]:
        """What she waits for, and where each stands."""

    def request(self, user_id: int, request: DeviceRequest, length: timedelta | None, now: datetime) -> Lease:
        """A lease for her, `length` long or what her quota `lease` says, which is the most.

        Raises what a grant raises, and QUOTA_EXCEEDED for a length above her quota.
        """

    def line_up(
        self, user_id: int, request: DeviceRequest, length: timedelta | None, now: datetime
    ) -> Lease | Standing:
        """The same, or her place in the queue. Raises CONFLICT when she waits for too much already."""

    def outlook(self, user_id: int, request_id: int, now: datetime) -> Lease | Standing | None:
        """What has become of her request: its lease, its place, or None when somebody withdrew it."""

    def step_out(self, user_id: int, request_id: int, now: datetime) -> None:
        """She waits for this request no more. One that was granted already is left as it is."""

    def renew(
        self, user_id: int, lease_id: int | None, length: timedelta | None, now: datetime
    ) -> Sequence[tuple[Lease, datetime]]:
        """Move the end of her lease, or of all of hers with None: each, and when it ended before.

        By `length`, or as far as it may; never later than a new lease of hers would end, and not of one that
        ends for somebody who waits. All or none. Raises NOT_FOUND for one that she does not hold, CONFLICT
        when none can end later, QUOTA_EXCEEDED.
        """

    def give_back(self, user_id: int, id_: int | None, now: datetime) -> GivenBack:
        """End her lease or request, or all of hers with None, and ask for the devices to be freed.

        Raises NOT_FOUND for one that is not hers.
        """

    def restart_of(self, user_id: int) -> Restart | None:
        """The restart of her container that she was told of."""

    def put_off(self, user_id: int, length: timedelta | None, now: datetime) -> tuple[Restart, datetime]:
        """Restart her container `length` later than she was told, or as late as may be: and when before.

        Raises CONFLICT when there is nothing to restart for, or it would be too late.
        """

    def hasten(self, user_id: int, now: datetime) -> None:
        """Restart her container at once. Raises CONFLICT when there is nothing to restart for."""
