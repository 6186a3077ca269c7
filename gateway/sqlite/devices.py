"""The inventory of devices in the database.

Owns the rows that the probe's answers end in, and the events of what happens to a GPU. What state follows is
gateway.health's. Must not grant a device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime

from gateway import health
from gateway.devices import Cause, Device, Hardware, Health, Part, Quarantine, inherited
from gateway.errors import Code, PlatformError
from gateway.health import Signs, Told
from gateway.sqlite.database import Row
from gateway.sqlite.rows import Base, Facts, stamp

_ACTOR = "gateway"
_XID = "gpu xid"
_SHOWN = "its last holder's container may still show it"
_NOTHING = Told()
_RESERVED = """
    select value as id from reservation, json_each(devices) where cancelled_at is null and ends_at > ?
"""
_NO_PART = dict.fromkeys(("parent", "profile", "place", "uuid"))


class Devices(Base):
    """The inventory's part of the store."""

    def devices(self) -> list[Device]:
        """Every device ever seen and not forgotten, by node and index, GPUs before their parts; what is
        missing now is lost.

        What keeps a GPU from being granted keeps its parts.
        """
        return inherited(self._recorded())

    def _recorded(self) -> list[Device]:
        """The same, each as it is by itself."""
        return [
            _device(row)
            for row in self._db.rows(
                "select * from device where forgotten = 0 order by node, number, parent is not null, id"
            )
        ]

    def sync_devices(self, devices: Sequence[Device], now: datetime, told: Told = _NOTHING) -> list[Device]:
        """Make the inventory what the probe saw; devices that went missing stay known, and are lost.

        Those whose state changed by it. A drained device stays so: no probe knows of that.
        """
        changed = []
        with self._db.write():
            known = {device.id: device for device in self._recorded()}
            seen = {device.id: device for device in devices}
            taken, left = self._held_ids(), {row["device_id"] for row in self._leftovers()}
            for id_ in [*seen, *(id_ for id_ in known if id_ not in seen)]:
                before = known.get(id_)
                signs = told.signs.get(id_, Signs())
                if id_ not in seen and before is not None:
                    signs = Signs(error=told.silent.get(before.index))
                device = health.judge(before, seen.get(id_), signs, told.era)
                use = told.use.get(id_, _SHOWN if id_ in left else None)
                if (id_ in told.use or id_ in left) and id_ not in taken:
                    device = health.used(device, use, told.era)
                    if use is None and id_ in left:
                        self._db.change("update loss set gone = 1 where device_id = ?", id_)
                if id_ in told.unmanaged:
                    device = replace(device, unmanaged=told.unmanaged[id_])
                if device != before:
                    self._put(device, before, now)
                if before is not None and device.state is not before.state:
                    changed.append(device)
        return changed

    def lose_devices(self, reason: str, now: datetime) -> list[Device]:
        """No device of this machine answers: all are lost, for `reason`. Those whose state changed by it."""
        changed = []
        with self._db.write():
            for device in self._recorded():
                lost = health.lost(device, reason)
                if lost != device:
                    self._put(lost, device, now)
                if lost.state is not device.state:
                    changed.append(lost)
        return changed

    def note_xid(self, device_id: str, number: int, era: str, now: datetime) -> bool:
        """Record an Xid; one of the hardware's quarantines the device. Whether its state changed.

        Nothing happens for a device that is not in the inventory.
        """
        with self._db.write():
            found = health.of_xid(number)
            before = self._find(device_id)
            if before is None:
                return False
            self._event(now, _ACTOR, _XID, device_id, None, {"xid": number}, found.text)
            if found.health is not Health.QUARANTINED:
                return False
            after = health.quarantined(before, Quarantine(found.text, Cause.XID, era))
            if after == before:
                return False
            self._put(after, before, now)
            return after.state is not before.state

    def quarantine_busy(self, device_id: str, reason: str, now: datetime) -> None:
        """Take out of use a device that nobody holds any more and that something still uses."""
        with self._db.write():
            before = self._find(device_id)
            if before is not None:
                after = health.used(before, reason, "")
                if after != before:
                    self._put(after, before, now)

    def xids(self, device_id: str, count: int) -> list[tuple[datetime, str]]:
        """When the last `count` Xids of a device came, and what each says, the newest first."""
        rows = self._db.rows(
            "select at, reason from event where verb = ? and subject = ? order by id desc limit ?",
            _XID,
            device_id,
            count,
        )
        return [(datetime.fromisoformat(row["at"]), row["reason"]) for row in rows]

    def drain(self, device_id: str, reason: str | None, actor: str, now: datetime) -> bool:
        """Grant a device no more, for `reason`; its lease stays as it is. With None grant it again.

        That ends a quarantine for an Xid too. False when it is so already. Raises NOT_FOUND.
        """
        with self._db.write():
            device = self._find(device_id)
            if device is None:
                raise PlatformError(Code.NOT_FOUND, f"There is no GPU {device_id!r}; see: gpuadmin gpu list")
            ends = reason is None and health.ended_by_hand(device)
            if device.drained == reason and not ends:
                return False
            before: Facts = {"drained": device.drained}
            if ends:
                before = {**before, "quarantine": device.problem}
                left = device_id in {row["device_id"] for row in self._leftovers()}
                self._write(health.used(health.lifted(device), _SHOWN if left else None, ""))
            self._db.change("update device set drained = ? where id = ?", reason, device_id)
            verb = "gpu undrain" if reason is None else "gpu drain"
            self._event(now, actor, verb, device_id, before, {"drained": reason}, reason or "")
            return True

    def forget_device(self, device_id: str, actor: str, now: datetime) -> None:
        """Know a lost device and its parts no more, until they are seen again; their past stays.

        Raises NOT_FOUND, and CONFLICT for one that answers, or that somebody holds or has reserved.
        """
        with self._db.write():
            ours = [
                each for each in self._recorded() if device_id in (each.id, each.part and each.part.parent)
            ]
            if self._find(device_id) is None:
                raise PlatformError(Code.NOT_FOUND, f"There is no GPU {device_id!r}; see: gpuadmin gpu list")
            kept = self._held_ids() | {row["id"] for row in self._db.rows(_RESERVED, stamp(now))}
            for device in ours:
                if device.health is not Health.LOST:
                    raise PlatformError(
                        Code.CONFLICT,
                        f"{device.id} answers; to grant it no more: gpuadmin gpu drain {device.id}",
                    )
                if device.id in kept:
                    raise PlatformError(
                        Code.CONFLICT,
                        f"Somebody holds {device.id} or has reserved it; see: gpuadmin leases, reserve list",
                    )
            for device in ours:
                self._db.change("update device set forgotten = 1 where id = ?", device.id)
                self._event(now, actor, "gpu forget", device.id, _facts(device))

    def _find(self, device_id: str) -> Device | None:
        row = self._db.row("select * from device where id = ? and forgotten = 0", device_id)
        return None if row is None else _device(row)

    def _held_ids(self) -> set[str]:
        rows = self._db.rows("select device_id from lease_device where released_at is null")
        return {row["device_id"] for row in rows}

    def _leftovers(self) -> list[Row]:
        """Devices that were replaced under a lease, until they are seen in no container any more."""
        return self._db.rows(
            "select device_id, user_id from loss join lease on lease.id = lease_id"
            " where ended_at is not null and gone = 0"
        )

    def _put(self, device: Device, before: Device | None, now: datetime) -> None:
        self._write(device)
        was = None if before is None else _facts(before)
        self._event(now, _ACTOR, "gpu seen", device.id, was, {**_facts(device), "model": device.model})

    def _write(self, device: Device) -> None:
        # Not INSERT OR REPLACE: that deletes the row first, and leases refer to it.
        self._db.table("device").upsert(
            {
                "id": device.id,
                "node": device.node,
                "number": device.index,
                "model": device.model,
                "memory": device.memory,
                "problem": device.problem,
                "health": device.health.value,
                "remark": device.remark,
                "quarantine": None if device.quarantine is None else json.dumps(asdict(device.quarantine)),
                "unmanaged": device.unmanaged,
                "forgotten": 0,
                "hardware": json.dumps(asdict(device.hardware)),
                **(_NO_PART if device.part is None else asdict(device.part)),
            },
            pk="id",
        )


def _facts(device: Device) -> Facts:
    return {"state": device.state.value, "problem": device.problem, "index": device.index}


def _device(row: Row) -> Device:
    return Device(
        id=row["id"],
        index=row["number"],
        model=row["model"],
        memory=row["memory"],
        node=row["node"],
        problem=row["problem"],
        drained=row["drained"],
        health=Health(row["health"]),
        remark=row["remark"],
        quarantine=None if row["quarantine"] is None else _quarantine(json.loads(row["quarantine"])),
        unmanaged=row["unmanaged"],
        hardware=_hardware(json.loads(row["hardware"])),
        part=None if row["parent"] is None else Part(**{name: row[name] for name in _NO_PART}),
    )


def _quarantine(stored: dict[str, str]) -> Quarantine:
    return Quarantine(stored["reason"], Cause(stored["cause"]), stored["era"])


def _hardware(stored: dict[str, object]) -> Hardware:
    links = stored.pop("links", [])
    assert isinstance(links, list)
    return Hardware(**stored, links=tuple((other, word) for other, word in links))  # type: ignore[arg-type]
