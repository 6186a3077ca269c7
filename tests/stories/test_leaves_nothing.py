"""Ten thousand sessions leave the gateway and the containers as they were."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.stories.conftest import a_house, ended
from tests.support.census import Census, census, contained, descriptors, memory, observed, runners
from tests.support.crowd import connected, enrol, log_in_often, run_many
from tests.support.house import House, Person, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SESSIONS = 10_000
LOGINS = 1_000

MIB = 1 << 20
POOLED = 80
"""Descriptors of pipes that a worker may keep ready."""
CONNECTED = 40
"""Connections to the engine that the broker keeps for its next questions, at most, beyond those it had."""
FEW = 300
"""Objects of one kind that may be there for other reasons; a leak makes one each login, at least."""
GROWN = 4 * MIB
"""400 bytes a session."""


async def test_ten_thousand_sessions_leave_nothing(base_image: str, figure: Callable[[str], None]) -> None:
    """No descriptor, task, object, process or memory; a thousand of them on connections of their own."""
    house = a_house(base_image)
    house.environment = observed(house.folder, house.environment)
    try:
        house.start()
        people = enrol(house, ["ann", "bob"])
        for person in people:
            assert person.ssh("true").returncode == 0
        # What grows once, such as pools and caches, is no leak.
        await _sessions(people, SESSIONS // 10, LOGINS // 10)
        before, outside = await _settled(house), _outside(house)
        inside = runners(house.containers())
        runner = memory(*inside)
        begun = time.monotonic()
        await _sessions(people, SESSIONS, LOGINS)
        figure(f"{SESSIONS} sessions, and {LOGINS} logins, took {time.monotonic() - begun:.0f} s:")
        after = await _settled(house)
        for pid in house.processes():
            figure(
                f"  {'broker' if pid == house.processes()[0] else 'worker'}: {before[pid]} -> {after[pid]}"
            )
        figure(f"  both runners: {runner / MIB:.1f} MiB -> {memory(*inside) / MIB:.1f} MiB")
        for pid in house.processes():
            _assert_kept(before[pid], after[pid], CONNECTED if pid == house.processes()[0] else 0)
        wait_for(lambda: _outside(house) == outside, "the containers as they were", 20)
        assert memory(*inside) - runner < GROWN
    finally:
        ended(house)


def _assert_kept(was: Census, now: Census, more: int) -> None:
    """A process holds what it held; the broker may have `more` descriptors."""
    assert now.tasks == was.tasks
    assert [kind for kind, count in (now.kinds - was.kinds).items() if count > FEW] == []
    assert now.memory - was.memory < GROWN
    pipes, before = now.descriptors.pop("pipe", 0), was.descriptors.pop("pipe", 0)
    assert pipes <= max(before, POOLED)
    assert sum((now.descriptors - was.descriptors).values()) <= more


async def _sessions(people: list[Person], sessions: int, logins: int) -> None:
    async with connected(people * 10) as connections:
        await run_many(connections, sessions)
    await log_in_often(people * 4, logins)


async def _settled(house: House) -> dict[int, Census]:
    """What each process holds once every connection is forgotten."""
    deadline = time.monotonic() + 60
    while True:
        found = _census(house)
        workers = [found[pid] for pid in house.workers_pids()]
        if all(each.kinds["gateway.ssh.connection.Connection"] == 0 for each in workers):
            return found
        assert time.monotonic() < deadline, [each.kinds.most_common(20) for each in workers]
        await asyncio.sleep(0.1)


def _census(house: House) -> dict[int, Census]:
    before = len(house.events())
    for pid in house.processes():
        os.kill(pid, signal.SIGUSR1)

    def answers() -> list[dict[str, Any]]:
        said = [event for event in house.events()[before:] if event["event"] == "census"]
        return said if len(said) == len(house.processes()) else []

    return {answer["pid"]: census(answer["pid"], answer) for answer in wait_for(answers, "a census")}


def _outside(house: House) -> tuple[dict[int, str], dict[int, Counter[str]], list[str]]:
    """The containers' processes, what the runners have open, and how many pids the kernel counts."""
    containers = house.containers()
    counts = [house.docker("exec", each, "sh", "-c", _PIDS) for each in containers]
    return contained(containers), {pid: descriptors(pid) for pid in runners(containers)}, counts


# cgroup v2 and v1.
_PIDS = "cd /sys/fs/cgroup; cat pids.current 2>/dev/null || cat pids/pids.current"
