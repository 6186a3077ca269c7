"""Disk space: whose look is due, what a person is told, and that quotas reach what is there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.disks import Disk, walk_due, warning
from gateway.errors import PlatformError
from gateway.folders import WorkspaceFolders
from gateway.folders.walking import walk
from gateway.limiting import Limiting
from gateway.quotas import Owner
from gateway.rationing import FAILED, STARVED
from tests.support.stores import NOW, add_people, open_store
from tests.support.world import World, at, world

ALICE, BOB, CAROL = 1, 2, 3
GIB = 1 << 30


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path / "state") as made:
        yield made


@pytest.mark.parametrize(
    ("seen", "running", "due"),
    [
        (None, False, True),
        (NOW, True, False),
        (NOW - timedelta(minutes=59), True, False),
        (NOW - timedelta(hours=1), True, True),
        (NOW - timedelta(hours=23), False, False),
        (NOW - timedelta(days=1), False, True),
        (NOW + timedelta(days=400), False, True),
    ],
)
def test_when_files_are_counted_again(seen: datetime | None, running: bool, due: bool) -> None:
    assert walk_due(Disk(GIB, 1, seen_at=seen), running, NOW) is due


@pytest.mark.parametrize(
    ("disk", "told"),
    [
        (Disk(100 * GIB), None),
        (Disk(100 * GIB, 94 * GIB), None),
        (Disk(100 * GIB, 96 * GIB), "Your files take 96G of 100G: delete what you do not need."),
        (
            Disk(100 * GIB, 120 * GIB),
            (
                "Your files take 120G of 100G, which is more than you may have: delete some, "
                "or ask your operator for more."
            ),
        ),
        (
            Disk(100 * GIB, 120 * GIB, held=True),
            (
                "Your files take 120G of 100G: when it is full nothing more can be written; "
                "delete what you do not need."
            ),
        ),
    ],
)
def test_what_a_person_is_told_of_her_disk(disk: Disk, told: str | None) -> None:
    assert warning(disk) == told


async def test_a_limit_is_there_when_the_workspace_is_made(here: World) -> None:
    here.store.set_quotas(Owner("alice"), {"disk": 5 * GIB}, "root", NOW)
    await here.enter(ALICE)
    assert here.folders.limits == {ALICE: 5 * GIB}
    await here.enter(BOB)
    assert here.folders.limits == {ALICE: 5 * GIB, BOB: 100 * GIB}


async def test_quotas_and_groups_reach_every_disk(here: World) -> None:
    assert here.store.set_quotas(Owner("alice"), {"disk": 5 * GIB}, "root", NOW) is not None
    here.store.add_group("vision", "root", NOW)
    here.store.set_quotas(Owner(group="vision"), {"disk": 200 * GIB}, "root", NOW)
    here.store.join("vision", ["bob"], "root", NOW)
    await Limiting(here.desk, here.backend, here.rationing).limit_all()
    assert here.folders.limits == {ALICE: 5 * GIB, BOB: 200 * GIB, CAROL: 100 * GIB}


async def test_one_disk_that_does_not_obey_keeps_no_other_and_no_container(here: World) -> None:
    await here.enter(BOB)
    here.folders.broken.add(ALICE)
    here.store.set_quotas(Owner(), {"disk": GIB, "pids": 50}, "root", NOW)
    with pytest.raises(PlatformError, match="broken"):
        await Limiting(here.desk, here.backend, here.rationing).limit_all()
    assert (here.folders.limits, here.backend.limits[BOB].pids) == ({BOB: GIB, CAROL: GIB}, 50)


async def test_a_workspace_that_is_being_made_gets_its_limit_afterwards(here: World) -> None:
    async with here.broker.room(ALICE).lock:
        work = asyncio.create_task(here.rationing.limit_all())
        async with asyncio.timeout(10):
            while len(here.folders.limits) < 2:
                await asyncio.sleep(0.001)
        assert ALICE not in here.folders.limits
    await work
    assert here.folders.limits[ALICE] == 100 * GIB


async def test_what_a_file_system_counts_is_shown_and_told_at_the_next_login(here: World) -> None:
    here.folders.counted[ALICE] = 99 * GIB
    await here.rationing.look()
    assert here.store.disks()[ALICE] == Disk(100 * GIB, 99 * GIB, True, NOW)
    assert "  Your files take 99G of 100G: when it is full" in await here.enter(ALICE)
    here.folders.counted[ALICE] = GIB
    await here.rationing.look()
    assert "Your files" not in await here.enter(ALICE)
    assert ALICE not in here.folders.walked


async def test_a_disk_that_failed_is_told_once_and_mended_for_the_next_container(here: World) -> None:
    """While hers runs: nothing is stopped for it, and she is in another when nothing of hers runs."""
    said: list[tuple[int, str]] = []
    here.broker.announce = lambda user_id, text: said.append((user_id, text))
    await here.enter(ALICE)
    here.folders.counted = {ALICE: GIB, BOB: GIB}
    here.folders.starved = {ALICE, BOB}
    for _ in range(2):
        await here.rationing.look()
    assert said == [(ALICE, STARVED)]
    here.folders.starved, here.folders.failed = set(), {ALICE, BOB}
    for _ in range(2):
        await here.rationing.look()
    assert said == [(ALICE, STARVED), (ALICE, FAILED)]
    assert here.folders.prepared == [ALICE]
    await here.enter(ALICE)
    assert here.folders.prepared == [ALICE, ALICE]


async def test_files_are_counted_one_by_one_elsewhere_and_not_again_at_once(here: World) -> None:
    await here.enter(ALICE)
    here.folders.found = {ALICE: 101 * GIB, BOB: GIB}
    await here.rationing.look()
    assert "more than you may have" in await here.enter(ALICE)
    assert here.store.disk(BOB) == Disk(100 * GIB, GIB, False, NOW)
    assert here.store.disk(CAROL) == Disk(100 * GIB)
    # Whom nothing was found of is looked for again.
    here.time = at(1)
    await here.rationing.look()
    assert sorted(here.folders.walked) == [ALICE, ALICE, BOB, CAROL, CAROL]
    assert here.store.disk(ALICE) == replace(here.store.disk(ALICE), seen_at=at(1))


async def test_nothing_is_shown_of_files_that_were_removed(here: World) -> None:
    here.broker._folders = here.rationing._folders = files = WorkspaceFolders(here.state)
    await here.enter(ALICE)
    await here.rationing.look()
    assert (here.store.disk(ALICE).used or 0) > 0
    files.put_away(ALICE, 1)
    await here.rationing.look()
    assert here.store.disk(ALICE).used == 0


def test_operators_see_what_is_used_of_how_much(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with closing(open_store(state)) as store:
        add_people(store, "alice", "bob")
        store.set_quotas(Owner("alice"), {"disk": 5 * GIB}, "root", NOW)
        store.show_disk(ALICE, 3 * GIB // 2, True, NOW)

    def gpuadmin(*words: str) -> str:
        command = [sys.executable, "-c", "from admin.main import main; main()", *words]
        environment = {**os.environ, "GPU_GATEWAY_STATE": str(state)}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    lines = gpuadmin("workspace", "list").splitlines()
    assert lines[0].rstrip().endswith("DISK")
    assert lines[1].rstrip().endswith("1.5G of 5G")
    assert lines[2].rstrip().endswith("? of 100G")
    alice, bob = json.loads(gpuadmin("workspace", "list", "--json"))
    keys = ("disk", "disk_used", "disk_seen_at", "disk_enforced")
    assert [alice[key] for key in keys] == [5 * GIB, 3 * GIB // 2, "2026-11-23T15:00:00Z", True]
    assert [bob[key] for key in keys] == [100 * GIB, None, None, False]


async def test_a_walk_counts_what_lies_deep_and_follows_no_link(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(bytes(1 << 20))
    (deep / "away").symlink_to("/usr")
    assert 1 << 20 <= (await walk(tmp_path) or 0) < 2 << 20
    assert await walk(tmp_path / "absent") is None
