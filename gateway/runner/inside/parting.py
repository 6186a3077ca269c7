"""Lets the container's programs save their work before it is stopped, and says when they have.

Owns what is waited for: the programs that were told, and her hook. Must not know how long anybody waits: the
container is stopped when the broker's patience is over, whatever goes on here.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.runner.inside import hook, processes
from gateway.runner.inside.connection import World
from gateway.runner.protocol import Part, Parted, Parting

_EVERY = 0.25
"""Seconds between looks at programs that are not our children."""


class Farewell:
    """What goes on from a `Part` until nothing is left to wait for; one that comes meanwhile joins it.

    So a broker that was replaced in between makes nobody save twice.
    """

    def __init__(self, world: World, send: Callable[[Parting | Parted], object]) -> None:
        self._world, self._send = world, send
        self._asked: int | None = None
        self._busy = False
        self._hook: hook.Hook | None = None
        self._told: dict[int, str] = {}

    def part(self, message: Part) -> None:
        """Tell the programs, start the hook, and answer now and when all have ended."""
        self._asked = message.id
        if not self._busy:
            self._told = processes.tell()
            self._hook = hook.start(self._world, message.reason, message.seconds, self._hook_ended)
            self._busy = self._hook is not None or bool(self._told)
            if self._told:
                self._world.loop.call_later(_EVERY, self._look)
        if self._busy:
            self._send(Parting(message.id, len(self._told), self._hook is not None))
        else:
            self._over()

    def forget(self) -> None:
        """Who asked is gone; it goes on, and whoever asks next is told."""
        self._asked = None

    def _look(self) -> None:
        self._told = processes.alive(self._told.items())
        if self._told:
            self._world.loop.call_later(_EVERY, self._look)
        else:
            self._over()

    def _hook_ended(self) -> None:
        self._hook = None
        self._over()

    def _over(self) -> None:
        """Say so when it is: neither a program nor the hook is left."""
        if self._hook is not None or self._told:
            return
        self._busy = False
        asked, self._asked = self._asked, None
        if asked is not None:
            self._send(Parted(asked))
