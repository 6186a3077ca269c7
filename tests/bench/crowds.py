"""Rows of many people at once: two hundred logins, five hundred idle connections, a keystroke in a crowd.

Owns the clients. Memory is counted as the proportional set size of every process of a side
(/proc/PID/smaps_rollup, proc(5)).
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

LOGINS = 200
IDLE = 500
PEOPLE = 10
"""So that no user has more connections than one may have."""
KEYSTROKES = 300
BUSY = 4


def logins(sides: Sides) -> list[Row]:
    """Two hundred clients at once; whoever is refused is told beneath the table."""
    failed: dict[str, list[int]] = {"gateway": [], "sshd": []}
    ours = [sides.house.people[name].config for name in _people(sides)]
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
    names = _people(sides)
    keys = [sides.house.people[name].folder / "id" for name in names]
    ours = [("127.0.0.1", sides.house.port, name, key) for name, key in zip(names, keys, strict=True)]
    theirs = [(sides.oracle.address, 22, "alice", sides.oracle.folder / "id")]
    gateway = asyncio.run(_idle(ours, lambda: _family(_gateway_pid(sides))))
    sshd = asyncio.run(_idle(theirs, lambda: _family(_container_pid(sides))))
    return [Row("memory of an idle connection, at 500", "sshd", "KiB", (gateway,), (sshd,), 0.2)]


def keystrokes(sides: Sides) -> list[Row]:
    """The round trip of one key through a terminal, while four others download as fast as they can."""
    figures: dict[str, list[float]] = {}
    for side in (sides.ours, sides.theirs):
        with _downloads(side), _terminal(side) as terminal:
            figures[side.name] = [_pressed(terminal) for _ in range(KEYSTROKES)]
    return [
        Row(
            f"keystroke among {BUSY} downloads, {name}",
            "sshd",
            "s",
            (percentile(figures["gateway"], share),),
            (percentile(figures["sshd"], share),),
            target,
        )
        for name, share, target in (("p99", 0.99, 2.0), ("p50", 0.5, None))
    ]


def _people(sides: Sides) -> list[str]:
    """Enough users with warm containers."""
    names = [f"bench{number}" for number in range(PEOPLE)]
    for name in names:
        if name not in sides.house.people:
            sides.house.add(name)
            assert sides.house.people[name].ssh("true").returncode == 0
    return names


async def _idle(accounts: Sequence[tuple[str, int, str, Path]], size: object) -> float:
    """KiB a connection: what `size` counts with all of them open."""
    assert callable(size)
    gate = asyncio.Semaphore(8)

    async def connect(host: str, port: int, user: str, key: Path) -> asyncssh.SSHClientConnection:
        async with gate:
            return await asyncssh.connect(
                host,
                port,
                username=user,
                client_keys=[str(key)],
                known_hosts=None,
                config=None,
                agent_path=None,
            )

    wanted = [accounts[number % len(accounts)] for number in range(IDLE)]
    connections = await asyncio.gather(*(connect(*account) for account in wanted))
    try:
        return float(size()) / IDLE
    finally:
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.wait_closed() for connection in connections))


def _gateway_pid(sides: Sides) -> int:
    assert sides.house.process is not None
    return sides.house.process.pid


def _container_pid(sides: Sides) -> int:
    return int(sides.house.docker("inspect", "-f", "{{.State.Pid}}", sides.oracle.name))


def _family(pid: int) -> int:
    """KiB of a process and all that descend from it."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(_family(int(child)) for child in children)


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
