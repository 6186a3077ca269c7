"""A worker's memory stays flat, whatever passes through it and however badly its client reads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.support.house import House, Person

ALL = 1 << 30
MOST = 16 << 20
WIDEST = (1 << 31) - 1
"""A window that lets the server send everything at once."""

_SLOW_READER = """
import os, sys, time
total = 0
while data := os.read(0, 1 << 20):
    total += len(data)
    time.sleep(0.002)
sys.stdout.write(str(total))
"""
_SERVER = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
os.write(1, b"%d\\n" % listener.getsockname()[1])
peer, _ = listener.accept()
while peer.send(bytes(1 << 16)): pass
"""
_SINK = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
os.write(1, b"%d\\n" % listener.getsockname()[1])
peer, _ = listener.accept()
total = 0
while data := peer.recv(1 << 20): total += len(data)
peer.sendall(b"%d" % total)
"""


def _memory(pid: int, name: str) -> int:
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name)
    )
    return int(line.split()[1]) * 1024


class Watched:
    """The workers' memory from here on."""

    def __init__(self, house: House) -> None:
        self._before = {pid: _memory(pid, "VmRSS") for pid in house.workers_pids()}
        for pid in self._before:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): the peak begins anew

    def grown(self) -> int:
        """By how much the largest peak lies above what was before."""
        return max(_memory(pid, "VmHWM") - before for pid, before in self._before.items())

    async def settled(self) -> None:
        """Wait until nothing has grown for a while: whatever could pile up has done so."""
        last, same = -1, 0
        async with asyncio.timeout(120):
            while same < 30:
                await asyncio.sleep(0.1)
                now = self.grown()
                same = same + 1 if now == last else 0
                last = now


@pytest.fixture
def watched(home: House, alice: Person) -> Watched:
    """After everything that is needed once has been loaded."""
    data = bytes(32 << 20)
    assert alice.ssh("cat", stdin=data).stdout == data
    return Watched(home)


class Count(asyncssh.SSHClientSession[bytes], asyncssh.SSHTCPSession[bytes]):
    """Keeps nothing of what it hears."""

    def __init__(self) -> None:
        self.heard = 0
        self.over = asyncio.Event()
        self.channel: Any = None

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.heard += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()


@asynccontextmanager
async def _connected(person: Person) -> AsyncIterator[Any]:
    async with asyncssh.connect(
        "127.0.0.1",
        person.house.port,
        username=person.name,
        client_keys=[str(person.folder / "id")],
        known_hosts=None,
        config=None,
    ) as client:
        try:
            yield client
        finally:
            client.abort()  # one that was told not to read would wait for the server's last words


@contextmanager
def _inside(person: Person, program: str) -> Iterator[int]:
    """A program in the container that says its port."""
    client = person.start("exec python3 -c '" + program.replace("'", '"') + "'")
    try:
        assert client.stdout is not None
        yield int(client.stdout.readline())
    finally:
        client.kill()
        client.communicate()


