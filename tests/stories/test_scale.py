"""A hundred people on one machine, and hundreds of connections.

Each test tells its figures at the end of the run; docs/performance.md says what they were.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.devices import DeviceRequest
from tests.stories.conftest import a_house, ended
from tests.support.census import contained, memory, runners
from tests.support.crowd import connected, enrol, leave, log_in
from tests.support.house import House, Person, wait_for
from tests.support.nvidia import state
from tests.support.oracle import Oracle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PEOPLE = 100
WAVE = 20
IDLE = 500
GPUS = 16

LISTINGS = ("user list", "workspace list", "session list", "leases", "gpu list", "quota show", "image list")
MIB = 1 << 20

Figure = Callable[[str], None]


@dataclass
class Crowd:
    """A gateway with a hundred people in their containers. `answers` are their first sessions' outputs."""

    house: House
    people: list[Person]
    answers: list[bytes]


@pytest.fixture(scope="module")
def crowd(
    base_image: str, stand_ins: Path, tmp_path_factory: pytest.TempPathFactory, figure: Figure
) -> Iterator[Crowd]:
    """Everybody logs in for the first time, twenty at once. The gateway sees GPUs, the engine has none."""
    gpus = tmp_path_factory.mktemp("gpus") / "state"
    state.write(gpus, state.gpus(GPUS))
    nvml = {"LD_LIBRARY_PATH": str(stand_ins), "NVML_STAND_IN_STATE": str(gpus)}
    house = a_house(base_image, {**os.environ, **nvml})
    try:
        house.start()
        people = enrol(house, [f"user{number}" for number in range(PEOPLE)])
        before = memory(*house.processes())
        answers: list[bytes] = []
        seconds = []
        for start in range(0, PEOPLE, WAVE):
            begun = time.monotonic()
            answers += _all_at_once(people[start : start + WAVE])
            seconds.append(time.monotonic() - begun)
        after = memory(*house.processes())
        figure(f"{WAVE} first logins at once, {len(seconds)} times: {_each(seconds)} s")
        inside = memory(*runners(house.containers())) / PEOPLE
        figure(f"the runner in each container: {inside / MIB:.1f} MiB")
        figure(
            f"all processes, before and with {PEOPLE} containers: {before / MIB:.1f}, {after / MIB:.1f} MiB"
        )
        yield Crowd(house, people, answers)
    finally:
        ended(house)


def test_a_hundred_people_are_each_in_her_own_container(crowd: Crowd) -> None:
    """Her own uid, address and processes; and no container was started twice."""
    for line in range(3):
        assert len({answer.splitlines()[line] for answer in crowd.answers}) == PEOPLE
    started = [event["user"] for event in crowd.house.events() if event["event"] == "container_started"]
    assert len(started) == len(set(started)) == PEOPLE
    assert len(crowd.house.containers()) == PEOPLE


async def test_listings_are_as_quick_for_a_hundred_people_as_for_none(crowd: Crowd, figure: Figure) -> None:
    """What the people cost is less than what starting the program costs."""
    async with connected(crowd.people) as connections:
        for connection in connections:
            for _ in range(3):
                await connection.create_process("cat")
        with _leases(crowd):
            # In a thread, so that the connections live on meanwhile.
            listed, times = await asyncio.to_thread(_listings, crowd.house)
    assert len(listed["user list"]) == len(listed["workspace list"]) == PEOPLE
    assert len(listed["leases"]) == len(listed["gpu list"]) == GPUS
    assert Counter(len(each["sessions"]) for each in listed["session list"]) == {3: PEOPLE}
    assert sum(each["running"] for each in listed["workspace list"]) == PEOPLE
    for words, (wall, cpu) in times.items():
        figure(f"gpuadmin {words}: {wall * 1000:.0f} ms, {cpu * 1000:.0f} ms of a core")
    bare = times["--version"][1]
    assert {words: cpu for words, (_, cpu) in times.items() if cpu > 2 * bare} == {}


