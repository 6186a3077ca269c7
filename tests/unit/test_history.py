"""History: looks become sums, sums become windows in a ring, and no value is lost or made up on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cgroups import ControlGroups
from gateway.clock import Clock
from gateway.desk import Desk
from gateway.devices import DeviceRequest, Reading
from gateway.errors import Code, PlatformError
from gateway.health import Told
from gateway.historian import Historian
from gateway.history import (
    EVERY,
    ContainerLook,
    ContainerUse,
    GpuLook,
    GpuUse,
    Look,
    Tally,
    Window,
    window,
)
from gateway.sqlite.store import Store
from gateway.workspaces import Container
from tests.support.stores import NOW, add_people, gpu, open_store

IDS = ("a" * 64, "b" * 64)
HOUR = timedelta(hours=1)
EVER = (NOW - 9999 * HOUR, NOW + 9999 * HOUR)

VALUES = st.none() | st.integers(0, 100)
LOOKS = st.builds(
    Look,
    st.lists(
        st.builds(GpuLook, st.sampled_from("XY"), st.none() | st.integers(1, 2), VALUES, VALUES), max_size=3
    ).map(tuple),
    st.lists(st.builds(ContainerLook, st.integers(1, 2), st.integers(0, 9), VALUES), max_size=3).map(tuple),
)


@given(st.lists(st.tuples(st.integers(-90_000, 90_000), st.lists(LOOKS, max_size=12)), max_size=4))
def test_sums_of_windows_are_the_sums_of_looks_however_the_clock_was_set(
    parts: list[tuple[int, list[Look]]],
) -> None:
    """Each window begins whenever the clock says, be it before the last one; each lease keeps its samples."""
    windows = [window(NOW + timedelta(seconds=at), len(looks) * EVERY, looks) for at, looks in parts]
    gpus = [each for _, looks in parts for look in looks for each in look.gpus]
    uses = [use for each in windows for use in each.gpus]
    for device in "XY":
        for lease in (None, 1, 2):
            seen = [each for each in gpus if (each.device, each.lease) == (device, lease)]
            told = [each.utilization for each in seen if each.utilization is not None]
            sums = [use for use in uses if (use.device, use.lease) == (device, lease)]
            assert sum(use.samples for use in sums) == len(seen)
            assert sum(use.busy for use in sums) == sum(value > 0 for value in told)
            whole = sum((use.utilization for use in sums), Tally())
            assert whole == Tally(len(told), sum(told), max(told, default=0))
            used = sum((use.memory for use in sums), Tally())
            assert used.total == sum(each.used or 0 for each in seen)
            assert used.count == sum(each.used is not None for each in seen)
    consumed = [each for _, looks in parts for look in looks for each in look.containers]
    containers = [use for each in windows for use in each.containers]
    assert sum(use.cpu for use in containers) == sum(each.cpu for each in consumed)
    assert sum(use.samples for use in containers) == len(consumed)
    assert all(each.due >= len(looks) for each, (_, looks) in zip(windows, parts, strict=True))


def test_what_is_not_told_is_not_0_and_looks_that_failed_are_missed() -> None:
    looks = [Look((GpuLook("X", 1, None, 5),)), Look((GpuLook("X", 1, None, 7),))]
    seen = window(NOW, 10 * EVERY, looks)
    assert (seen.due, seen.seconds) == (10, 300)
    assert seen.gpus == (GpuUse("X", 1, 2, 0, Tally(), Tally(2, 12, 7)),)
    assert seen.gpus[0].utilization.mean is None
    assert seen.gpus[0].memory.mean == 6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "state")) as opened:
        opened.sync_devices([gpu(0), gpu(1)], NOW, Told())
        add_people(opened, "alice")
        yield opened


def test_a_window_comes_back_as_it_was_kept(store: Store) -> None:
    gpus = (GpuUse("X", None, 3, 1, Tally(3, 50, 40), Tally()), GpuUse("X", 7, 1))
    kept = Window(NOW, 300, 10, gpus, (ContainerUse(4, 10, 123_456_789_000, Tally(2, 1 << 41, 1 << 40)),))
    store.keep_history(kept, 9)
    store.keep_history(Window(NOW - HOUR, 30, 1), 9)
    assert store.history(*EVER) == [kept, Window(NOW - HOUR, 30, 1)]
    assert store.history(NOW, NOW + HOUR) == [kept]
    assert store.history(NOW - HOUR, NOW) == [Window(NOW - HOUR, 30, 1)]
    (row,) = store._db.rows("select utilization_total, memory_peak from history_gpu where lease_id = 7")
    assert row == {"utilization_total": None, "memory_peak": None}


def test_the_ring_keeps_so_many_windows_whatever_the_clock_says(store: Store) -> None:
    """A clock that was a year ahead for a moment empties nothing, and its window goes when its turn comes."""
    for turn in range(7):
        at = NOW + turn * HOUR + (400 * 24 * HOUR if turn == 3 else timedelta())
        store.keep_history(Window(at, 300, 10, (GpuUse("X", turn, 1),), (ContainerUse(1, turn),)), 3)
    kept = store.history(*EVER)
    assert [window.gpus[0].lease for window in kept] == [4, 5, 6]
    for table in ("history_window", "history_gpu", "history_container"):
        assert store._db.rows(f"select count(*) as n from {table}") == [{"n": 3}]


class World:
    """A machine whose clocks, containers and control groups a test moves; `asked` counts the engine's."""

    def __init__(self, tmp_path: Path, store: Store) -> None:
        self.root = tmp_path / "cgroup"
        for tree in ("cpuacct", "memory"):
            (self.root / tree).mkdir(parents=True)
        self.running: set[int] = set()
        self.found: list[Container] = []
        self.asked = 0
        self.seconds = 0
        self.set_by = timedelta()
        self.desk = Desk(lambda: store)
        self.historian = Historian(
            self.desk, lambda: self.running, self.containers, ControlGroups(self.root), self.clock
        )

    def clock(self) -> Clock:
        uptime = timedelta(seconds=self.seconds)
        return Clock("a-boot", NOW + uptime + self.set_by, uptime)

    async def containers(self) -> list[Container]:
        self.asked += 1
        return self.found

    def consume(self, id_: str, cpu: int, memory: int) -> None:
        """The container has taken `cpu` seconds and has `memory` bytes, 1000 of them cache."""
        for tree in ("cpuacct", "memory"):
            (self.root / tree / "docker" / id_).mkdir(parents=True, exist_ok=True)
        (self.root / "cpuacct/docker" / id_ / "cpuacct.usage").write_text(f"{cpu * 10**9}\n")
        (self.root / "memory/docker" / id_ / "memory.usage_in_bytes").write_text(f"{memory + 1000}\n")
        (self.root / "memory/docker" / id_ / "memory.stat").write_text("cache 7\ntotal_inactive_file 1000\n")

    def run(self, user_id: int, id_: str) -> None:
        self.running.add(user_id)
        self.found.append(Container(user_id, id_, "", True, (), ""))

    async def looks(self, count: int, *readings: Reading) -> None:
        for _ in range(count):
            await self.historian.look(readings)
            self.seconds += 30


