"""Obeys one SSH connection: what its worker asks, answered in the words of the protocol.

Owns the connection's executions, dials and listeners. Must not know how messages arrive: `packets` brings
them with descriptors, `stream` without, and both call the same three methods.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence

from gateway.runner.inside.dials import Dialling
from gateway.runner.inside.executions import Execution
from gateway.runner.inside.listeners import Listeners
from gateway.runner.inside.loop import Loop
from gateway.runner.inside.memory import Memory
from gateway.runner.inside.resolve import Resolver
from gateway.runner.inside.spawn import Spawner
from gateway.runner.listening import LISTENS, Accept, Decline, Unlisten
from gateway.runner.protocol import (
    STEERS,
    Break,
    Close,
    Dial,
    Dialed,
    DialUnix,
    Exited,
    Hello,
    Message,
    ProtocolError,
    Refused,
    Resize,
    Signal,
    Start,
    Taken,
)
from gateway.runner.protocol import Connection as BrokerConnection


class World:
    """What all connections share: the loop, the way to start processes, and the container's environment."""

    def __init__(self, loop: Loop, base: Mapping[str, str]) -> None:
        self.loop = loop
        self.base = base
        self.spawner = Spawner()
        self.memory = Memory()
        self.resolver = Resolver(loop, self.spawner)


class Connection:
    """One SSH connection; `send` queues a message to its worker."""

    def __init__(self, world: World, send: Callable[[Message], object]) -> None:
        self._world, self._send = world, send
        self._executions: dict[int, Execution] = {}
        self._dials: dict[int, Dialling] = {}
        self._listeners = Listeners(world.loop, lambda message: self._send(message))

    def handle(self, message: Message, fds: Sequence[int]) -> None:
        """Do what the worker asks; `fds` are owned from here on.

        Raises ProtocolError, with `fds` still the caller's, for an id that is in use.
        """
        _check(fds)
        if isinstance(message, Decline):
            self._listeners.decline(message.arrival)
        elif any(_id(message) in known for known in (self._executions, self._dials, self._listeners)):
            self._steer(message)
        elif isinstance(message, Start):
            execution = Execution(self._world.loop, self._world.base, self._world.spawner, self._world.memory)
            self._executions[message.id] = execution
            if not execution.start(message, fds, self._report):
                del self._executions[message.id]
        elif isinstance(message, (Dial, DialUnix)):
            self._dial(message, fds[0])
        elif isinstance(message, LISTENS):
            self._listeners.listen(message)
        elif isinstance(message, Accept):
            self._listeners.accept(message, fds[0])

    def end(self) -> None:
        """The worker is gone: terminals are hung up, dials and listeners given up; nothing is signalled."""
        self._send = _unheard
        for execution in list(self._executions.values()):
            execution.hang_up()
        for dialling in list(self._dials.values()):
            dialling.cancel()
        self._listeners.close()

    def _steer(self, message: Message) -> None:
        """A message about something that is there."""
        id = _id(message)
        if type(message) not in STEERS:
            raise ProtocolError(f"the id {id} is in use")
        execution = self._executions.get(id)
        if execution is None:
            if isinstance(message, Unlisten) and id in self._listeners:
                self._listeners.unlisten(id)
            elif isinstance(message, Close) and id in self._dials:
                self._dials[id].give_up()
            return
        if isinstance(message, Signal):
            execution.signal(message.name)
        elif isinstance(message, Resize):
            execution.resize(message.window)
        elif isinstance(message, Break):
            execution.send_break()
        elif isinstance(message, Close):
            execution.hang_up()

    def _dial(self, message: Dial | DialUnix, fd: int) -> None:
        """Connect to what the worker names."""
        self._send(Taken(message.id))
        dialling = Dialling(
            self._world.loop, self._world.resolver, fd, lambda reason: self._answer(message.id, reason)
        )
        self._dials[message.id] = dialling
        if isinstance(message, Dial):
            dialling.tcp(message.host, message.port)
        else:
            dialling.unix(message.path)

    def _answer(self, id: int, reason: str | None) -> None:
        """A dial has ended; its relay, if any, needs nobody."""
        del self._dials[id]
        self._send(Dialed(id) if reason is None else Refused(id, reason))

    def _report(self, message: Message) -> None:
        """Pass on what an execution says, and forget it when that is its last word."""
        if isinstance(message, Exited):
            del self._executions[message.id]
        self._send(message)


def _check(fds: Sequence[int]) -> None:
    """A relay's end must be a socket: anything else, a file for one, the loop could not wait for."""
    if len(fds) == 1 and not stat.S_ISSOCK(os.fstat(fds[0]).st_mode):
        raise ProtocolError("a descriptor that is no socket")


def _id(message: Message) -> int:
    """What a worker's message is about; all others of them have an id."""
    assert not isinstance(message, (Hello, BrokerConnection, Decline))
    return message.id


def _unheard(message: Message) -> None:
    """The worker is gone."""