async def test_an_idle_connection_takes_a_fifth_of_sshds_memory(
    crowd: Crowd, oracle_image: str, figure: Figure
) -> None:
    """Five hundred of each on the same machine, all processes of either side counted, a session on each."""
    house = crowd.house
    inside = runners(house.containers())
    alone, inside_alone = memory(*house.processes()), memory(*inside)
    async with connected(crowd.people * (IDLE // PEOPLE)) as connections:
        bare = memory(*house.processes())
        for connection in connections:
            await connection.create_process("cat")
        ours, inside_used = memory(*house.processes()), memory(*inside)
    theirs_bare, theirs = await _sshd(oracle_image)
    grown = max(0, inside_used - inside_alone)
    figure(f"{IDLE} idle connections without a session: {_ratio(bare, theirs_bare)}")
    figure(f"{IDLE} idle connections, a session on each: {_ratio(ours + grown, theirs)}")
    figure(f"of which one more connection costs: {(ours + grown - alone) / IDLE / 1024:.1f} KiB")
    assert bare <= 0.2 * theirs_bare
    assert ours + grown <= 0.2 * theirs


def _all_at_once(people: list[Person]) -> list[bytes]:
    clients = [person.start("id -u; hostname -I; ls -id /proc/1/ns/pid") for person in people]
    outputs = [client.communicate(timeout=180) for client in clients]
    assert [
        (client.returncode, out) for client, out in zip(clients, outputs, strict=True) if client.returncode
    ] == []
    return [stdout for stdout, _ in outputs]


@contextmanager
def _leases(crowd: Crowd) -> Iterator[None]:
    """A GPU granted to each of the first people, whose containers go on without it."""
    now = datetime.now(UTC)
    with crowd.house.store() as store:
        wait_for(lambda: len(store.devices()) == GPUS, "the GPUs")
        for person in crowd.people[:GPUS]:
            store.grant(person.name, DeviceRequest(1, ()), None, "test", now)
        try:
            yield
        finally:
            for person in crowd.people[:GPUS]:
                store.end_user_leases(person.name, "test", now)
            wait_for(lambda: not store.held_leases(), "the ends of the leases")


def _listings(house: House) -> tuple[dict[str, list[dict[str, Any]]], dict[str, tuple[float, float]]]:
    """What each listing shows once the broker has told of all sessions, and the times of each."""
    with house.store() as store:
        wait_for(
            lambda: sum(len(each.sessions) for each in store.connections()) == 3 * PEOPLE, "the sessions"
        )
    listed = {words: house.listed(*words.split()) for words in LISTINGS}
    return listed, {words: _times(house, words) for words in ("--version", *LISTINGS)}


def _times(house: House, words: str) -> tuple[float, float]:
    """The median time of a whole `gpuadmin WORDS`, and the least that it used of a core, in seconds."""
    program = [sys.executable, "-c", "from admin.main import main; main()", *words.split()]
    walls, cpus = [], []
    for _ in range(7):
        used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(program, env=house.environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
        walls.append(time.monotonic() - begun)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
    return statistics.median(walls), min(cpus)


async def _sshd(image: str) -> tuple[int, int]:
    """The memory of all of sshd's processes with the idle connections, then with a session on each."""
    oracle = await asyncio.to_thread(Oracle, image)
    connections = []
    try:
        container = subprocess.run(
            ["docker", "inspect", "-f", "{{.Id}}", oracle.name], capture_output=True, text=True, check=True
        ).stdout.strip()

        def processes() -> list[int]:
            return [
                pid
                for pid, line in contained([container]).items()
                if line.startswith(("sshd:", "/usr/sbin/sshd"))
            ]

        for _ in range(IDLE // WAVE):
            some = [log_in(oracle.address, 22, oracle.user, oracle.folder / "id") for _ in range(WAVE)]
            connections += await asyncio.gather(*some)
        # A monitor and an unprivileged process for each connection, and the one that listens.
        wait_for(lambda: len(processes()) == 2 * IDLE + 1, "sshd's processes")
        bare = memory(*processes())
        for connection in connections:
            await connection.create_process("cat")
        return bare, memory(*processes())
    finally:
        await leave(connections)
        oracle.close()


def _each(seconds: list[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in seconds)


def _ratio(ours: int, theirs: int) -> str:
    return f"{ours / IDLE / 1024:.0f} KiB, sshd {theirs / IDLE / 1024:.0f} KiB: {ours / theirs:.2f}"