@pytest.fixture
def world(tmp_path: Path, store: Store) -> Iterator[World]:
    world = World(tmp_path, store)
    yield world
    world.desk.close()


def reading(index: int, utilization: int | None, used: int | None) -> Reading:
    return Reading(gpu(index).id, index, index, "", utilization, used)


async def test_five_minutes_are_one_window_by_gpu_lease_and_user(world: World, store: Store) -> None:
    lease = store.grant("alice", DeviceRequest(1, (gpu(1).id,)), HOUR, "root", NOW)
    world.run(1, IDS[0])
    world.consume(IDS[0], 100, 2000)
    await world.looks(4, reading(0, 0, 0), reading(1, None, 5))
    world.consume(IDS[0], 107, 4000)
    store.end_lease(lease.id, "root", NOW)
    store.released(lease.id, "root", NOW)
    await world.looks(6, reading(0, 50, 0), reading(1, None, 5))
    assert store.history(*EVER) == []
    await world.looks(1)
    (seen,) = store.history(*EVER)
    assert (seen.at, seen.seconds, seen.due) == (NOW, 300, 10)
    assert seen.gpus == (
        GpuUse(gpu(0).id, None, 10, 6, Tally(10, 300, 50), Tally(10, 0, 0)),
        GpuUse(gpu(1).id, lease.id, 4, 0, Tally(), Tally(4, 20, 5)),
        GpuUse(gpu(1).id, None, 6, 0, Tally(), Tally(6, 30, 5)),
    )
    # The 100 seconds before it was first seen may be of days ago.
    assert seen.containers == (ContainerUse(1, 10, 7_000_000, Tally(10, 4 * 2000 + 6 * 4000, 4000)),)
    assert world.asked == 1


async def test_a_container_that_was_made_anew_is_found_and_counts_on(world: World, store: Store) -> None:
    world.run(1, IDS[0])
    world.consume(IDS[0], 100, 0)
    await world.looks(2)
    for tree in ("cpuacct", "memory"):
        (world.root / tree / "docker" / IDS[0]).rename(world.root / f"gone-{tree}")
    world.found.clear()
    world.run(1, IDS[1])
    world.consume(IDS[1], 1, 0)
    await world.looks(1)
    world.consume(IDS[1], 3, 0)
    await world.looks(1)
    await world.historian.write()
    (seen,) = store.history(*EVER)
    assert seen.containers == (ContainerUse(1, 4, 2_000_000, Tally(4, 0, 0)),)
    assert world.asked == 2


async def test_a_clock_that_is_set_and_a_driver_that_hangs_are_seen_in_the_window(
    world: World, store: Store
) -> None:
    """How long a window was is real time; which time it was of is the clock's when it began."""
    await world.looks(2, reading(0, 10, 1))
    world.set_by = timedelta(days=1)
    world.seconds += 240
    await world.looks(1, reading(0, 10, 1))
    await world.historian.write()
    first, second = store.history(*EVER)
    assert (first.at, first.due, first.gpus[0].samples) == (NOW, 10, 2)
    assert (second.at, second.due) == (NOW + timedelta(days=1, minutes=5), 1)


async def test_nothing_is_kept_for_a_store_that_does_not_answer(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise PlatformError(Code.UNAVAILABLE, "The disk is full.")

    await world.looks(10, reading(0, 10, 1))
    with monkeypatch.context() as patch:
        patch.setattr(store, "keep_history", full)
        with pytest.raises(PlatformError):
            await world.looks(1, reading(0, 10, 1))
    await world.looks(1, reading(0, 10, 1))
    await world.historian.write()
    assert [window.due for window in store.history(*EVER)] == [1]
    await world.historian.write()
    assert len(store.history(*EVER)) == 1
