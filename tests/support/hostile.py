"""A runner that says what a test tells it to, at the other end of a real client.

Owns the socket and the client. Must not assert anything but that no descriptor is left.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.runner import codec, packets
from gateway.runner.client import RunnerClient
from gateway.runner.protocol import TO_RUNNER, Message
from tests.support.runner_places import pipes, until


@dataclass
class Hostile:
    """The runner's end, and the client that it lies to."""

    sock: socket.socket
    client: RunnerClient

    def say(self, *messages: Message | bytes) -> None:
        """Say it, whatever it is."""
        for message in messages:
            packets.send(self.sock, message if isinstance(message, bytes) else codec.encode(message), ())

    async def hear(self) -> Message:
        """The next message; its descriptors are closed at once."""
        while True:
            try:
                frame, fds = packets.receive(self.sock)
            except BlockingIOError:
                await asyncio.sleep(0.001)
                continue
            packets.close_all(fds)
            assert frame, "the worker hung up"
            return codec.decode(frame, len(fds), TO_RUNNER)

    def unread(self) -> int:
        """How many messages lie in the socket; they are taken."""
        count = 0
        while True:
            try:
                _, fds = packets.receive(self.sock)
            except BlockingIOError:
                return count
            packets.close_all(fds)
            count += 1

    async def until(self, claim: Callable[[], object]) -> None:
        """Wait until something holds."""
        await until(claim, "what the runner said has arrived")


@asynccontextmanager
async def hostile_runner() -> AsyncIterator[Hostile]:
    """One, put away afterwards with every descriptor closed."""
    before = os.listdir("/proc/self/fd")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    made = Hostile(theirs, RunnerClient(ours, pipes))
    yield made
    made.client.close()
    theirs.close()
    assert os.listdir("/proc/self/fd") == before
