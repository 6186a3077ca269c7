"""Packets with descriptors: none is lost, none is leaked, whatever the peer does."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from gateway import wire
from gateway.messages import LIMIT
from tests.support.descriptors import held, is_open


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Every test ends with the descriptors that it began with."""
    before = held()
    yield
    assert held() == before


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    ours, theirs = wire.pair()
    with ours, theirs:
        yield ours, theirs


class Heard:
    """What one PacketSocket told its owner."""

    def __init__(self, sock: socket.socket) -> None:
        self.packets: list[tuple[bytes, list[int]]] = []
        self.lost = 0
        self.line = wire.PacketSocket(sock, self._received, self._lost)

    def _received(self, data: bytes, fds: list[int]) -> None:
        self.packets.append((data, fds))

    def _lost(self) -> None:
        self.lost += 1


async def until(true: Callable[[], object]) -> None:
    """Wait until something holds, at most ten seconds."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


def fresh() -> int:
    """A descriptor of nobody's."""
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


async def test_a_packet_and_its_descriptors_arrive(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = Heard(ends[0]), Heard(ends[1])
    given = [fresh(), fresh()]
    ours.line.send(b"hello", given)
    assert not any(map(is_open, given))
    await until(lambda: theirs.packets)
    data, fds = theirs.packets[0]
    assert data == b"hello"
    assert len(fds) == 2
    assert not any(map(os.get_inheritable, fds))
    wire.close_all(fds)
    ours.line.close()
    theirs.line.close()


async def test_a_peer_that_is_gone_is_told_once(ends: tuple[socket.socket, socket.socket]) -> None:
    ours = Heard(ends[0])
    ends[1].close()
    await until(lambda: ours.lost)
    for _ in range(3):
        ours.line.send(b"late", [fresh()])
    ours.line.close()
    assert ours.lost == 1


async def test_sending_to_a_peer_that_is_gone_ends_it(ends: tuple[socket.socket, socket.socket]) -> None:
    ours = Heard(ends[0])
    ends[1].close()
    ours.line.send(b"now", [fresh()])
    assert ours.lost == 1


def fill(line: wire.PacketSocket) -> int:
    """Send until the kernel takes no more and one packet waits; how many went."""
    sent = 0
    while not line._queue:
        line.send(b"%d" % sent, [fresh()])
        sent += 1
    return sent


async def test_what_a_slow_peer_has_not_read_arrives_in_order(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours = Heard(ends[0])
    sent = fill(ours.line)
    for _ in range(50):
        ours.line.send(b"%d" % sent, [fresh()])
        sent += 1
    theirs = Heard(ends[1])
    await until(lambda: len(theirs.packets) == sent)
    assert [data for data, _ in theirs.packets] == [b"%d" % number for number in range(sent)]
    for _, fds in theirs.packets:
        assert len(fds) == 1
        wire.close_all(fds)
    ours.line.close()
    theirs.line.close()


async def test_closing_closes_what_waits(ends: tuple[socket.socket, socket.socket]) -> None:
    ours = Heard(ends[0])
    fill(ours.line)
    waiting = [fresh() for _ in range(20)]
    for fd in waiting:
        ours.line.send(b"x", [fd])
    ours.line.close()
    ours.line.close()
    assert ours.lost == 1
    assert not any(map(is_open, waiting))


async def test_a_peer_that_never_reads_is_given_up_by_bytes(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours = Heard(ends[0])
    sent = 0
    while not ours.lost:
        ours.line.send(b"x" * LIMIT)
        sent += 1
        assert sent * LIMIT < 2 * wire.MOST_QUEUED_BYTES + (1 << 20)


async def test_a_peer_that_never_reads_is_given_up_by_descriptors(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours = Heard(ends[0])
    before = held()
    fill(ours.line)
    for _ in range(wire.MOST_QUEUED_DESCRIPTORS):
        assert not ours.lost
        ours.line.send(b"x", [fresh()])
    assert ours.lost == 1
    assert held() <= before


async def test_a_slow_peer_that_reads_in_time_is_kept(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = Heard(ends[0]), Heard(ends[1])
    for _ in range(20):
        for _ in range(wire.MOST_QUEUED_DESCRIPTORS // 4):
            ours.line.send(b"x", [fresh()])
        await until(lambda: not ours.line._queue)
    await until(lambda: len(theirs.packets) == 20 * (wire.MOST_QUEUED_DESCRIPTORS // 4))
    assert ours.lost == theirs.lost == 0
    for _, fds in theirs.packets:
        wire.close_all(fds)
    ours.line.close()
    theirs.line.close()


@pytest.mark.parametrize("number", [wire.MOST_DESCRIPTORS + 1, 253])
async def test_too_many_descriptors_end_it_and_are_closed(
    ends: tuple[socket.socket, socket.socket], number: int
) -> None:
    theirs = Heard(ends[1])
    given = [fresh() for _ in range(number)]
    wire.send(ends[0], b"all of them", given)
    wire.close_all(given)
    await until(lambda: theirs.lost)
    assert not theirs.packets


async def test_a_packet_above_the_limit_ends_it(ends: tuple[socket.socket, socket.socket]) -> None:
    theirs = Heard(ends[1])
    fd = fresh()
    wire.send(ends[0], b"x" * (LIMIT + 1), [fd])
    wire.close_all([fd])
    await until(lambda: theirs.lost)
    assert not theirs.packets


async def test_an_empty_packet_is_the_end_even_with_descriptors(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    theirs = Heard(ends[1])
    fd = fresh()
    wire.send(ends[0], b"", [fd])
    wire.close_all([fd])
    await until(lambda: theirs.lost)
    assert not theirs.packets


async def test_it_may_be_closed_while_it_delivers(ends: tuple[socket.socket, socket.socket]) -> None:
    got: list[bytes] = []

    def received(data: bytes, fds: list[int]) -> None:
        wire.close_all(fds)
        got.append(data)
        line.close()

    line = wire.PacketSocket(ends[1], received, lambda: None)
    for _ in range(3):
        fd = fresh()
        wire.send(ends[0], b"x", [fd])
        wire.close_all([fd])
    await until(lambda: got)
    await asyncio.sleep(0)
    assert got == [b"x"]


async def test_a_flood_leaves_the_loop_to_others(ends: tuple[socket.socket, socket.socket]) -> None:
    theirs = Heard(ends[1])
    sent = 0
    while True:
        try:
            wire.send(ends[0], b"x", [])
        except BlockingIOError:
            break
        sent += 1
    assert sent > wire._BURST
    while not theirs.packets:
        await asyncio.sleep(0)
    assert len(theirs.packets) == wire._BURST
    await until(lambda: len(theirs.packets) == sent)
    theirs.line.close()
