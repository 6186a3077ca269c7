"""The queue is served by itself, and holders are told in time: the use case over a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.devices import DeviceRequest
from gateway.leases import State
from gateway.quotas import Owner
from gateway.store import Waiting
from tests.support.stores import gpu
from tests.support.world import World, world

ALICE, BOB = 1, 2

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path / "state") as made:
        made.broker.inventory = {device.id: device for device in made.store.devices()}
        yield made
        made.broker.close()


async def test_who_waits_is_granted_what_becomes_free_and_told(here: World) -> None:
    taken = here.grant("alice", *range(8))
    asked = here.store.queue("bob", DeviceRequest(2), HOUR, "root", here.time)
    assert isinstance(asked, Waiting)
    await here.granting.attend()
    here.announced.clear()
    here.store.end_lease(taken.id, "root", here.time)
    await here.settling.settle_leases()
    await here.granting.attend()
    lease = here.store.lease(asked.request.id)
    assert (lease.user, lease.state, lease.expires_at) == ("bob", State.GRANTED, here.time + HOUR)
    ((user_id, text),) = here.announced
    assert user_id == BOB
    assert text.startswith("You hold GPU 0 and GPU 1 now, until 2026-11-23 16:00 UTC (lease 2).")
    await here.granting.attend()
    assert len(here.announced) == 1


async def test_each_warning_is_given_once_and_in_time(here: World) -> None:
    lease = here.grant("alice", 3, hours=2)
    await here.enter(ALICE)
    end = lease.expires_at
    await here.granting.attend()
    assert here.announced[0][1].startswith("You hold GPU 3 now")
    here.announced.clear()
    heard = []
    for at in (2 * HOUR, 61 * MINUTE, HOUR, 59 * MINUTE, 11 * MINUTE, 10 * MINUTE, MINUTE, MINUTE / 2):
        here.time = end - at
        await here.granting.attend()
        heard += [(at, text) for _, text in here.announced]
        here.announced.clear()
    assert [at for at, _ in heard] == [HOUR, 10 * MINUTE, MINUTE]
    assert all(f"Your lease {lease.id} of GPU 3 ends in" in text for _, text in heard)
    assert here.lease(lease).state is State.WARNED


async def test_an_extended_lease_is_active_again_and_warned_of_anew(here: World) -> None:
    lease = here.grant("alice", 0, hours=2)
    await here.enter(ALICE)
    await here.granting.attend()
    here.announced.clear()
    here.time = lease.expires_at - MINUTE
    await here.granting.attend()
    here.store.extend(lease.id, 3 * HOUR, "root", here.time)
    await here.granting.attend()
    assert here.lease(lease).state is State.ACTIVE
    assert len(here.announced) == 1
    here.time = here.lease(lease).expires_at - HOUR
    await here.granting.attend()
    assert len(here.announced) == 2
    assert here.lease(lease).state is State.WARNED


async def test_a_warning_that_was_missed_is_given_once_after_the_gateway_was_away(here: World) -> None:
    lease = here.grant("alice", 0, hours=48)
    await here.granting.attend()
    here.announced.clear()
    here.stop()
    here.time = lease.expires_at - 5 * MINUTE
    here._start()
    await here.granting.attend()
    await here.granting.attend()
    assert [text.partition(" ends in ")[2][:3] for _, text in here.announced] == ["5m,"]


async def test_the_holder_of_a_preemptible_lease_is_told_that_it_ends(here: World) -> None:
    here.store.set_quotas(Owner("alice"), {"gpus": 0}, "root", here.time)
    here.store.queue("alice", DeviceRequest(8), 24 * HOUR, "root", here.time, preemptible=True)
    here.store.drain(gpu(7).id, "", "root", here.time)
    here.store.queue("carol", DeviceRequest(1), HOUR, "root", here.time)
    await here.granting.attend()
    (lease,) = here.store.held_leases()
    assert (lease.state, lease.expires_at) == (State.WARNED, here.time + HOUR)
    ((user_id, text),) = here.announced
    assert user_id == ALICE
    assert text.startswith(f"Your preemptible lease {lease.id} of GPU 0 and GPU 1 and ")
    here.time = lease.expires_at
    await here.settling.settle_leases()
    await here.granting.attend()
    assert [each.user for each in here.store.held_leases()] == ["carol"]
