"""The inventory of devices in the database.

Owns the rows that the probe's answers end in. Must not grant one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gateway.devices import Device
from gateway.sqlite.rows import Base

_MISSING = "not seen by the driver"


class Devices(Base):
    """The inventory's part of the store."""

    def devices(self) -> list[Device]:
        """Every device ever seen, by node and index; one that is missing now has a problem."""
        return [
            Device(row["id"], row["number"], row["model"], row["memory"], row["node"], row["problem"])
            for row in self._db.rows("select * from device order by node, number, id")
        ]

    def sync_devices(self, devices: Sequence[Device], now: datetime) -> None:
        """Make the inventory what the probe saw; devices that went missing stay known, with a problem."""
        with self._db.write():
            known = {device.id: device for device in self.devices()}
            seen = {device.id: device for device in devices}
            missing = [replace(device, problem=_MISSING) for key, device in known.items() if key not in seen]
            for device in [*seen.values(), *missing]:
                if device != known.get(device.id):
                    self._put(device, known.get(device.id), now)

    def _put(self, device: Device, before: Device | None, now: datetime) -> None:
        # Not INSERT OR REPLACE: that deletes the row first, and leases refer to it.
        self._db.table("device").upsert(
            {
                "id": device.id,
                "node": device.node,
                "number": device.index,
                "model": device.model,
                "memory": device.memory,
                "problem": device.problem,
            },
            pk="id",
        )
        was = None if before is None else {"problem": before.problem, "index": before.index}
        after = {"problem": device.problem, "index": device.index, "model": device.model}
        self._event(now, "gateway", "gpu seen", device.id, was, after)
