"""Notices of the platform: on every open terminal, in one piece, and not one byte anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ssh import words
from gateway.ssh.notices import MOST_WAITING, Notices
from tests.support.front import Front, front, until


class Channel:
    """Keeps what is written to it; `full` tells its notices to wait after each write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.full = False
        self.closed = False
        self.notices = Notices(self)

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """See pump.Channel."""
        if self.closed:
            raise BrokenPipeError("Channel not open for sending")
        assert datatype is None
        self.written.append(data)
        if self.full:
            self.notices.pause()

    def pause_reading(self) -> None:
        """See pump.Channel."""

    def resume_reading(self) -> None:
        """See pump.Channel."""


def test_a_notice_is_a_line_of_its_own_with_a_bell_and_steers_no_terminal() -> None:
    assert words.notice("your \x1b[2Jlease\nends \x9b") == b"\r\n\agpu-gateway: your  [2Jlease ends  \r\n"


def test_of_what_a_full_channel_keeps_waiting_the_newest_are_shown() -> None:
    channel = Channel()
    channel.notices.pause()
    for number in range(1000):
        channel.notices.show(b"%d" % number)
    assert channel.written == []
    channel.notices.resume()
    assert channel.written == [b"%d" % number for number in range(1000 - MOST_WAITING, 1000)]


def test_a_channel_that_fills_up_in_between_gets_the_rest_later() -> None:
    channel = Channel()
    channel.notices.pause()
    channel.notices.show(b"1")
    channel.notices.show(b"2")
    channel.full = True
    channel.notices.resume()
    assert channel.written == [b"1"]
    channel.notices.resume()
    assert channel.written == [b"1", b"2"]


def test_a_channel_that_is_closed_takes_nothing_and_harms_nobody() -> None:
    channel = Channel()
    channel.closed = True
    channel.notices.show(b"1")
    assert channel.written == []


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """Two workers, two people."""
    async with front(tmp_path, monkeypatch, 2) as made:
        made.add(1, "alice")
        made.add(2, "bob")
        yield made


class Client:
    """One ssh that is left running; `seen` is what came, once somebody reads."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen = b""

    async def read(self, pattern: bytes) -> bytes:
        """Read until `pattern` was seen; all that came so far."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while not re.search(pattern, self.seen):
                piece = await self.process.stdout.read(65536)
                assert piece, self.seen[-2000:]
                self.seen += piece
        return self.seen


@contextlib.asynccontextmanager
async def client(here: Front, user: str, *more: str) -> AsyncIterator[Client]:
    """`ssh` of this user, ended afterwards."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = await asyncio.create_subprocess_exec(*here.arguments(user, *more), **pipes)
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


LIVE = "echo re''ady; cat"


async def test_every_terminal_of_hers_shows_it_and_nothing_else_gets_a_byte(here: Front) -> None:
    """Two terminals on two workers, beside a command and a shell without one, and bob's terminal."""
    async with (
        client(here, "alice", "-tt", "localhost", LIVE) as one,
        client(here, "alice", "-tt", "localhost") as two,
        client(here, "alice", "localhost", LIVE) as command,
        client(here, "alice", "-T", "localhost") as shell,
        client(here, "bob", "-tt", "localhost", LIVE) as bob,
    ):
        for typing in (two, shell):
            assert typing.process.stdin is not None
            typing.process.stdin.write((LIVE + "\n").encode())
        for each in (one, two, command, shell, bob):
            await each.read(rb"\bready\r?\n")
        assert len({id(each.worker) for each in here.connections.of_user(1)}) == 2
        here.reception.announce(1, "Lease 3 ends in 10m.\x1b[2J")
        for each in (one, two):
            assert (await each.read(rb"ends in 10m")).endswith(
                b"ready\r\n\r\n\agpu-gateway: Lease 3 ends in 10m. [2J\r\n"
            )
        here.reception.announce(2, "For bob.")
        await bob.read(rb"\r\n\agpu-gateway: For bob.\r\n")
        assert b"Lease" not in bob.seen
        for quiet in (command, shell):
            assert quiet.process.stdin is not None
            quiet.process.stdin.write_eof()
            out, err = await quiet.process.communicate()
            assert (quiet.seen + out, err) == (b"ready\n", b"gpu-gateway: starting your container\n")


def stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def parent(pid: int) -> int:
    """Who started it."""
    return int(stat(pid)[1])


async def asleep(pids: set[int]) -> None:
    """Wait until nobody of these has anything to do: what one of them could pass on, nobody takes."""
    times = 0
    async with asyncio.timeout(60):
        while times < 10:
            await asyncio.sleep(0.02)
            times = times + 1 if {stat(pid)[0] for pid in pids} == {"S"} else 0


async def test_a_reader_who_is_stalled_keeps_nobody_waiting_and_gets_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Her program is blocked in a write, hundreds of notices come, and her other terminal shows them all.

    One worker, which has shown the last to both when one has it.
    """
    number = tmp_path / "pid"
    script = tmp_path / "flood.py"
    script.write_text(
        "import os\nwhile True:\n    os.write(1, b'x' * 65535 + b'\\n')\n"
        f"    open({str(number)!r}, 'w').write(str(os.getpid()))\n"
    )
    async with front(tmp_path, monkeypatch) as here:
        here.add(1, "alice")
        async with (
            client(
                here, "alice", "-tt", "localhost", f"stty -opost; exec /usr/bin/python3 {script}"
            ) as stalled,
            client(here, "alice", "-tt", "localhost", LIVE) as other,
        ):
            await other.read(rb"\bready\r\n")
            await until(lambda: number.exists() and number.read_text())
            flood = int(number.read_text())
            carriers = {parent(flood), stalled.process.pid, *(worker.process.pid for worker in here.live)}
            await asleep({flood, *carriers})
            for count in range(500):
                here.reception.announce(1, f"Notice {count}. " + "x" * 500)
            await other.read(rb"Notice 499\.")
            assert other.seen.count(b"Notice ") == 500
            await stalled.read(rb"Notice 499\.")
            assert stalled.seen.count(b"Notice ") <= MOST_WAITING + 1


async def test_a_notice_for_whoever_has_left_is_nothing(here: Front) -> None:
    """The connection ends while the notice is on its way; the worker lives on."""
    async with client(here, "alice", "-tt", "localhost", LIVE) as one:
        await one.read(rb"\bready\r\n")
    here.reception.announce(1, "Too late.")
    await until(lambda: not here.connections.of_user(1))
    here.reception.announce(1, "Too late.")
    assert (await here.ssh("alice", "localhost", "true"))[0] == 0
    assert os.path.getsize(here.log) == 0, here.log.read_text()
