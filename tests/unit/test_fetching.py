"""Coming in while one's image is only in a registry: over a real store, with an engine in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway import fetching
from gateway.errors import Code, PlatformError
from gateway.fetching import Fetching
from gateway.rooms import Entry
from gateway.transfers import Transfer
from tests.support.stores import NOW
from tests.support.world import IMAGE, World, until, world

ALICE, BOB = 1, 2
PLACE = "registry.example.org/base@sha256:" + "9" * 64


@dataclass
class House:
    """A gateway whose default image is only in a registry that serves half of it until `rest` is set."""

    world: World
    fetching: Fetching
    rest: asyncio.Event = field(default_factory=asyncio.Event)
    fault: PlatformError | None = None

    async def serve(self, image: object, told: object) -> None:
        """What the registry does."""
        assert callable(told)
        told(Transfer(1 << 30, 2 << 30, True))
        await self.rest.wait()
        if self.fault is not None:
            raise self.fault

    async def enter(self, user_id: int, terminal: bool, heard: list[tuple[str, bool]]) -> Entry:
        """Come in, and out again."""

        def progress(text: str, bar: bool = False) -> None:
            heard.append((text, bar))

        entry = await self.fetching.enter(user_id, "c1", progress, terminal)
        entry.line.close()
        return entry


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(fetching, "TELL_EVERY", 0.001)
    monkeypatch.setattr(fetching, "PATIENCE", 0.01)
    async with world(tmp_path / "state") as made, asyncio.TaskGroup() as tasks:
        made.backend.images.discard(IMAGE)
        made.store.image_pushed(made.store.image_version("gpu-gateway/base:1"), PLACE, "root", NOW)
        found = House(made, Fetching(made.desk, made.backend, made.broker, tasks))
        made.backend.serve = found.serve
        yield found
        found.rest.set()
        made.broker.close()


async def test_everybody_on_a_terminal_watches_one_fetch_and_comes_in(house: House) -> None:
    heard: dict[int, list[tuple[str, bool]]] = {ALICE: [], BOB: []}
    async with asyncio.TaskGroup() as people:
        for who, told in heard.items():
            people.create_task(house.enter(who, True, told))
        await until(lambda: all(len(told) > 3 for told in heard.values()))
        assert not house.world.backend.started
        house.rest.set()
    assert house.world.backend.fetched == [IMAGE]
    assert {spec.workspace_id for spec in house.world.backend.started} == {ALICE, BOB}
    for told in heard.values():
        assert told[0] == ("the image gpu-gateway/base:1 is being fetched", False)
        bars = [text for text, bar in told if bar]
        assert bars[0].startswith("[##########----------]  50% 1G of 2G, about ")
        # The line of the bar is ended before anything else is said.
        assert bars[-1] == ""
        assert told.index(("", True)) > max(told.index((text, True)) for text in bars[:-1])


async def test_who_has_no_terminal_is_told_soon_and_the_fetch_goes_on(house: House) -> None:
    heard: list[tuple[str, bool]] = []
    with pytest.raises(PlatformError, match=r"being fetched: 1G of 2G, about .* left; log in") as caught:
        await house.enter(ALICE, False, heard)
    assert caught.value.code is Code.UNAVAILABLE
    assert heard == [("the image gpu-gateway/base:1 is being fetched", False)]
    assert not house.rest.is_set()
    house.rest.set()
    await until(lambda: IMAGE in house.world.backend.images)
    await house.enter(ALICE, False, [])
    assert house.world.backend.fetched == [IMAGE]


async def test_a_registrys_fault_is_told_and_the_next_login_tries_again(house: House) -> None:
    house.fault = PlatformError(Code.UNAVAILABLE, "the registry is away")
    house.rest.set()
    for terminal in (True, False):
        with pytest.raises(PlatformError, match="the registry is away"):
            await house.enter(ALICE, terminal, [])
    house.fault = None
    await house.enter(ALICE, True, [])
    assert house.world.backend.fetched == [IMAGE] * 3


async def test_a_version_that_takes_a_running_ones_place_is_fetched_too(house: House) -> None:
    house.world.backend.images.add(IMAGE)
    await house.enter(ALICE, True, [])
    other = "sha256:" + "5" * 64
    image = house.world.store.add_image("base", "2", "", "base:2", other, "root", NOW, registry_digest=PLACE)
    house.world.store.pin_image("alice", image.ref, "root", NOW)
    house.rest.set()
    await house.enter(ALICE, True, [])
    assert house.world.backend.fetched == [other]
    assert house.world.backend.started[-1].image == other


async def test_an_image_that_was_never_pushed_is_not_looked_for(house: House) -> None:
    house.world.store.add_image("other", "1", "", "other:1", "sha256:" + "5" * 64, "root", NOW)
    house.world.store.pin_image("alice", "other:1", "root", NOW)
    with pytest.raises(PlatformError, match="is not on this machine") as caught:
        await house.enter(ALICE, True, [])
    assert caught.value.code is Code.NOT_FOUND
    assert house.world.backend.fetched == []
