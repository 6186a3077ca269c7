"""Rows of many people at once: two hundred logins, five hundred idle connections, a keystroke in a crowd.

Owns what each crowd does. Memory is that of every process of a side.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncssh

from tests.bench.figures import Row, percentile
from tests.bench.sides import LONGEST, Side, Sides
from tests.bench.timing import in_turn
from tests.support.census import memory as memory_of
from tests.support.crowd import AT_ONCE, enrol, leave, log_in
from tests.support.house import Person

Account = tuple[str, int, str, Path]

LOGINS = 200
IDLE = 500
PEOPLE = 10
"""So that no user has more connections than one may have."""
KEYSTROKES = 300
KEYSTROKE_RUNS = 5
BUSY = 4


def logins(sides: Sides) -> list[Row]:
    """Two hundred clients at once; whoever is refused is told beneath the table."""
    failed: dict[str, list[int]] = {"gateway": [], "sshd": []}
    ours = [person.config for person in _people(sides)]
    theirs = [sides.theirs.config]

    def crowd(side: Side, configs: Sequence[Path]) -> None:
        clients = [
            subprocess.Popen(
                Side(side.name, configs[number % len(configs)], side.options).ssh("true"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number in range(LOGINS)
        ]
        failed[side.name].append(sum(client.wait(LONGEST) != 0 for client in clients))

    pairs = in_turn(lambda: crowd(sides.ours, ours), lambda: crowd(sides.theirs, theirs), 3)
    note = f"refused or lost: ours {failed['gateway'][1:]}, theirs {failed['sshd'][1:]}"
    return [Row("200 logins at once", "sshd", "s", *pairs, 0.3, note)]


def memory(sides: Sides) -> list[Row]:
    """KiB a connection, all processes of a side counted, with five hundred idle ones."""
    ours = [("127.0.0.1", person.house.port, person.name, person.folder / "id") for person in _people(sides)]
    theirs = [(sides.oracle.address, 22, "alice", sides.oracle.folder / "id")]
    assert sides.house.process is not None
    sshd = int(sides.house.docker("inspect", "-f", "{{.State.Pid}}", sides.oracle.name))
    gateway = asyncio.run(_idle(ours, sides.house.process.pid))
    other = asyncio.run(_idle(theirs, sshd))
    return [Row("memory of an idle connection, at 500", "sshd", "KiB", (gateway,), (other,), 0.2)]


def keystrokes(sides: Sides) -> list[Row]:
    """The round trip of one key through a terminal, while four others download as fast as they can.

    A percentile of one run is three keys of it, so each side has several, in turn.
    """
    runs: dict[str, list[list[float]]] = {sides.ours.name: [], sides.theirs.name: []}
    for _ in range(KEYSTROKE_RUNS):
        for side in (sides.ours, sides.theirs):
            with _downloads(side), _terminal(side) as terminal:
                runs[side.name].append([_pressed(terminal) for _ in range(KEYSTROKES)])
    return [
        Row(
            f"keystroke among {BUSY} downloads, {name}",
            "sshd",
            "s",
            tuple(percentile(run, share) for run in runs[sides.ours.name]),
            tuple(percentile(run, share) for run in runs[sides.theirs.name]),
            target,
        )
        for name, share, target in (("p99", 0.99, 2.0), ("p50", 0.5, None))
    ]


def _people(sides: Sides) -> list[Person]:
    """Enough users with warm containers."""
    names = [f"bench{number}" for number in range(PEOPLE)]
    if names[0] not in sides.house.people:
        for person in enrol(sides.house, names):
            assert person.ssh("true").returncode == 0
    return [sides.house.people[name] for name in names]


async def _idle(accounts: Sequence[Account], pid: int) -> float:
    """KiB a connection of the process `pid` and its descendants, with all connections open."""
    connections: list[asyncssh.SSHClientConnection] = []
    try:
        for start in range(0, IDLE, AT_ONCE):
            wanted = [accounts[number % len(accounts)] for number in range(start, start + AT_ONCE)]
            connections += await asyncio.gather(*(log_in(*account) for account in wanted))
        return memory_of(*_family(pid)) / 1024 / IDLE
    finally:
        await leave(connections)


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


@contextmanager
def _downloads(side: Side) -> Iterator[None]:
    """Other connections that take what they can get."""
    with ExitStack() as stack:
        for _ in range(BUSY):
            busy = subprocess.Popen(
                side.ssh("exec cat /dev/zero"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        yield


@contextmanager
def _terminal(side: Side) -> Iterator[subprocess.Popen[bytes]]:
    """A raw terminal that gives back what is typed."""
    command = side.ssh("stty raw -echo; echo ready; exec cat", options=("-tt",))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    said = b""
    while b"ready" not in said:
        piece = os.read(process.stdout.fileno(), 4096)
        assert piece, said
        said += piece
    while b"\n" not in said[said.index(b"ready") :]:
        said += os.read(process.stdout.fileno(), 4096)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _pressed(terminal: subprocess.Popen[bytes]) -> float:
    """Seconds until a key has come back; people type twenty in a second at most."""
    assert terminal.stdin is not None
    assert terminal.stdout is not None
    time.sleep(0.02)
    started = time.perf_counter()
    os.write(terminal.stdin.fileno(), b"x")
    assert os.read(terminal.stdout.fileno(), 64) == b"x"
    return time.perf_counter() - started
