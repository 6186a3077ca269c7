"""The broker's socket for one container: who may speak there, and what the rest cannot do to the broker."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import Code, PlatformError
from gateway.runner import codec, link, packets
from gateway.runner.link import RunnerSocket
from gateway.runner.protocol import FROM_BROKER, VERSION, Connection, Hello, Part, Parted, Parting
from tests.support.runner_places import DEADLINE, until

HELLO = codec.encode(Hello(VERSION, ("one", "two")))


class Dialler:
    """Somebody who dials, with a blocking call less than patience."""

    def __init__(self, directory: Path) -> None:
        self._handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        self.open: list[socket.socket] = []

    def dial(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        self.open.append(sock)
        sock.connect(f"/proc/self/fd/{self._handle}/runner.sock")
        return sock

    async def runner(self, listening: RunnerSocket) -> socket.socket:
        sock = self.dial()
        sock.send(HELLO)
        await listening.ready(DEADLINE)
        return sock

    def close(self) -> None:
        for sock in self.open:
            sock.close()
        os.close(self._handle)


async def hung_up(sock: socket.socket) -> None:
    """Wait until the other side has closed."""

    def ended() -> bool:
        try:
            return sock.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    await until(ended, "the broker hung up")


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[RunnerSocket]:
    made = RunnerSocket(tmp_path / "socket", os.getuid())
    yield made
    made.close()


@pytest.fixture
async def dialler(tmp_path: Path, listening: RunnerSocket) -> AsyncIterator[Dialler]:
    made = Dialler(tmp_path / "socket")
    yield made
    made.close()


async def test_modes_of_what_the_container_sees(tmp_path: Path, listening: RunnerSocket) -> None:
    assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o711
    assert stat.S_IMODE((tmp_path / "socket" / "runner.sock").stat().st_mode) == 0o666
    listening.close()
    listening.close()
    assert not list((tmp_path / "socket").iterdir())


async def test_a_path_of_any_length_and_a_stale_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120) / ("y" * 120)
    for _ in range(2):
        made = RunnerSocket(deep, os.getuid())
        stale = made._listener.dup()
        made.close()
        (deep / "runner.sock").touch()
        stale.close()


async def test_a_connection_reaches_the_runner(listening: RunnerSocket, dialler: Dialler) -> None:
    runner = await dialler.runner(listening)
    assert listening.connections == ("one", "two")
    with await listening.connect("three") as ours:
        runner.setblocking(True)
        frame, fds = packets.receive(runner)
        assert codec.decode(frame, len(fds), FROM_BROKER) == Connection("three")
        with socket.socket(fileno=fds[0]) as theirs:
            theirs.send(b"word")
        assert ours.recv(9) == b"word"
        assert not ours.getblocking()


async def test_nobody_there_is_a_sentence(listening: RunnerSocket) -> None:
    with pytest.raises(PlatformError) as late:
        await listening.ready(0.01)
    with pytest.raises(PlatformError) as absent:
        await listening.connect("one")
    assert late.value.code is absent.value.code is Code.UNAVAILABLE


async def test_another_uid_is_sent_away(tmp_path: Path) -> None:
    made = RunnerSocket(tmp_path / "socket", os.getuid() + 1)
    dialler = Dialler(tmp_path / "socket")
    try:
        sock = dialler.dial()
        sock.send(HELLO)
        await hung_up(sock)
        with pytest.raises(PlatformError, match="uid"):
            await made.ready(0.01)
    finally:
        dialler.close()
        made.close()


@pytest.mark.parametrize(
    "words",
    [
        codec.encode(Hello(VERSION + 1, ())),
        codec.encode(Connection("one")),
        b"garbage",
        b"\0\0\0\x02{}",
        HELLO + b"x",
        b"x" * 150_000,
    ],
)
async def test_no_proper_hello_no_runner(listening: RunnerSocket, dialler: Dialler, words: bytes) -> None:
    sock = dialler.dial()
    sock.send(words)
    await hung_up(sock)
    with pytest.raises(PlatformError):
        await listening.ready(0.01)
    await dialler.runner(listening)


async def test_a_hello_with_descriptors_gives_none_away(listening: RunnerSocket, dialler: Dialler) -> None:
    sock = dialler.dial()
    before = len(os.listdir("/proc/self/fd"))
    packets.send(sock, HELLO, [sock.fileno()] * 100)
    await listening.ready(DEADLINE)
    assert len(os.listdir("/proc/self/fd")) == before + 1  # the accepted socket


async def test_silence_is_not_a_hello(
    listening: RunnerSocket, dialler: Dialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_HELLO_SECONDS", 0.05)
    await hung_up(dialler.dial())
    await dialler.runner(listening)


async def test_one_runner_at_a_time_and_the_next_when_it_is_gone(
    listening: RunnerSocket, dialler: Dialler
) -> None:
    first = await dialler.runner(listening)
    second = dialler.dial()
    second.send(HELLO)
    for _ in range(20):
        await asyncio.sleep(0)
    with pytest.raises(BlockingIOError):
        second.recv(1)
    first.close()
    # Ready again means that `second` was accepted and heard.
    await until(lambda: not listening._ready.is_set(), "the first is gone")
    await listening.ready(DEADLINE)
    (await listening.connect("x")).close()
    second.setblocking(True)
    frame, fds = packets.receive(second)
    packets.close_all(fds)
    assert codec.decode(frame, 1, FROM_BROKER) == Connection("x")


async def test_whoever_speaks_out_of_turn_is_dropped(listening: RunnerSocket, dialler: Dialler) -> None:
    runner = await dialler.runner(listening)
    runner.send(HELLO)
    await hung_up(runner)


class Parts:
    """What the broker asks of a runner before its container is stopped."""

    def __init__(self, listening: RunnerSocket) -> None:
        self.begun: list[tuple[int, bool]] = []
        self.asked = asyncio.create_task(
            listening.part("Because.", 600, lambda programs, hook: self.begun.append((programs, hook)))
        )


async def asked_to_part(runner: socket.socket) -> Part:
    """What the runner was told, once it was."""
    loop = asyncio.get_running_loop()
    frame = await asyncio.wait_for(loop.sock_recv(runner, 9999), DEADLINE)
    message = codec.decode(frame, 0, FROM_BROKER)
    assert isinstance(message, Part)
    return message


async def test_a_runner_says_that_its_programs_save_their_work_and_when_they_have(
    listening: RunnerSocket, dialler: Dialler
) -> None:
    runner = await dialler.runner(listening)
    parts = Parts(listening)
    part = await asked_to_part(runner)
    assert (part.seconds, part.reason) == (600, "Because.")
    runner.send(codec.encode(Parting(part.id, 2, True)))
    await until(lambda: parts.begun == [(2, True)], "it has begun")
    assert not parts.asked.done()
    runner.send(codec.encode(Parted(part.id)))
    await asyncio.wait_for(parts.asked, DEADLINE)
    (await listening.connect("still")).close()


async def test_a_runner_that_leaves_or_is_not_there_cannot_be_waited_for(
    listening: RunnerSocket, dialler: Dialler
) -> None:
    with pytest.raises(PlatformError):
        await listening.part("", 0, lambda programs, hook: None)
    runner = await dialler.runner(listening)
    parts = Parts(listening)
    await asked_to_part(runner)
    runner.close()
    with pytest.raises(PlatformError) as gone:
        await asyncio.wait_for(parts.asked, DEADLINE)
    assert gone.value.code is Code.UNAVAILABLE


async def test_who_stops_waiting_may_ask_again_and_old_answers_are_passed_over(
    listening: RunnerSocket, dialler: Dialler
) -> None:
    runner = await dialler.runner(listening)
    former = Parts(listening)
    first = await asked_to_part(runner)
    former.asked.cancel()
    await asyncio.wait([former.asked])
    parts = Parts(listening)
    second = await asked_to_part(runner)
    runner.send(codec.encode(Parting(first.id, 9, True)))
    runner.send(codec.encode(Parted(first.id)))
    runner.send(codec.encode(Parting(second.id, 1, False)))
    await until(lambda: parts.begun == [(1, False)], "the second has begun")
    runner.send(codec.encode(Parted(second.id)))
    await asyncio.wait_for(parts.asked, DEADLINE)
    assert former.begun == []


@pytest.mark.parametrize("asked", [False, True])
async def test_a_runner_that_answers_more_than_was_asked_is_dropped(
    listening: RunnerSocket, dialler: Dialler, asked: bool
) -> None:
    """Else its packets would keep the broker busy for as long as it likes."""
    runner = await dialler.runner(listening)
    if asked:
        parts = Parts(listening)
        part = await asked_to_part(runner)
        runner.send(codec.encode(Parted(part.id)))
        await asyncio.wait_for(parts.asked, DEADLINE)
        runner.send(codec.encode(Parted(part.id)))
    runner.send(codec.encode(Parted(1)))
    await hung_up(runner)


async def test_dialling_in_a_loop_is_accepted_a_few_times_a_second(
    listening: RunnerSocket, dialler: Dialler
) -> None:
    loop = asyncio.get_running_loop()
    started, accepted = loop.time(), 0
    while loop.time() - started < 1.0:
        try:
            dialler.dial().send(b"garbage")
            accepted += 1
        except OSError:  # the backlog is full
            dialler.open.pop().close()
        await asyncio.sleep(0)
    # Four a second, and what the backlog holds.
    assert accepted <= 12
    for sock in dialler.open[:4]:
        await hung_up(sock)
    await asyncio.wait_for(_eventually(listening, dialler), DEADLINE)


async def _eventually(listening: RunnerSocket, dialler: Dialler) -> None:
    """A proper runner gets its turn after the flood."""
    while not listening._ready.is_set():
        try:
            sock = dialler.dial()
            sock.send(HELLO)
        except OSError:
            dialler.open.pop().close()
        await asyncio.sleep(0.05)


async def test_a_runner_that_never_reads_takes_few_descriptors_and_stalls_nobody(
    listening: RunnerSocket, dialler: Dialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_PASS_SECONDS", 0.2)
    runner = await dialler.runner(listening)
    results = await asyncio.gather(*(listening.connect(f"c{n}") for n in range(40)), return_exceptions=True)
    passed = [one for one in results if isinstance(one, socket.socket)]
    failed = [one for one in results if isinstance(one, PlatformError)]
    assert len(passed) + len(failed) == 40
    assert 4 <= len(passed) <= 24
    assert all(one.code is Code.UNAVAILABLE for one in failed)
    # Once it reads, the next one is passed.
    runner.setblocking(True)
    for _ in passed:
        packets.close_all(packets.receive(runner)[1])
    (await listening.connect("again")).close()
    for one in passed:
        one.close()


async def test_a_runner_that_dies_while_a_connection_waits(listening: RunnerSocket, dialler: Dialler) -> None:
    runner = await dialler.runner(listening)
    waiting = [asyncio.create_task(listening.connect(f"c{n}")) for n in range(40)]
    await until(lambda: listening._room is not None, "the socket is full")
    runner.close()
    for result in await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), DEADLINE):
        if isinstance(result, socket.socket):
            result.close()
        else:
            assert isinstance(result, PlatformError)
    assert any(isinstance(task.exception(), PlatformError) for task in waiting)


async def test_closing_wakes_who_waits(listening: RunnerSocket) -> None:
    waiting = asyncio.create_task(listening.ready(DEADLINE))
    await asyncio.sleep(0)
    listening.close()
    with pytest.raises(PlatformError):
        await asyncio.wait_for(waiting, DEADLINE)


async def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        made = RunnerSocket(tmp_path / "socket", os.getuid())
        dialler = Dialler(tmp_path / "socket")
        await dialler.runner(made)
        (await made.connect("one")).close()
        dialler.close()
        made.close()
    assert os.listdir("/proc/self/fd") == before


async def test_no_descriptor_left_is_survived_without_spinning(
    listening: RunnerSocket, dialler: Dialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sock = dialler.dial()
    sock.send(HELLO)
    lowest = os.dup(0)
    os.close(lowest)
    accepts = []
    monkeypatch.setattr(
        listening, "_drop", lambda problem, drop=listening._drop: accepts.append(drop(problem))
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(PlatformError):
            await listening.ready(0.3)
        assert 1 <= len(accepts) <= 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await listening.ready(DEADLINE)
