"""The inventory of devices in the database.

Owns the rows that the probe's answers end in. Must not grant one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gateway.devices import Device
from gateway.errors import Code, PlatformError
from gateway.sqlite.rows import Base

_MISSING = "not seen by the driver"


class Devices(Base):
    """The inventory's part of the store."""

    def devices(self) -> list[Device]:
        """Every device ever seen, by node and index; one that is missing now has a problem."""
        return [
            Device(
                id=row["id"],
                index=row["number"],
                model=row["model"],
                memory=row["memory"],
                node=row["node"],
                problem=row["problem"],
                drained=row["drained"],
            )
            for row in self._db.rows("select * from device order by node, number, id")
        ]

    def sync_devices(self, devices: Sequence[Device], now: datetime) -> None:
        """Make the inventory what the probe saw; devices that went missing stay known, with a problem.

        A drained device stays so: no probe knows of that.
        """
        with self._db.write():
            known = {device.id: replace(device, drained=None) for device in self.devices()}
            seen = {device.id: device for device in devices}
            missing = [replace(device, problem=_MISSING) for key, device in known.items() if key not in seen]
            for device in [*seen.values(), *missing]:
                if device != known.get(device.id):
                    self._put(device, known.get(device.id), now)

    def drain(self, device_id: str, reason: str | None, actor: str, now: datetime) -> bool:
        """Grant a device no more, for `reason`, or with None grant it again; its lease stays as it is.

        False when it is so already. Raises NOT_FOUND.
        """
        with self._db.write():
            row = self._db.row("select drained from device where id = ?", device_id)
            if row is None:
                raise PlatformError(Code.NOT_FOUND, f"There is no GPU {device_id!r}; see: gpuadmin gpu list")
            if row["drained"] == reason:
                return False
            self._db.change("update device set drained = ? where id = ?", reason, device_id)
            verb = "gpu undrain" if reason is None else "gpu drain"
            before, after = {"drained": row["drained"]}, {"drained": reason}
            self._event(now, actor, verb, device_id, before, after, reason or "")
            return True

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
