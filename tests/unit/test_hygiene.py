"""A GPU is free again only when nothing uses it: dirty ones keep their lease, then are taken out of use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.devices import Health, Occupation, Process
from gateway.errors import Code, PlatformError
from gateway.hygiene import LINGER, Hygiene
from gateway.leases import State
from tests.support.stores import gpu
from tests.support.world import World


class Machine:
    """GPUs that tests make dirty, and a clock that they move."""

    def __init__(self) -> None:
        self.dirty: dict[str, Occupation] = {}
        self.seconds = 0.0
        self.fails = False

    def occupations(self) -> list[Occupation]:
        if self.fails:
            raise PlatformError(Code.UNAVAILABLE, "NVIDIA's driver does not answer.")
        return [self.dirty.get(gpu(index).id, Occupation(gpu(index).id, 0)) for index in range(8)]

    def clock(self) -> float:
        return self.seconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def world(tmp_path: Path, machine: Machine) -> Iterator[World]:
    world = World(tmp_path / "state")
    hygiene = Hygiene(world.desk, machine.occupations, lambda: world.time, machine.clock)
    world.settling.clean = hygiene.clean
    yield world
    world.stop()
    world.store.close()


def busy(index: int) -> Occupation:
    return Occupation(gpu(index).id, 3 << 30, (Process(4711, 3 << 30),))


async def test_a_lease_goes_when_its_gpus_are_clean(world: World, machine: Machine) -> None:
    lease = world.grant("alice", 0, 1)
    machine.dirty[gpu(5).id] = busy(5)
    world.store.end_lease(lease.id, "root", world.time)
    await world.settling.settle(1)
    assert world.lease(lease).state is State.RELEASED


async def test_a_dirty_gpu_keeps_its_lease_and_says_why(world: World, machine: Machine) -> None:
    lease = world.grant("alice", 0, 1)
    machine.dirty[gpu(1).id] = busy(1)
    world.store.end_lease(lease.id, "root", world.time)
    await world.settling.settle(1)
    assert world.lease(lease).state is State.GRACE
    assert world.lease(lease).problem == f"{gpu(1).id}: in use by process 4711"
    with pytest.raises(PlatformError) as caught:
        world.grant("bob", 1)
    assert caught.value.code is Code.NO_CAPACITY
    machine.dirty.clear()
    await world.settling.settle(1)
    assert world.lease(lease).state is State.RELEASED
    assert world.grant("bob", 1).devices == (gpu(1).id,)


async def test_after_a_minute_the_dirty_one_is_quarantined_and_the_rest_is_free(
    world: World, machine: Machine
) -> None:
    lease = world.grant("alice", 0, 1)
    machine.dirty[gpu(1).id] = busy(1)
    world.store.end_lease(lease.id, "root", world.time)
    await world.settling.settle(1)
    machine.seconds += LINGER - 1
    await world.settling.settle(1)
    assert world.lease(lease).state is State.GRACE
    machine.seconds += 1
    await world.settling.settle(1)
    assert world.lease(lease).state is State.RELEASED
    devices = {device.id: device for device in world.store.devices()}
    assert devices[gpu(1).id].state is Health.QUARANTINED
    assert devices[gpu(1).id].problem == "in use by process 4711"
    assert world.grant("bob", 0).devices == (gpu(0).id,)
    with pytest.raises(PlatformError):
        world.grant("bob", 1)


async def test_a_driver_that_does_not_answer_keeps_nobody(world: World, machine: Machine) -> None:
    lease = world.grant("alice", 0)
    machine.fails = True
    world.time += timedelta(hours=9)
    await world.settling.settle_leases()
    assert world.lease(lease).state is State.RELEASED
