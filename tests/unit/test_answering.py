"""Answers to `gpu` before a real store: who may what, how much, and what is left when nobody waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import answering
from gateway.answering import MOST_AT_ONCE, MOST_CHANGES
from gateway.devices import DeviceRequest
from gateway.idleness import Idle, Step
from gateway.quotas import Owner
from gateway.sqlite.holders import MOST_WAITING
from tests.support.stores import gpu
from tests.support.world import World, until, world

ALICE, BOB = 1, 2


@pytest.fixture
async def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Eight GPUs; alice may hold them all."""
    monkeypatch.setattr(answering, "WAIT_LOOK_EVERY", 0.01)
    monkeypatch.setattr(answering, "FREED_WITHIN", 0.0)
    async with world(tmp_path / "state") as made:
        made.store.set_quotas(Owner(user="alice"), {"gpus": 8}, "root", made.time)
        yield made


class Heard:
    """What somebody who typed `gpu` reads."""

    def __init__(self) -> None:
        self.out = self.err = ""

    def say(self, text: str, error: bool) -> None:
        """See Say."""
        if error:
            self.err += text
        else:
            self.out += text


async def ask(lab: World, user_id: int, words: str) -> tuple[int, str, str]:
    """The status and both streams."""
    heard = Heard()
    status = await lab.answering.answer(user_id, words.split(), heard.say)
    return status, heard.out, heard.err


def queued(lab: World) -> list[int]:
    """Whose requests wait."""
    return [each.request.user_id for each in lab.store.waiting(lab.time)]


async def waiting(lab: World, user_id: int, heard: Heard) -> asyncio.Task[int]:
    """Somebody who waits for a GPU, and has been told her place."""
    words = ("request", "1", "--wait")
    task = asyncio.create_task(lab.answering.answer(user_id, words, heard.say))
    await until(lambda: heard.err)
    return task


async def test_who_hangs_up_twice_has_left_the_queue(lab: World) -> None:
    """A session ends and then its connection: the second word comes while the first is being obeyed."""
    lab.grant("alice", *range(8))
    task = await waiting(lab, BOB, Heard())
    assert queued(lab) == [BOB]
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: queued(lab) == [])


async def test_who_hangs_up_while_it_is_written_down_leaves_no_request(lab: World) -> None:
    lab.grant("alice", *range(8))
    begun, go_on = asyncio.Event(), asyncio.Event()
    ask_desk = lab.desk.ask

    async def slow(question: Any) -> Any:
        answer = await ask_desk(question)
        if queued(lab) and not begun.is_set():
            begun.set()
            await go_on.wait()
        return answer

    lab.desk.ask = slow  # type: ignore[method-assign]
    task = asyncio.create_task(lab.answering.answer(BOB, ("request", "1", "--wait"), Heard().say))
    await begun.wait()
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert queued(lab) == []


async def test_a_gateway_that_ends_keeps_the_queue(lab: World) -> None:
    lab.grant("alice", *range(8))
    task = await waiting(lab, BOB, Heard())
    lab.answering.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert queued(lab) == [BOB]


async def test_a_place_is_told_again_when_it_changes(lab: World) -> None:
    held = lab.grant("alice", *range(8))
    lab.store.set_quotas(Owner(user="carol"), {"priority": 9}, "root", lab.time)
    heard = Heard()
    task = await waiting(lab, BOB, heard)
    assert "is number 1 in the queue" in heard.err
    assert (await ask(lab, 3, "release"))[0] == 1
    other = await waiting(lab, 3, Heard())
    await until(lambda: "is number 2 in the queue" in heard.err)
    assert heard.err.count("\n") == 2
    other.cancel()
    lab.store.expire(held.id, "", "root", lab.time)
    lab.store.released(held.id, "root", lab.time)
    await until(lambda: lab.store.serve(lab.time) is not None and task.done())
    assert (await task, heard.out.count("you hold GPU")) == (0, 1)


async def test_so_many_requests_wait_and_no_more(lab: World) -> None:
    lab.grant("alice", *range(8))
    lab.store.set_quotas(Owner(user="bob"), {"gpus": 8}, "root", lab.time)
    tasks = [await waiting(lab, BOB, Heard()) for _ in range(MOST_WAITING)]
    status, out, err = await ask(lab, BOB, "request 1 --wait")
    assert (status, out) == (1, "")
    assert "requests already" in err
    status, out, _ = await ask(lab, BOB, "release")
    assert (status, out.count("is withdrawn.")) == (0, MOST_WAITING)
    assert [await task for task in tasks] == [1] * MOST_WAITING


async def test_one_user_asks_only_so_much_at_once(lab: World) -> None:
    """More is refused; somebody else is answered meanwhile."""
    begun = asyncio.Event()
    ask_desk = lab.desk.ask

    async def held_up(question: Any) -> Any:
        await begun.wait()
        return await ask_desk(question)

    lab.desk.ask = held_up  # type: ignore[method-assign]
    tasks = [asyncio.create_task(ask(lab, ALICE, "status")) for _ in range(MOST_AT_ONCE)]
    await asyncio.sleep(0)
    assert await ask(lab, ALICE, "status") == (75, "", "gpu: Too much is asked at once; ask again\n")
    other = asyncio.create_task(ask(lab, BOB, "status"))
    begun.set()
    assert [status for status, _, _ in await asyncio.gather(*tasks, other)] == [0] * (MOST_AT_ONCE + 1)


