"""Places where a runner runs for a test: this machine or a container, with descriptors or over a stream.

Owns starting and ending them. A test asks its place for connections and cannot tell the four apart.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.pipes import make
from gateway.ports import PipeSet
from gateway.runner.bundle import COMMAND, MOUNTED_AT, write_bundle
from gateway.runner.client import RunnerClient
from gateway.runner.execution import Execution
from gateway.runner.link import RunnerSocket
from gateway.sessions import Exit, Kind, Pty, SessionRequest, Window
from tests.support.runner_box import UID, RunnerBox

DEADLINE = 20.0
_FLAGS = ("-I", "-S", "-B")
# What plays the container's own Python on this machine; RUNNER_PYTHON names another, such as a 3.9.
_LOCAL = os.environ.get("RUNNER_PYTHON") or (
    "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
)


async def pipes() -> PipeSet:
    """What a broker answers a worker that asks for pipes."""
    return PipeSet.of(make(1))


async def until(claim: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a claim to hold, and fail with its name when it never does."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"never became true: {what}"
        await asyncio.sleep(0.01)


def exec_(command: str | bytes, env: dict[str, str] | None = None) -> SessionRequest:
    """An exec request without a terminal."""
    raw = command.encode() if isinstance(command, str) else command
    return SessionRequest(Kind.EXEC, raw, env or {})


def pty(command: str = "", modes: dict[int, int] | None = None) -> SessionRequest:
    """A shell, or a command, on a terminal of 80 by 24."""
    kind = Kind.EXEC if command else Kind.SHELL
    return SessionRequest(kind, command.encode(), {}, Pty("xterm", Window(80, 24), modes or {}))


async def readable(fd: int) -> None:
    """Wait until a descriptor has something to tell."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, lambda: ready.done() or ready.set_result(None))
    try:
        await asyncio.wait_for(ready, DEADLINE)
    finally:
        loop.remove_reader(fd)


