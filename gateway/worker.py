"""The worker process: parses SSH, without privileges.

Owns the order of a worker's life: say hello, build everything, give up the privileges, serve until
the broker is gone. It is started by the broker with two sockets and must never reach the store, the
engine, or anything that could.
"""

from __future__ import annotations

import asyncio
import encodings.idna
import socket
import sys
from contextlib import suppress

import uvloop

from gateway import verbs, wire
from gateway.journal import take_logging
from gateway.messages import LIMIT, encode
from gateway.privileges import drop
from gateway.runner.client import RunnerClient
from gateway.ssh import options
from gateway.ssh.brokerage import Brokerage
from gateway.ssh.connection import Connection, Owner
from gateway.ssh.entry import Entry
from gateway.ssh.pool import PipePool
from gateway.ssh.signing import Signer, remote_keys
from gateway.ssh.tasks import Tasks

NEEDED_LATER = (encodings.idna,)
"""Imported by name somewhere below after the privileges are gone, when no file may be readable any more."""


GOODBYE_WITHIN = 3.0


class Carrier:
    """Every connection of this worker."""

    def __init__(self, brokerage: Brokerage, built: options.Options, tasks: Tasks) -> None:
        self._brokerage = brokerage
        self._options = built
        self._tasks = tasks
        self._pool = PipePool(brokerage, tasks)
        self._connections: dict[str, Connection] = {}

    def arrived(self, id_: str, sock: socket.socket) -> None:
        """Serve an accepted socket."""
        self._tasks.create_task(self._serve(id_, sock))

    def ended(self, id_: str, channel: str | None, message: str) -> None:
        """The broker ends a connection or a channel of it."""
        if id_ in self._connections:
            self._connections[id_].end(message, channel)

    def announced(self, id_: str, message: str) -> None:
        """The broker has a notice for the terminals of a connection."""
        if id_ in self._connections:
            self._connections[id_].announce(message)

    async def _serve(self, id_: str, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        entry = Entry(self._brokerage, self._pool.take, RunnerClient, self._tasks)
        connection = Connection(
            loop, self._options, id_, entry, self._keys, self._authorities, self._tasks, self._gone
        )
        self._connections[id_] = connection
        try:
            await loop.connect_accepted_socket(lambda: connection, sock)
        except Exception as error:
            # A client that is gone already is the usual reason.
            sock.close()
            self._gone(id_)
            if not isinstance(error, OSError):
                raise

    async def end_all(self, message: str) -> None:
        """End every connection, telling why, and wait a moment for these last words to be sent."""
        connections = list(self._connections.values())
        for connection in connections:
            connection.end(message)
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_WITHIN):
                for connection in connections:
                    await connection.wait_closed()

    def _keys(self, user: str) -> frozenset[bytes]:
        return self._brokerage.accounts.get(user, frozenset())

    def _authorities(self) -> frozenset[bytes]:
        return self._brokerage.authorities

    def _gone(self, id_: str) -> None:
        if self._connections.pop(id_, None) is not None:
            self._brokerage.gone(id_)


async def _serve(brokerage: Brokerage, built: options.Options) -> None:
    """Serve until the broker is gone, which ends every connection with this process."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        carrier = Carrier(brokerage, built, Tasks(group))
        brokerage.arrived = carrier.arrived
        brokerage.ended = carrier.ended
        brokerage.announced = carrier.announced
        brokerage.lost = over.set
        brokerage.begin()
        await over.wait()
        await carrier.end_all("The gateway is restarting; log in again.")
        raise SystemExit(0)


def main() -> None:
    """Run as `python -m gateway.worker TALK SIGN`, the two numbers of inherited sockets."""
    take_logging()
    talk, sign = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    talk.setblocking(True)
    sign.setblocking(True)
    wire.send(talk, encode(verbs.Hello(verbs.VERSION, ())), ())
    welcome = verbs.from_broker(talk.recv(LIMIT), 0)
    if not isinstance(welcome, verbs.Welcome) or welcome.version != verbs.VERSION:
        raise SystemExit("the broker speaks another version")
    built = options.build(remote_keys(welcome.host_keys, Signer(sign)), Owner)
    brokerage = Brokerage(talk)
    brokerage.passwords = welcome.passwords
    drop(welcome.uid, welcome.gid)
    uvloop.run(_serve(brokerage, built))


if __name__ == "__main__":
    main()