async def test_one_user_changes_only_so_much_a_minute(lab: World) -> None:
    for _ in range(MOST_CHANGES):
        assert (await ask(lab, ALICE, "release"))[0] == 1
    assert (await ask(lab, ALICE, "request 1"))[0] == 75
    assert (await ask(lab, ALICE, "status"))[0] == 0
    assert (await ask(lab, BOB, "request 1"))[0] == 0
    lab.time += timedelta(minutes=1)
    assert (await ask(lab, ALICE, "request 1"))[0] == 0


@pytest.mark.parametrize("words", ["request 1", "request 1 --wait", "extend", "release"])
async def test_who_is_disabled_or_gone_changes_nothing(lab: World, words: str) -> None:
    """Her container may run on for a moment, and a program in it asks."""
    lab.grant("bob", 0)
    before = lab.store.held_leases()
    lab.store.set_enabled("bob", False, "root", lab.time)
    status, out, err = await ask(lab, BOB, words)
    assert (status, out, err) == (77, "", "gpu: Your account is disabled or removed; ask your operator\n")
    assert lab.store.held_leases() == before


async def test_what_ends_for_somebody_who_waits_is_not_extended(lab: World) -> None:
    lab.store.set_quotas(Owner(user="bob"), {"gpus": 0}, "root", lab.time)
    lab.store.queue("bob", DeviceRequest(8), timedelta(hours=9), "root", lab.time, preemptible=True)
    lab.store.queue("alice", DeviceRequest(1), timedelta(hours=1), "root", lab.time)
    before = lab.store.held_leases()
    assert [lease.noticed_at for lease in before] == [lab.time]
    status, _, err = await ask(lab, BOB, "extend")
    assert (status, "for somebody who waits" in err) == (1, True)
    assert lab.store.held_leases() == before


async def test_what_is_idle_is_told_of_and_held_off_though_it_may_end_no_later(lab: World) -> None:
    """The lease has its full length already; the workspace without GPUs has nothing that could be kept."""
    lab.grant("bob", 0, hours=24)
    assert (await ask(lab, BOB, "extend"))[0] == 1
    lab.store.set_idle(BOB, Idle(Step.NOTICED, lab.time, True), lab.time)
    assert (
        "\nYour GPUs have nothing to do: your container is stopped at " in (await ask(lab, BOB, "status"))[1]
    )
    for extensions in (1, 2):
        assert await ask(lab, BOB, "extend") == (
            0,
            "What you hold had nothing to do; your container stays until 2026-11-23 15:15 UTC at least.\n",
            "",
        )
        (record,) = [
            each for each in json.loads((await ask(lab, BOB, "status --json"))[1]) if each["kind"] == "idle"
        ]
        assert (record["state"], record["until"]) == ("noticed", "2026-11-23T15:15:00Z")
        assert record["extensions"] == extensions
    status, out, err = await ask(lab, BOB, "extend")
    assert (status, out) == (1, "")
    assert err.startswith(
        "gpu: You held it off 2 times: your container is stopped 2026-11-23 15:15 UTC unless"
    )


async def test_who_asks_for_more_than_she_may_holds_it_off_and_is_told_so(lab: World) -> None:
    lab.grant("bob", 0, hours=24)
    lab.store.set_idle(BOB, Idle(Step.WARNED, lab.time, True), lab.time)
    status, out, err = await ask(lab, BOB, "extend --for 8h")
    assert (status, out.count("your container stays until")) == (1, 1)
    assert "may end" in err
    assert (await ask(lab, BOB, "extend 99"))[0] == 1
    assert lab.store.idle()[BOB].extensions == 1


async def test_a_lease_that_can_end_later_does_and_what_is_idle_is_held_off_with_it(lab: World) -> None:
    lab.grant("bob", 0, hours=8)
    lab.store.set_idle(BOB, Idle(Step.NOTICED, lab.time, True), lab.time)
    status, out, _ = await ask(lab, BOB, "extend --for 1h")
    assert status == 0
    assert [line[:12] for line in out.splitlines()] == ["Lease 1 ends", "What you hol"]


async def test_each_change_is_hers_in_the_events(lab: World) -> None:
    await ask(lab, BOB, "request 1 --for 2h")
    await ask(lab, BOB, "extend --for 1h")
    await ask(lab, BOB, "release")
    rows = lab.store._db.rows("select verb, subject from event where actor = 'bob' order by id")
    told = [row["verb"] for row in rows]
    assert [verb for verb in told if verb in ("allocate", "extend", "end-leases")] == [
        "allocate",
        "extend",
        "end-leases",
    ]


async def test_others_are_told_of_by_name_and_end_alone(lab: World) -> None:
    """What an operator flagged, and when it began, is nobody else's business."""
    lease = lab.grant("alice", 0)
    lab.store.flag_lease(lease.id, "a secret", lab.time)
    _, out, _ = await ask(lab, BOB, "status --json")
    told = [each for each in json.loads(out) if each["id"] == gpu(0).id]
    assert [each["user"] for each in told] == ["alice"]
    assert "secret" not in out
    assert not [each for each in json.loads(out) if each["kind"] != "gpu"]


async def test_a_fault_of_ours_is_a_reference_and_not_a_trace(lab: World) -> None:
    async def broken(question: Any) -> Any:
        raise ZeroDivisionError("inside")

    lab.desk.ask = broken  # type: ignore[method-assign]
    status, out, err = await ask(lab, ALICE, "status")
    assert (status, out) == (1, "")
    assert err.startswith("gpu: Something went wrong inside the gateway; give your operator the reference ")
    assert "inside\n" not in err
