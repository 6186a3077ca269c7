"""Quotas reach containers that run, at once, and what cannot change waits for the next container."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.custody import Custody
from gateway.errors import PlatformError
from gateway.limiting import Limiting
from gateway.quotas import Owner
from gateway.sqlite.wanted import Answer
from gateway.wishes import Wishes
from gateway.workspaces import Limits
from tests.support.world import World, world

ALICE, BOB, CAROL = 1, 2, 3
GIB = 1 << 30


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path / "state") as made:
        yield made


@pytest.fixture
def wishes(here: World) -> Wishes:
    custody = Custody(here.desk, here.broker, here.backend, here.folders, here.timekeeper)
    limiting = Limiting(here.desk, here.backend, here.rationing)
    return Wishes(
        here.desk, here.broker, here.settling, custody, limiting, lambda id_, why: False, lambda: here.time
    )


def set_quotas(here: World, owner: Owner, **values: int) -> int:
    wanted = here.store.set_quotas(owner, values, "root", here.time)
    assert wanted is not None
    return wanted


async def test_a_quota_reaches_a_container_that_runs_and_keeps_it(here: World, wishes: Wishes) -> None:
    await here.enter(ALICE)
    before = here.backend.limits[ALICE]
    wanted = set_quotas(here, Owner("alice"), cpus=500, memory=2 * GIB, pids=99)
    await wishes.grant()
    assert here.store.answer(wanted) == Answer(None)
    assert here.backend.limits[ALICE] == Limits(0.5, 2 * GIB, before.shm, 99)
    here.present.add(ALICE)
    assert "A change by your operator" in await here.enter(ALICE)
    here.present.clear()
    await here.enter(ALICE)
    assert here.backend.limits[ALICE] == Limits(0.5, 2 * GIB, GIB, 99)


async def test_cores_alone_never_make_another_container(here: World, wishes: Wishes) -> None:
    await here.enter(ALICE)
    set_quotas(here, Owner("alice"), cpus=500, pids=99)
    await wishes.grant()
    assert "A change by your operator" not in await here.enter(ALICE)
    assert len(here.backend.started) == 1
    assert here.backend.limits[ALICE] == replace(here.backend.started[0].limits, cpus=0.5, pids=99)


async def test_everybody_and_who_joins_or_leaves_a_group(here: World, wishes: Wishes) -> None:
    for user in (ALICE, BOB):
        await here.enter(user)
    here.store.add_group("vision", "root", here.time)
    set_quotas(here, Owner(), pids=50)
    set_quotas(here, Owner(group="vision"), pids=60)
    await wishes.grant()
    assert [here.backend.limits[user].pids for user in (ALICE, BOB)] == [50, 50]
    here.store.join("vision", ["alice"], "root", here.time)
    await wishes.grant()
    assert [here.backend.limits[user].pids for user in (ALICE, BOB)] == [60, 50]
    here.store.leave("vision", ["alice"], "root", here.time)
    await wishes.grant()
    assert [here.backend.limits[user].pids for user in (ALICE, BOB)] == [50, 50]
    assert CAROL not in here.backend.limits


async def test_memory_in_use_stays_until_a_later_look(here: World, wishes: Wishes) -> None:
    await here.enter(ALICE)
    most = here.backend.limits[ALICE].memory
    here.backend.memory_in_use[ALICE] = 2 * GIB
    wanted = set_quotas(here, Owner("alice"), memory=GIB)
    await wishes.grant()
    assert here.store.answer(wanted) == Answer(None)
    assert here.backend.limits[ALICE].memory == most
    here.backend.memory_in_use.clear()
    await Limiting(here.desk, here.backend, here.rationing).limit_all()
    assert here.backend.limits[ALICE].memory == GIB


async def test_one_container_that_does_not_obey_keeps_no_other(here: World) -> None:
    for user in (ALICE, BOB, CAROL):
        await here.enter(user)
    set_quotas(here, Owner(), pids=50)
    here.store.remove_user("carol", "root", here.time)
    here.backend.fail_limits.add(ALICE)
    with pytest.raises(PlatformError, match="refused"):
        await Limiting(here.desk, here.backend, here.rationing).limit_all()
    assert [here.backend.limits[user].pids for user in (ALICE, BOB, CAROL)] == [4096, 50, 4096]


async def test_a_quota_of_no_container_asks_for_nothing(here: World) -> None:
    assert here.store.set_quotas(Owner("alice"), {"gpus": 1, "lease": 60}, "root", here.time) is None
    assert here.store.wanted() == []