def test_an_upload_waits_at_the_client(alice: Person, watched: Watched) -> None:
    """Until the program reads, however long that takes."""
    size = 96 << 20
    assert alice.ssh("sleep 1; wc -c", stdin=bytes(size)).stdout == b"%d\n" % size
    assert watched.grown() < MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gigabyte_down_to_a_slow_reader(alice: Person, watched: Watched) -> None:
    """A program's output waits in the program."""
    with alice.start(f"head -c {ALL} /dev/zero") as client:
        read = subprocess.run([sys.executable, "-c", _SLOW_READER], stdin=client.stdout, capture_output=True)
    assert int(read.stdout) == ALL
    assert watched.grown() < MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gigabyte_up_to_a_slow_reader(alice: Person, watched: Watched) -> None:
    """A client's input waits at the client; keys are renewed on the way."""
    source = subprocess.Popen(["head", "-c", str(ALL), "/dev/zero"], stdout=subprocess.PIPE)
    with alice.start("sleep 3; wc -c", stdin=source.stdout, options=["-o", "RekeyLimit=64M"]) as client:
        assert client.stdout is not None
        assert int(client.stdout.read()) == ALL
    source.communicate()
    assert watched.grown() < MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gigabyte_of_a_terminal(alice: Person, watched: Watched) -> None:
    """Which the runner relays."""
    with alice.start(f"stty raw; head -c {ALL} /dev/zero", options=["-tt"]) as client:
        read = subprocess.run([sys.executable, "-c", _SLOW_READER], stdin=client.stdout, capture_output=True)
    assert int(read.stdout) == ALL
    assert watched.grown() < MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gigabyte_through_a_forward_both_ways(alice: Person, watched: Watched) -> None:
    with _inside(alice, _SERVER) as port, alice.start(options=["-W", f"127.0.0.1:{port}"]) as client:
        assert client.stdout is not None
        head = subprocess.run(["head", "-c", str(ALL)], stdin=client.stdout, stdout=subprocess.PIPE)
        assert len(head.stdout) == ALL
        client.kill()
    with _inside(alice, _SINK) as port:
        source = subprocess.Popen(["head", "-c", str(ALL), "/dev/zero"], stdout=subprocess.PIPE)
        with alice.start(stdin=source.stdout, options=["-W", f"127.0.0.1:{port}"]) as client:
            assert client.stdout is not None
            assert int(client.stdout.read()) == ALL
        source.communicate()
    assert watched.grown() < MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_client_that_grants_everything_and_reads_nothing(alice: Person, watched: Watched) -> None:
    """2 GiB of window, and a socket that nobody reads; afterwards every byte comes."""
    async with _connected(alice) as client:
        _, heard = await client.create_session(
            Count, f"head -c {ALL} /dev/zero", window=WIDEST, encoding=None
        )
        client._transport.pause_reading()
        await watched.settled()
        assert heard.heard < ALL
        assert watched.grown() < MOST
        client._transport.resume_reading()
        await asyncio.wait_for(heard.over.wait(), 300)
    assert heard.heard == ALL
    assert watched.grown() < MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_forward_that_nobody_reads(alice: Person, watched: Watched) -> None:
    with _inside(alice, _SERVER) as port:
        async with _connected(alice) as client:
            _, heard = await client.create_connection(Count, "127.0.0.1", port, window=WIDEST, encoding=None)
            client._transport.pause_reading()
            await watched.settled()
            assert watched.grown() < MOST
            client.abort()
    del heard


@asynccontextmanager
async def _reverse(
    person: Person, client: Any, program: str
) -> AsyncIterator[tuple[Count, subprocess.Popen[bytes]]]:
    """The client's end of a reverse forward, with 2 GiB of window, and `program` inside, with 3 the other."""
    calls: asyncio.Queue[Count] = asyncio.Queue()

    def called(host: str, port: int) -> Count:
        calls.put_nowait(call := Count())
        return call

    listener = await client.create_server(called, "", 0, window=WIDEST, encoding=None)
    inside = person.start(f"exec 3<>/dev/tcp/127.0.0.1/{listener.get_port()}; {program}")
    try:
        yield await asyncio.wait_for(calls.get(), 30), inside
    finally:
        inside.kill()
        inside.communicate()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_reverse_forward_that_its_client_does_not_read(alice: Person, watched: Watched) -> None:
    """A program inside sends without end to a client that has granted everything; later bytes come again."""
    async with _connected(alice) as client, _reverse(alice, client, "cat /dev/zero >&3") as (call, _):
        client._transport.pause_reading()
        await watched.settled()
        assert watched.grown() < MOST
        before = call.heard
        client._transport.resume_reading()
        async with asyncio.timeout(60):
            while call.heard < before + (64 << 20):
                await asyncio.sleep(0.05)
        assert watched.grown() < MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_reverse_forward_that_its_caller_does_not_read(alice: Person, watched: Watched) -> None:
    """What the client sends waits at the client until the program inside reads, and then all of it comes."""
    size = 256 << 20
    program = f"read go; head -c {size} <&3 | wc -c"
    async with _connected(alice) as client, _reverse(alice, client, program) as (call, inside):
        call.channel.write(bytes(size))
        await watched.settled()
        assert watched.grown() < MOST
        assert call.channel.get_write_buffer_size() > size // 2
        said, _ = await asyncio.to_thread(inside.communicate, b"go\n", 60)
        assert int(said) == size
        assert watched.grown() < MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("program", ["cat /dev/zero", "yes"])
async def test_new_keys_that_are_begun_and_never_made(alice: Person, watched: Watched, program: str) -> None:
    """Output waits for the end of a key exchange, and must do so in the program."""
    async with _connected(alice) as client:
        await client.create_session(Count, program, window=WIDEST, encoding=None)
        client._send_kexinit()
        silent: Callable[..., None] = lambda *packet, **handler: None  # noqa: E731
        client.send_packet = silent
        await watched.settled()
        assert watched.grown() < MOST
        client.abort()
