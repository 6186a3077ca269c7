"""The inventory in the store: each look, each Xid and each operator's word changes it, with an event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.devices import Cause, Device, DeviceRequest, Hardware, Health, Quarantine
from gateway.errors import Code, PlatformError
from gateway.health import IS_LOST, Signs, Told
from gateway.sqlite.store import Store
from tests.support.stores import NOW, add_people, gpu, open_store

ERA, NEXT = "boot-1 550", "boot-2 550"
WELL = Told(era=ERA)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "state")) as opened:
        opened.sync_devices([gpu(0), gpu(1)], NOW, WELL)
        add_people(opened, "alice")
        yield opened


def states(store: Store) -> list[Health]:
    return [device.state for device in store.devices()]


def events(store: Store, verb: str = "gpu seen") -> list[dict[str, object]]:
    rows = store._db.rows("select after from event where verb = ? order by id", verb)
    return [json.loads(row["after"]) for row in rows]


def test_a_device_comes_back_as_it_was_stored(store: Store) -> None:
    hardware = Hardware("00000000:10:00.0", 3, "9.0", 1, False, "550.54.15", ((gpu(1).id, "NV18"),))
    quarantine = Quarantine("Xid 79: it fell off the bus", Cause.XID, ERA)
    sick = replace(gpu(0), hardware=hardware)
    store.sync_devices([sick, gpu(1)], NOW, WELL)
    store.note_xid(sick.id, 79, ERA, NOW)
    expected = replace(sick, health=Health.QUARANTINED, problem=quarantine.reason, quarantine=quarantine)
    assert store.devices()[0] == expected


def test_signs_quarantine_and_their_end_ends_it(store: Store) -> None:
    sick = replace(WELL, signs={gpu(0).id: Signs(uncorrected=1)})
    store.sync_devices([gpu(0), gpu(1)], NOW, sick)
    assert states(store) == [Health.QUARANTINED, Health.HEALTHY]
    assert store.grant("alice", DeviceRequest(1), HOUR, "root", NOW).devices == (gpu(1).id,)
    before = len(events(store))
    store.sync_devices([gpu(0), gpu(1)], NOW, sick)
    assert len(events(store)) == before
    store.sync_devices([gpu(0), gpu(1)], NOW, WELL)
    assert states(store) == [Health.HEALTHY] * 2
    assert [event["state"] for event in events(store)[-2:]] == ["quarantined", "healthy"]


def test_one_that_does_not_answer_says_how_by_its_index(store: Store) -> None:
    store.sync_devices([gpu(0)], NOW, replace(WELL, silent={1: IS_LOST}))
    assert [device.problem for device in store.devices()] == [None, "it fell off the bus (GPU is lost)"]
    assert states(store)[1] is Health.LOST


def test_a_driver_that_fails_loses_all_until_it_answers(store: Store) -> None:
    store.lose_devices("NVIDIA's driver does not answer", NOW)
    store.lose_devices("NVIDIA's driver does not answer", NOW)
    assert states(store) == [Health.LOST] * 2
    with pytest.raises(PlatformError, match="GPU 0 is out of order") as caught:
        store.grant("alice", DeviceRequest(1), HOUR, "root", NOW)
    assert caught.value.code is Code.NO_CAPACITY
    assert len(events(store)) == 4
    store.sync_devices([gpu(0), gpu(1)], NOW, WELL)
    assert states(store) == [Health.HEALTHY] * 2


def test_an_xid_of_the_hardware_quarantines_until_undrain_or_another_boot(store: Store) -> None:
    assert store.note_xid(gpu(0).id, 48, ERA, NOW)
    assert not store.note_xid(gpu(0).id, 64, ERA, NOW)
    assert store.note_xid(gpu(1).id, 79, ERA, NOW)
    store.sync_devices([gpu(0), gpu(1)], NOW, WELL)
    assert states(store) == [Health.QUARANTINED] * 2
    assert store.drain(gpu(0).id, None, "root", NOW)
    assert not store.drain(gpu(0).id, None, "root", NOW)
    assert states(store) == [Health.HEALTHY, Health.QUARANTINED]
    store.sync_devices([gpu(0), gpu(1)], NOW, replace(WELL, era=NEXT))
    assert states(store) == [Health.HEALTHY] * 2
    said = [text for _, text in store.xids(gpu(0).id, 5)]
    assert said == [
        "Xid 64: a memory row or page could not be replaced",
        "Xid 48: an uncorrectable memory error (double bit ECC)",
    ]
    assert store.xids(gpu(0).id, 1) == [(NOW, said[0])]


def test_an_xid_of_a_program_is_a_note(store: Store) -> None:
    assert not store.note_xid(gpu(0).id, 31, ERA, NOW)
    assert not store.note_xid("GPU-of-another", 79, ERA, NOW)
    assert states(store) == [Health.HEALTHY] * 2
    assert events(store, "gpu xid") == [{"xid": 31}]


def test_only_a_gpu_that_nobody_holds_is_quarantined_for_its_use(store: Store) -> None:
    store.grant("alice", DeviceRequest(1, (gpu(0).id,)), HOUR, "root", NOW)
    use: dict[str, str | None] = {gpu(0).id: "in use by process 7", gpu(1).id: "in use by process 8"}
    store.sync_devices([gpu(0), gpu(1)], NOW, replace(WELL, use=use))
    assert [device.problem for device in store.devices()] == [None, "in use by process 8"]
    # A look that could not tell changes nothing, an operator's word neither; that it is clean does.
    store.sync_devices([gpu(0), gpu(1)], NOW, replace(WELL, era=NEXT))
    assert not store.drain(gpu(1).id, None, "root", NOW)
    assert states(store) == [Health.HEALTHY, Health.QUARANTINED]
    store.sync_devices([gpu(0), gpu(1)], NOW, replace(WELL, use={gpu(1).id: None}))
    assert states(store) == [Health.HEALTHY] * 2


def test_a_device_that_is_dirty_after_its_lease(store: Store) -> None:
    store.quarantine_busy(gpu(1).id, "in use by process 7", NOW)
    store.quarantine_busy("GPU-of-another", "in use by process 7", NOW)
    assert [device.problem for device in store.devices()] == [None, "in use by process 7"]


def test_a_drained_one_may_be_quarantined_too(store: Store) -> None:
    store.drain(gpu(0).id, "fan", "root", NOW)
    store.note_xid(gpu(0).id, 79, ERA, NOW)
    device: Device = store.devices()[0]
    assert (device.state, device.drained) == (Health.QUARANTINED, "fan")
    store.drain(gpu(0).id, None, "root", NOW)
    assert states(store)[0] is Health.HEALTHY
