"""Devices that fail under live leases: replaced in one immediate transaction, and what is shown of them.

Owns the rows of losses. Which device takes whose place is gateway.losses's. Must not stop a container.
"""

from __future__ import annotations

from datetime import datetime

from gateway import losses
from gateway.devices import Device
from gateway.leases import Lease
from gateway.losses import Change
from gateway.scheduling.kin import Kin
from gateway.sqlite.farewells import Farewells
from gateway.sqlite.leases import Leases
from gateway.sqlite.rows import stamp

_ACTOR = "gateway"


class Losses(Leases, Farewells):
    """The losses' part of the store."""

    def replace_lost(self, now: datetime) -> list[Change]:
        """Move live leases from devices that fail to free ones of the same kind: what changed, with events,
        and with messages to their holders, who need not be there.

        A loss that cannot be replaced is told once; its lease has a problem until it is, or until its end.
        """
        changes: list[Change] = []
        with self._db.write():
            devices = {device.id: device for device in self.devices()}
            held = self.held_leases()
            taken = Kin(devices.values()).taken(device for lease in held for device in lease.devices)
            for lease in (each for each in held if each.live):
                found = [self._attend(lease, devices[id_], devices, taken, now) for id_ in lease.devices]
                self._explain(lease, [change for change, _ in found if change is not None], now)
                news = [change for change, new in found if change is not None and new]
                for change in news:
                    self.leave_message(lease.user_id, losses.message(change, now))
                changes += news
        return changes

    def leftovers(self) -> dict[str, int]:
        """Devices that were replaced and may still be shown in a container: the ids of their last holders."""
        return {row["device_id"]: row["user_id"] for row in self._leftovers()}

    def _attend(
        self, lease: Lease, device: Device, devices: dict[str, Device], taken: set[str], now: datetime
    ) -> tuple[Change | None, bool]:
        """What there is to say of one device of a live lease, done, and whether it is news."""
        lost = [loss for loss in lease.losses if loss.device == device.id and loss.until is None]
        since = lost[0].since if lost else now
        if not losses.fails(device):
            return (self._come_back(lease, device, since, now), True) if lost else (None, False)
        if not lost:
            self._db.insert("loss", {"lease_id": lease.id, "device_id": device.id, "lost_at": stamp(now)})
        other = losses.replacement(device, devices.values(), taken)
        if other is not None:
            taken |= Kin(devices.values()).taken([other.id])
            self._swap(lease, device, other, now)
        return Change(lease.id, lease.user_id, device, since, other), other is not None or not lost

    def _explain(self, lease: Lease, changes: list[Change], now: datetime) -> None:
        """Give the lease the problem that stands, or none any more."""
        if changes:
            standing = [text for text in map(losses.problem, changes) if text is not None]
            self.flag_lease(lease.id, "; ".join(standing) or None, now)

    def _come_back(self, lease: Lease, device: Device, since: datetime, now: datetime) -> Change:
        self._db.change(
            "update loss set ended_at = ?, gone = 1"
            " where lease_id = ? and device_id = ? and ended_at is null",
            stamp(now),
            lease.id,
            device.id,
        )
        return Change(lease.id, lease.user_id, device, since, back=True)

    def _swap(self, lease: Lease, lost: Device, other: Device, now: datetime) -> None:
        self._db.change(
            "update loss set ended_at = ? where lease_id = ? and device_id = ? and ended_at is null",
            stamp(now),
            lease.id,
            lost.id,
        )
        self._db.change(
            "update lease_device set device_id = ? where lease_id = ? and device_id = ?",
            other.id,
            lease.id,
            lost.id,
        )
        subject = f"lease {lease.id} of {lease.user}"
        before, after = {"device": lost.id}, {"device": other.id}
        self._event(now, _ACTOR, "lease device", subject, before, after, lost.problem or "")
