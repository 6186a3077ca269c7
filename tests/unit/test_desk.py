"""The store's own thread, and operators' wishes one by one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.custody import Custody
from gateway.desk import Desk
from gateway.errors import Code, PlatformError
from gateway.limiting import Limiting
from gateway.sqlite.wanted import Answer
from gateway.wishes import Wishes
from tests.support.world import World, world

ALICE, BOB = 1, 2


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path / "state") as made:
        yield made


@pytest.fixture
def ended() -> list[tuple[str, str]]:
    """The sessions that were ended, and why."""
    return []


@pytest.fixture
def wishes(here: World, ended: list[tuple[str, str]]) -> Wishes:
    def end(id_: str, reason: str) -> bool:
        ended.append((id_, reason))
        return id_ == "c1"

    custody = Custody(here.desk, here.broker, here.backend, here.folders, here.timekeeper)
    return Wishes(
        here.desk,
        here.broker,
        here.settling,
        custody,
        Limiting(here.desk, here.backend, here.rationing),
        end,
        lambda: here.time,
    )


async def test_a_slow_store_never_blocks_the_loop(here: World) -> None:
    reached, opened = threading.Event(), threading.Event()

    def slow(store: Any) -> int:
        reached.set()
        assert opened.wait(10)
        return threading.get_ident()

    asked = asyncio.create_task(here.desk.ask(slow))
    turns = 0
    while not reached.is_set() or turns < 100:
        await asyncio.sleep(0)
        turns += 1
    assert not asked.done()
    opened.set()
    assert await asked != threading.get_ident()


async def test_questions_are_answered_in_one_thread_in_order(here: World) -> None:
    seen: list[int] = []

    def question(number: int) -> int:
        seen.append(number)
        return threading.get_ident()

    asked = [here.desk.ask(lambda store, number=number: question(number)) for number in range(20)]
    threads = await asyncio.gather(*asked)
    assert len(set(threads)) == 1
    assert seen == list(range(20))


async def test_an_error_is_the_askers(here: World) -> None:
    with pytest.raises(PlatformError) as caught:
        await here.desk.ask(lambda store: store.workspace(99))
    assert caught.value.code is Code.NOT_FOUND
    assert len(await here.desk.ask(lambda store: store.users())) == 3


async def test_a_store_that_does_not_open_is_said(tmp_path: Path) -> None:

    def closed() -> Any:
        raise PlatformError(Code.UNAVAILABLE, "The database is damaged; restore it.")

    with pytest.raises(PlatformError, match="damaged"):
        Desk(closed)


async def test_each_wish_is_answered(here: World, wishes: Wishes, ended: list[tuple[str, str]]) -> None:
    await here.enter(ALICE)
    lease = here.grant("bob", 0)
    await here.enter(BOB)
    wanted = [
        here.store.want("recreate", str(ALICE), "root", here.time),
        here.store.end_lease(lease.id, "root", here.time),
        here.store.want("kill", "c1", "root", here.time),
    ]
    await wishes.grant()
    assert [here.store.answer(each) for each in wanted] == [Answer(None)] * 3
    assert await here.backend.inspect(ALICE) is None
    assert ended == [("c1", "An operator ended this session.")]
    here.grant("alice", 0)
    await wishes.grant()
    assert len(ended) == 1


async def test_a_removed_user_is_forgotten(here: World, wishes: Wishes) -> None:
    here.grant("alice", 0)
    await here.enter(ALICE)
    wanted = here.store.remove_user("alice", "root", here.time)
    await wishes.grant()
    assert here.store.answer(wanted) == Answer(None)
    assert await here.backend.inspect(ALICE) is None
    assert ALICE not in here.backend.networks
    here.grant("bob", 0)


async def test_one_wish_that_fails_keeps_no_other(here: World, wishes: Wishes) -> None:
    await here.enter(ALICE)
    verbs = [("kill", "c9"), ("dance", "1"), ("recreate", "no number"), ("recreate", str(ALICE))]
    wanted = [here.store.want(verb, subject, "root", here.time) for verb, subject in verbs]
    await wishes.grant()
    answers = [here.store.answer(each) for each in wanted]
    assert answers[0] == Answer("There is no session c9; see `gpuadmin session list`.", "not_found")
    assert answers[1] == Answer("This gateway cannot dance; upgrade it.", "invalid")
    assert answers[2] is not None
    assert "reference" in str(answers[2].error)
    assert answers[3] == Answer(None)


async def test_one_wish_that_takes_long_keeps_no_other(
    here: World, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = asyncio.Event()
    remove = here.backend.remove

    async def slow(workspace_id: int) -> None:
        if workspace_id == ALICE:
            await opened.wait()
        await remove(workspace_id)

    monkeypatch.setattr(here.backend, "remove", slow)
    late = here.store.want("recreate", str(ALICE), "root", here.time)
    early = here.store.want("recreate", str(BOB), "root", here.time)
    granting = asyncio.create_task(wishes.grant())
    async with asyncio.timeout(10):
        while here.store.answer(early) is None:
            await asyncio.sleep(0.001)
    assert here.store.answer(late) is None
    opened.set()
    await granting
    assert here.store.answer(late) == Answer(None)


async def test_a_wish_under_way_is_not_begun_again(
    here: World, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, tries = asyncio.Event(), []

    async def slow(workspace_id: int) -> None:
        tries.append(workspace_id)
        await opened.wait()

    monkeypatch.setattr(here.backend, "remove", slow)
    wanted = here.store.want("recreate", str(ALICE), "root", here.time)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            await wishes.begin(group)
        opened.set()
    assert (tries, here.store.answer(wanted)) == ([ALICE], Answer(None))


async def test_an_answer_that_cannot_be_recorded_ends_nothing_and_is_given_later(
    here: World, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = here.store.want("recreate", str(ALICE), "root", here.time)

    def fails(*args: object) -> None:
        raise PlatformError(Code.UNAVAILABLE, "The database is busy; try again.")

    with monkeypatch.context() as patch:
        patch.setattr(here._opened[0], "done", fails)
        await wishes.grant()
    assert here.store.answer(wanted) is None
    await wishes.grant()
    assert here.store.answer(wanted) == Answer(None)


async def test_an_engine_that_is_away_is_the_answer(here: World, wishes: Wishes) -> None:
    here.backend.away = True
    wanted = here.store.want("recreate", str(ALICE), "root", here.time)
    await wishes.grant()
    answer = here.store.answer(wanted)
    assert answer is not None
    assert "does not answer" in str(answer.error)
