"""A container whose programs cannot open its GPUs is noticed, and replaced when nothing of hers runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.examining import NOTICE, PROBLEM, Examining
from tests.support.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "state")
    yield world
    world.stop()
    world.store.close()


@pytest.fixture
def notices(world: World) -> list[tuple[int, str]]:
    told: list[tuple[int, str]] = []
    world.broker.announce = lambda user_id, text: told.append((user_id, text))
    return told


def examining(world: World) -> Examining:
    return Examining(world.desk, world.broker, world.backend, lambda: world.time)


async def made(world: World, user_id: int) -> str:
    container = await world.backend.inspect(user_id)
    assert container is not None
    return container.container_id


async def test_barred_gpus_are_told_once_and_healed_at_the_next_login(
    world: World, notices: list[tuple[int, str]]
) -> None:
    lease = world.grant("alice", 0)
    await world.enter(1)
    first = await made(world, 1)
    look = examining(world)
    await look.examine()
    assert (notices, world.lease(lease).problem) == ([], None)
    world.backend.barred.add(1)
    await look.examine()
    await look.examine()
    assert (notices, world.lease(lease).problem) == ([(1, NOTICE)], PROBLEM)
    # Nothing of hers is stopped at once, and her next login is told that something waits.
    world.present.add(1)
    assert "when nothing of yours runs here any more" in await world.enter(1)
    assert await made(world, 1) == first
    world.present.clear()
    world.backend.barred.clear()
    assert "when nothing of yours runs here any more" not in await world.enter(1)
    second = await made(world, 1)
    assert second != first
    assert world.lease(lease).problem is None
    await look.examine()
    await world.enter(1)
    assert (await made(world, 1), len(notices)) == (second, 1)
    # It may happen again.
    world.backend.barred.add(1)
    await look.examine()
    assert len(notices) == 2


async def test_who_has_no_gpu_or_does_not_run_is_not_asked(
    world: World, notices: list[tuple[int, str]]
) -> None:
    world.grant("bob", 1)
    await world.enter(3)
    world.backend.barred |= {2, 3}
    await examining(world).examine()
    assert notices == []
