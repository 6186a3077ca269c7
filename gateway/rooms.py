"""One room a workspace: whose turn it is to change its container, and where its runner dials in.

Owns that only one change happens at a time, and that no listener outlives its container. Must not
know why a container is made or ended.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.notices import Unread
from gateway.ports import RunnerLink
from gateway.workspaces import Container


@dataclass(frozen=True)
class Entry:
    """A line to the runner, and what to greet a terminal with; `unread` is for the first one alone."""

    line: socket.socket
    greeting: str
    unread: Unread | None = None


@dataclass
class Room:
    """`link` and `made_from`, the hash of the container's spec, change only while `lock` is held.

    `gpus` are those that the container shows and `image` is its digest, by what it was made from. `parting`
    is what to say of a container whose programs save their work before it is stopped, `coming` of one that
    restarts before long; `barred`: its programs cannot open its GPUs any more. `entering` counts who is on
    the way in.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    link: RunnerLink | None = None
    made_from: str | None = None
    gpus: tuple[str, ...] = ()
    image: str = ""
    parting: str | None = None
    coming: str | None = None
    barred: bool = False
    entering: int = 0

    def follow(self, link: RunnerLink, container: Container) -> None:
        """The container runs, and its runner dials in at `link`."""
        self.link, self.made_from, self.gpus = link, container.spec_hash, container.gpus
        self.image = container.image

    @contextmanager
    def arrival(self) -> Iterator[None]:
        """Somebody is on the way in."""
        self.entering += 1
        try:
            yield
        finally:
            self.entering -= 1

    def leave(self) -> None:
        """Stop listening for the runner: its container ended, or is about to."""
        if self.link is not None:
            self.link.close()
        self.link, self.made_from, self.coming, self.barred = None, None, None, False


class Rooms:
    """Every workspace's room, by user id; made when first asked for."""

    def __init__(self) -> None:
        self._rooms: dict[int, Room] = {}

    def __getitem__(self, user_id: int) -> Room:
        return self._rooms.setdefault(user_id, Room())

    def inhabited(self) -> set[int]:
        """The users whose containers are believed to run."""
        return {user_id for user_id, room in self._rooms.items() if room.link is not None}

    def close(self) -> None:
        """Leave them all."""
        for room in self._rooms.values():
            room.leave()
