"""Callers that nobody answers, and a container without descriptors: the runner's loop, step by step."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.runner.inside import listeners as module
from gateway.runner.inside.listeners import Listeners
from gateway.runner.inside.loop import Loop
from gateway.runner.inside.sockets import Opened
from gateway.runner.listening import MOST_ARRIVED, Accept, Arrived, Decline, Listen, Listening, Unlistened
from gateway.runner.protocol import Dialed, Message, Refused, Taken


class Childless(Loop):
    """A loop that leaves the signals of this process alone."""

    def _catch_children(self) -> None:
        pass


class World:
    """A runner's listeners, and what they say."""

    def __init__(self) -> None:
        self.loop = Childless()
        self.said: list[Message] = []
        self.listeners = Listeners(self.loop, self.said.append)
        self.sockets: list[socket.socket] = []

    def step_until(self, claim: Callable[[], object]) -> None:
        """Turn the loop until something holds."""
        deadline = time.monotonic() + 20
        while not claim():
            assert time.monotonic() < deadline
            self.loop.step(0.01)

    def listen(self) -> int:
        """A listener with the id 1: its port."""
        self.listeners.listen(Listen(1, "", 0))
        answer = self.said.pop()
        assert isinstance(answer, Listening)
        return answer.port

    def call(self, port: int) -> socket.socket:
        """Somebody connects."""
        self.sockets.append(socket.create_connection(("127.0.0.1", port), timeout=20))
        return self.sockets[-1]

    def pair(self) -> tuple[socket.socket, int]:
        """What a worker sends along: its own end, and the descriptor of the other."""
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        self.sockets.append(ours)
        return ours, theirs.detach()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.listeners.close()
    for sock in made.sockets:
        sock.close()
    made.step_until(lambda: not made.loop._masks)  # relays have ended
    made.loop._epoll.close()


def test_who_is_not_answered_is_hung_up_and_stays_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.02)
    port = world.listen()
    callers = [world.call(port) for _ in range(MOST_ARRIVED + 1)]
    world.step_until(lambda: len(world.said) == MOST_ARRIVED)
    world.step_until(lambda: not any(world.listeners._arrivals.values()))
    assert callers[0].recv(1) == b""
    assert len(world.said) == MOST_ARRIVED  # no room for another before the worker has answered one
    ours, theirs = world.pair()
    world.listeners.accept(Accept(2, 1), theirs)
    assert world.said[-2:] == [Taken(2), Refused(2, "connect_failed")]
    assert ours.recv(1) == b""
    world.step_until(lambda: isinstance(world.said[-1], Arrived))
    assert world.said[-1].arrival == MOST_ARRIVED + 1  # type: ignore[union-attr]


def test_the_sweep_ends_when_nobody_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    world.call(world.listen())
    world.step_until(lambda: world.said)
    world.listeners.decline(1)
    world.step_until(lambda: world.listeners._sweeping is None)


def test_without_descriptors_callers_wait_and_the_loop_rests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accept(2) fails with EMFILE and the listener stays readable: asked at once again, it would spin."""
    port = world.listen()
    tries = []

    class Starved(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            tries.append(1)
            if len(tries) < 3:
                raise OSError(errno.EMFILE, "none left")
            return super().accept()

    made = world.listeners._open[1]
    for sock in made.sockets:
        world.loop.remove_reader(sock.fileno())
    starved = Starved(fileno=made.sockets.pop(0).detach())
    made.close()
    starved.setblocking(False)
    world.listeners._open[1] = Opened([starved], port)
    world.listeners._watch(1)
    monkeypatch.setattr(module, "_PAUSE", 3600)
    world.call(port)
    world.step_until(lambda: tries)
    for _ in range(20):
        world.loop.step(0)
    assert len(tries) == 1
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    world.listeners._rested()
    world.step_until(lambda: world.said)
    assert len(tries) == 3


def test_an_answer_about_nobody_is_passed_over(world: World) -> None:
    world.listeners.decline(7)
    ours, theirs = world.pair()
    world.listeners.accept(Accept(3, 7), theirs)
    assert world.said == [Taken(3), Refused(3, "connect_failed")]
    assert ours.recv(1) == b""


def test_an_end_leaves_those_who_wait(world: World) -> None:
    caller = world.call(world.listen())
    world.step_until(lambda: world.said)
    world.listeners.unlisten(1)
    ours, theirs = world.pair()
    world.listeners.accept(Accept(2, 1), theirs)
    assert world.said[1:] == [Unlistened(1), Taken(2), Dialed(2)]
    caller.sendall(b"here")
    ours.setblocking(False)
    world.step_until(lambda: world.loop.step(0.01) or _peek(ours))
    assert ours.recv(9) == b"here"
    assert Decline(1) not in world.said


def _peek(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