async def read_all(fd: int) -> bytes:
    """Everything until the end."""
    data = bytearray()
    while True:
        await readable(fd)
        with suppress(BlockingIOError):
            try:
                piece = os.read(fd, 65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                return bytes(data)
            data += piece


async def read_until(fd: int, wanted: bytes) -> bytes:
    """Read until `wanted` is among what came."""
    data = bytearray()
    while wanted not in data:
        await readable(fd)
        piece = os.read(fd, 65536)
        assert piece, f"ended before {wanted!r}: {bytes(data)!r}"
        data += piece
    return bytes(data)


async def write_all(fd: int, data: bytes) -> None:
    """Write with back-pressure; a broken pipe ends it."""
    loop = asyncio.get_running_loop()
    rest = memoryview(data)
    while rest:
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(fd, lambda r=ready: r.done() or r.set_result(None))
        try:
            await asyncio.wait_for(ready, DEADLINE)
        finally:
            loop.remove_writer(fd)
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            continue
        except BrokenPipeError:
            return


@dataclass(frozen=True)
class Finished:
    """All that a program said."""

    out: bytes
    err: bytes
    exit: Exit


async def finish(execution: Execution, data: bytes = b"") -> Finished:
    """Feed a program without a terminal and collect what it says."""

    async def feed() -> None:
        assert execution.stdin is not None
        await write_all(execution.stdin, data)
        execution.close_stdin()

    try:
        _, out, err = await asyncio.gather(
            feed(), read_all(execution.stdout), read_all(execution.stderr or -1)
        )
        return Finished(out, err, await asyncio.wait_for(execution.wait(), DEADLINE))
    finally:
        execution.close()


async def run(client: RunnerClient, request: SessionRequest | str, data: bytes = b"") -> Finished:
    """Start a program without a terminal, and finish it."""
    request = exec_(request) if isinstance(request, str) else request
    return await finish(await client.start(request), data)


class Place:
    """Where the runner runs. `directory` is a directory that the programs can write, by its name there."""

    directory: str
    runner_pid: Callable[[], int]
    link: RunnerSocket
    container: str = ""

    @property
    def as_root(self) -> bool:
        """Whether the programs run as root."""
        return not self.container and os.getuid() == 0

    def __init__(self) -> None:
        self.clients: list[RunnerClient] = []
        self.scratch = Path(tempfile.mkdtemp(prefix="runner-place-"))
        self.bundle = self.scratch / "runner.pyz"
        self.closers: list[Callable[[], object]] = [lambda: shutil.rmtree(self.scratch)]
        self.open: Callable[[], Awaitable[socket.socket]]
        write_bundle(self.bundle)

    async def client(self) -> RunnerClient:
        """A new connection."""
        client = RunnerClient(await self.open(), pipes)
        self.clients.append(client)
        return client

    def serves(self, former: int) -> bool:
        """Whether a runner is connected that is not `former`."""
        return self.link._ready.is_set() and self.runner_pid() != former

    def close(self) -> None:
        """End everything that this place started."""
        for client in self.clients:
            client.close()
        for closer in reversed(self.closers):
            closer()

    def processes(self, mark: str) -> list[int]:
        """Pids of live programs whose arguments hold `mark`, wherever they run."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                arguments = (entry / "cmdline").read_bytes()
                if mark.encode() in arguments and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
        return found


async def until_ended(place: Place, mark: str) -> None:
    """Wait until what `mark` names was seen to run and is gone.

    By pid: a program that is just being replaced by another shows no arguments and would look gone.
    """
    pids: list[int] = []
    await until(lambda: pids.extend(place.processes(mark)) or pids, f"{mark} runs")
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), f"{mark} has ended")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process group that a test started, and reap its leader."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def local_descriptors() -> Place:
    """A runner on this machine under the loop of its containers, dialling a broker's socket."""
    place = Place()
    place.directory = str(place.scratch)
    link = RunnerSocket(place.scratch / "socket", os.getuid())
    place.closers.append(link.close)
    flags = " ".join(_FLAGS)
    runner = f"{_LOCAL} {flags} {place.bundle} {place.scratch}/socket/runner.sock"
    loop = COMMAND[2].replace(str(Path(MOUNTED_AT).parent), str(place.scratch))
    shell = [*COMMAND[:2], loop.replace(f"/usr/bin/python3 {flags} r*.pyz", runner)]
    assert runner in shell[2]
    process = subprocess.Popen(shell, start_new_session=True, stdin=subprocess.DEVNULL)
    place.closers.append(lambda: end(process))
    return await _linked(place, link)


async def local_stream() -> Place:
    """A runner on this machine for each connection, over one byte stream."""
    place = Place()
    place.directory = str(place.scratch)
    _streamed(place, [_LOCAL, *_FLAGS, str(place.bundle), "--stream"])
    return place


async def container_descriptors(box: RunnerBox) -> Place:
    """The runner of a container, which dials this place's socket in the mounted directory."""
    place = Place()
    place.directory, place.container = "/tmp", box.name
    link = RunnerSocket(box.sockets, UID)
    place.closers.append(link.close)
    return await _linked(place, link)


async def container_stream(box: RunnerBox) -> Place:
    """A runner in a container for each connection, over the byte stream of an engine's exec."""
    place = Place()
    place.directory, place.container = "/tmp", box.name
    _streamed(place, ["docker", "exec", "-i", box.name, "/usr/bin/python3", *_FLAGS, MOUNTED_AT, "--stream"])
    return place


async def _linked(place: Place, link: RunnerSocket) -> Place:
    """Wait for the runner; connections come through the broker's socket."""
    place.open = lambda: link.connect(uuid.uuid4().hex)
    place.link = link
    place.runner_pid = lambda: _peer(link)
    try:
        await link.ready(DEADLINE)
    except BaseException:
        place.close()
        raise
    return place


def _peer(link: RunnerSocket) -> int:
    """The runner's pid as this machine counts."""
    assert link._runner is not None
    return int.from_bytes(link._runner.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")


def _streamed(place: Place, command: list[str]) -> None:
    """Connections are processes that speak the stream on their standard descriptors."""

    async def open_stream() -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(command, stdin=theirs, stdout=theirs, start_new_session=True)
        place.closers.append(lambda: end(process))
        return ours

    place.open = open_stream
