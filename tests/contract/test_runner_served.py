"""A real runner and a worker that speaks nonsense: it lets go, leaks nothing and serves the others."""

from __future__ import annotations

import os
import signal
import socket
import struct
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from gateway.runner import codec, packets, protocol
from gateway.runner.protocol import Dial, Message, Resize, Start
from gateway.sessions import Window
from tests.support.runner_places import Place, exec_, local_descriptors, local_stream, pty, run, until

BREAK = codec.encode(protocol.Break(1))
START = codec.encode(Start.of(1, exec_("true")))
TERMINAL = codec.encode(Start.of(1, pty("true")))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = await local_descriptors()
    yield made
    made.close()


def descriptors(place: Place) -> int:
    return len(os.listdir(f"/proc/{place.runner_pid()}/fd"))


async def hung_up(sock: socket.socket) -> None:
    def ended() -> bool:
        try:
            return sock.recv(65536) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    await until(ended, "the runner hung up")


@pytest.mark.parametrize(
    ("frame", "count"),
    [
        (b"x", 0),
        (b"x" * 200_000, 0),
        (struct.pack(">I", 2**32 - 1) + b"{}", 0),
        (BREAK, 1),
        (BREAK, 100),
        (START, 0),
        (START, 2),
        (START, 4),
        (START, 200),
        (TERMINAL, 3),
        (codec.encode(Dial(1, "localhost", 1)), 0),
        (codec.encode(protocol.Started(1, 1)), 0),
        (codec.encode(protocol.Data(1, 0, b"x")), 0),
    ],
)
async def test_nonsense_ends_one_connection_and_leaks_nothing(place: Place, frame: bytes, count: int) -> None:
    other = await place.client()
    assert (await run(other, "echo fine")).out == b"fine\n"
    before = descriptors(place)
    sock = await place.open()
    with sock:
        packets.send(sock, frame, [sock.fileno()] * count)
        await hung_up(sock)
    await until(lambda: descriptors(place) <= before, "the runner's descriptors are closed")
    assert (await run(other, "echo fine")).out == b"fine\n"


@pytest.mark.parametrize("message", [Dial(1, "localhost", 1), Start.of(1, pty("true"))])
async def test_a_file_in_place_of_a_socket_ends_one_connection(place: Place, message: Message) -> None:
    other = await place.client()
    with await place.open() as sock, open(__file__) as file:
        packets.send(sock, codec.encode(message), [file.fileno()])
        await hung_up(sock)
    assert (await run(other, "echo fine")).out == b"fine\n"


async def test_an_id_in_use_ends_the_connection(place: Place) -> None:
    before = descriptors(place)
    frame = codec.encode(Start.of(1, pty("sleep 1000")))
    with await place.open() as sock:
        for _ in range(2):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                packets.send(sock, frame, [theirs.fileno()])
        await hung_up(sock)
    await until(lambda: descriptors(place) <= before, "the runner's descriptors are closed")


async def test_words_about_nothing_are_passed_over(place: Place) -> None:
    words: list[Message] = [
        protocol.Signal(9, "TERM"),
        Resize(9, Window(1, 1)),
        protocol.Break(9),
        protocol.Close(9),
    ]
    with await place.open() as sock:
        for word in words:
            packets.send(sock, codec.encode(word), ())
        ours, theirs = socket.socketpair()
        with ours, theirs:
            packets.send(sock, codec.encode(Start.of(10, pty("true"))), [theirs.fileno()])
        sock.setblocking(True)
        sock.settimeout(20)
        assert isinstance(codec.decode(sock.recv(4096), 0, protocol.TO_WORKER), protocol.Started)


async def test_a_worker_that_does_not_read_answers_stalls_nobody(place: Place) -> None:
    other = await place.client()
    with await place.open() as sock:
        for number in range(1, 1500):
            frame = codec.encode(protocol.DialUnix(number, "/none"))
            ours, theirs = socket.socketpair()
            with ours, theirs:
                try:
                    packets.send(sock, frame, [theirs.fileno()])
                except BlockingIOError:
                    assert (await run(other, "echo fine")).out == b"fine\n"
        assert (await run(other, "echo fine")).out == b"fine\n"


@pytest.mark.parametrize(
    "words", [b"\xff" * 8, struct.pack(">I", 3) + b"abc", struct.pack(">I", len(BREAK) + 1) + BREAK + b"x"]
)
async def test_nonsense_on_a_stream_ends_it(words: bytes) -> None:
    made = await local_stream()
    try:
        with await made.open() as sock:
            sock.setblocking(False)
            sock.send(words)
            await hung_up(sock)
    finally:
        made.close()


@pytest.mark.parametrize(
    "word",
    [
        protocol.Data(5, 0, b"never opened"),
        protocol.Credit(5, 1, 1),
    ],
)
async def test_a_stream_that_was_never_opened_ends_it(word: Message) -> None:
    made = await local_stream()
    try:
        with await made.open() as sock:
            sock.setblocking(False)
            frame = codec.encode(word)
            sock.send(struct.pack(">I", len(frame)) + frame)
            await hung_up(sock)
    finally:
        made.close()


async def test_data_beyond_the_credit_ends_the_stream() -> None:
    made = await local_stream()
    mark = uuid.uuid4().hex
    try:
        with await made.open() as sock:
            sock.setblocking(True)
            data = protocol.Data(1, 0, b"x" * protocol.WINDOW)
            with suppress(BrokenPipeError):
                for message in (Start.of(1, exec_(f"exec -a {mark} sleep 1000")), data, data, data, data):
                    frame = codec.encode(message)
                    sock.sendall(struct.pack(">I", len(frame)) + frame)
            sock.setblocking(False)
            await hung_up(sock)
    finally:
        made.close()
        for pid in made.processes(mark):
            os.kill(pid, signal.SIGKILL)
