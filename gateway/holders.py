"""What somebody who holds GPUs, or wants to, asks of the store.

Owns that contract; store.py has the rest. Every method is one transaction, about one user by her id, who is
the actor of its events. Must not know SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from gateway.devices import Device, DeviceRequest
from gateway.leases import Lease


class HolderStore(Protocol):
    """The part of the store that answers `gpu`."""

    def devices(self) -> list[Device]:
        """Every GPU that was seen, by node and index."""

    def leases_of(self, user_id: int, since: datetime, most: int) -> list[Lease]:
        """Her newest `most` leases that held devices at or after `since`, the newest first."""

    def request(self, user_id: int, request: DeviceRequest, length: timedelta | None, now: datetime) -> Lease:
        """A lease for her, `length` long or what her quota `lease` says, which is the most.

        Raises what a grant raises, and QUOTA_EXCEEDED for a length above her quota.
        """

    def renew(
        self, user_id: int, lease_id: int | None, length: timedelta | None, now: datetime
    ) -> Sequence[tuple[Lease, datetime]]:
        """Move the end of her lease, or of all of hers with None: each, and when it ended before.

        By `length`, or as far as it may; never later than a new lease of hers would end. All or none. Raises
        NOT_FOUND for one that she does not hold, CONFLICT when none can end later, QUOTA_EXCEEDED.
        """

    def give_back(self, user_id: int, lease_id: int | None, now: datetime) -> Sequence[Lease]:
        """End her lease, or all of hers with None, and ask for their devices to be freed: those leases.

        Raises NOT_FOUND for one that she does not hold.
        """
