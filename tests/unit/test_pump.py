"""Bytes between a channel and real pipes and sockets: all of them, in order, and no more than fit."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest
import uvloop

from gateway.ssh.pump import CHUNK, Inflow, Outflow
from tests.support.world import until

PIPE = 64 * 1024


class Channel:
    """Records what is written to it, and whether reading is paused. `broken` refuses everything."""

    def __init__(self) -> None:
        self.written: list[tuple[bytes, int | None]] = []
        self.paused = False
        self.pauses = 0
        self.broken = False

    @property
    def data(self) -> bytes:
        """All that was written."""
        return b"".join(data for data, _ in self.written)

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """See pump.Channel."""
        if self.broken:
            raise BrokenPipeError("Channel not open for sending")
        self.written.append((data, datatype))

    def pause_reading(self) -> None:
        """See pump.Channel."""
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        """See pump.Channel."""
        self.paused = False


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe, neither blocking; what a test closed itself is left alone."""
    ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    assert fcntl.fcntl(ends[1], fcntl.F_GETPIPE_SZ) == PIPE
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


@pytest.fixture
def channel() -> Channel:
    return Channel()


def calls() -> tuple[list[int], Callable[[], None]]:
    """A list that grows with each call."""
    made: list[int] = []
    return made, lambda: made.append(1)


async def test_everything_comes_out_until_the_end(pipe: tuple[int, int], channel: Channel) -> None:
    out = Outflow(pipe[0], channel, 1)
    os.write(pipe[1], b"x" * PIPE)
    await until(lambda: len(channel.data) == PIPE)
    assert not out.done.done()
    os.write(pipe[1], b"last")
    os.close(pipe[1])
    await out.done
    assert channel.data == b"x" * PIPE + b"last"
    assert {datatype for _, datatype in channel.written} == {1}
    assert max(len(data) for data, _ in channel.written) <= CHUNK


async def test_a_channel_that_takes_no_more_leaves_it_in_the_pipe(
    pipe: tuple[int, int], channel: Channel
) -> None:
    out = Outflow(pipe[0], channel)
    out.pause()
    out.pause()
    os.write(pipe[1], b"x" * PIPE)
    for _ in range(20):
        await asyncio.sleep(0)
    assert channel.written == []
    with pytest.raises(BlockingIOError):
        os.write(pipe[1], b"x")
    out.resume()
    out.resume()
    await until(lambda: len(channel.data) == PIPE)
    out.pause()
    os.close(pipe[1])
    await asyncio.sleep(0)
    assert not out.done.done()
    out.resume()
    await out.done


async def test_a_channel_that_is_gone_ends_it(pipe: tuple[int, int], channel: Channel) -> None:
    out = Outflow(pipe[0], channel)
    channel.broken = True
    os.write(pipe[1], b"x")
    await out.done
    out.resume()
    out.stop()
    os.write(pipe[1], b"y")
    assert os.read(pipe[0], 9) == b"y"


async def test_a_reset_is_an_end(channel: Channel) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        ours.send(b"never read")
        out = Outflow(ours.fileno(), channel)
        theirs.close()
        await out.done
        assert channel.data == b""


async def test_everything_goes_in_and_then_the_end(pipe: tuple[int, int], channel: Channel) -> None:
    ended, at_end = calls()
    inflow = Inflow(pipe[1], channel, at_end)
    inflow.feed(b"one")
    inflow.feed(b"two")
    assert os.read(pipe[0], 99) == b"onetwo"
    assert not channel.paused
    inflow.end()
    inflow.end()
    inflow.feed(b"after the end")
    assert ended == [1]
    assert inflow.ended
    with pytest.raises(BlockingIOError):
        os.read(pipe[0], 99)


async def test_a_slow_reader_holds_the_client_back_and_loses_nothing(
    pipe: tuple[int, int], channel: Channel
) -> None:
    ended, at_end = calls()
    inflow = Inflow(pipe[1], channel, at_end)
    sent = os.urandom(PIPE + 70_000)
    inflow.feed(sent[: PIPE + 1])
    assert channel.paused
    # A client may have sent this much before it hears that it should stop.
    inflow.feed(sent[PIPE + 1 :])
    inflow.end()
    assert ended == []
    assert not inflow.ended
    got = bytearray()
    while not ended:
        try:
            got += os.read(pipe[0], 5000)
        except BlockingIOError:
            await asyncio.sleep(0)
    got += os.read(pipe[0], PIPE)
    assert sha256(got).digest() == sha256(sent).digest()
    assert not channel.paused
    assert ended == [1]


async def test_a_client_that_was_let_go_on_too_early_is_held_back_again(
    pipe: tuple[int, int], channel: Channel
) -> None:
    inflow = Inflow(pipe[1], channel, lambda: None)
    inflow.feed(bytes(PIPE + 1))
    channel.resume_reading()
    inflow.feed(b"more")
    assert channel.paused
    inflow.stop()


async def test_a_broken_pipe_is_told_once_and_drops_the_rest(pipe: tuple[int, int], channel: Channel) -> None:
    ended, at_end = calls()
    inflow = Inflow(pipe[1], channel, at_end)
    inflow.feed(b"x" * (PIPE + 1))
    assert channel.paused
    os.close(pipe[0])
    await until(lambda: ended)
    assert not channel.paused
    assert inflow.ended
    inflow.feed(b"more")
    inflow.end()
    inflow.stop()
    assert ended == [1]


async def test_stopping_drops_what_waits_and_lets_the_client_go_on(
    pipe: tuple[int, int], channel: Channel
) -> None:
    ended, at_end = calls()
    inflow = Inflow(pipe[1], channel, at_end)
    inflow.feed(b"x" * (PIPE + 1))
    inflow.stop()
    assert not channel.paused
    # The descriptor may be closed from here on: nothing watches it.
    os.close(pipe[1])
    os.read(pipe[0], PIPE)
    await asyncio.sleep(0.01)
    assert ended == []


def test_a_mebibyte_both_ways_through_a_socket_on_uvloop() -> None:
    async def both() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for end in (ours, theirs):
                end.setblocking(False)
            there, back = Channel(), Channel()
            sent = os.urandom(1 << 20)
            inflow = Inflow(ours.fileno(), back, lambda: ours.shutdown(socket.SHUT_WR))
            out = Outflow(theirs.fileno(), there)
            for start in range(0, len(sent), CHUNK):
                inflow.feed(sent[start : start + CHUNK])
                while back.paused:
                    await asyncio.sleep(0)
            inflow.end()
            await out.done
            assert there.data == sent
            assert back.pauses > 0

    uvloop.run(both())
