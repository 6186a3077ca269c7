"""A broker over a real store, with an engine, runners and folders in memory.

Owns the honest stand-ins of what needs an engine: a runner dials in when its container runs, and its
line is a real socket. Must not assert anything.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from gateway.answering import Answering
from gateway.broker import Broker
from gateway.clock import Clock
from gateway.desk import Desk
from gateway.devices import DeviceRequest
from gateway.disks import Usage
from gateway.errors import Code, PlatformError
from gateway.granting import Granting
from gateway.leases import Lease
from gateway.rationing import Rationing
from gateway.restarting import Restarting
from gateway.settling import Settling
from gateway.sqlite.store import Store
from gateway.timekeeper import Timekeeper
from gateway.users import User
from gateway.workspaces import ContainerSpec, Workspace, container_spec, spec_hash
from tests.support.fake_backend import FakeBackend
from tests.support.stores import NOW, add_people, gpu, open_store

IMAGE = "sha256:" + "1" * 64


async def until(true: Callable[[], object]) -> None:
    """Wait until something holds, at most ten seconds."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


class Link:
    """Where a runner dials in: it is there while its container runs and `deaf` is not set."""

    def __init__(self, backend: FakeBackend, user_id: int) -> None:
        self._backend = backend
        self._user_id = user_id
        self.closed = False
        self.deaf = False
        self.parts: list[tuple[str, int]] = []
        self.begins: tuple[int, bool] | None = None
        self.parted: asyncio.Future[None] | None = None

    async def ready(self, within: float) -> None:
        """See the port."""
        await asyncio.sleep(0)
        container = await self._backend.inspect(self._user_id)
        if self.closed or self.deaf or container is None or not container.running:
            raise PlatformError(Code.UNAVAILABLE, "The runner cannot be reached; try again.")

    async def connect(self, connection_id: str) -> socket.socket:
        """See the port: the runner's end reads its own name, so that a test knows which it is."""
        await self.ready(0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.send(connection_id.encode())
        return ours

    async def part(self, reason: str, seconds: int, begun: Callable[[int, bool], object]) -> None:
        """See the port: what it says is `begins`, and over when `parted` is, if there is any."""
        self.parts.append((reason, seconds))
        if self.begins is not None:
            begun(*self.begins)
        if self.parted is not None:
            await self.parted

    def close(self) -> None:
        """See the port."""
        self.closed = True


class Folders:
    """Remembers what was prepared, for whom, and what is held to which size.

    `counted` is what a file system says by itself, `found` what a walk finds.
    """

    def __init__(self) -> None:
        self.prepared: list[int] = []
        self.cleared: list[int] = []
        self.limits: dict[int, int] = {}
        self.broken: set[int] = set()
        self.counted: dict[int, int] = {}
        self.failed: set[int] = set()
        self.starved: set[int] = set()
        self.found: dict[int, int] = {}
        self.walked: list[int] = []

    def prepare(self, user: User, rescue: bool = False, size: int | None = None) -> None:
        """See the port."""
        self.prepared.append(user.id)

    def clear_temporary(self, user_id: int) -> None:
        """See the port."""
        self.cleared.append(user_id)

    def limit(self, user_id: int, size: int) -> None:
        """See the port."""
        if user_id in self.broken:
            raise PlatformError(Code.UNAVAILABLE, "cannot hold a workspace to its size (broken)")
        self.limits[user_id] = size

    def usage(self, user_id: int) -> Usage:
        """See the port."""
        held = user_id in self.counted
        return Usage(self.counted.get(user_id), held, user_id in self.failed, user_id in self.starved)

    async def walk(self, user_id: int) -> int | None:
        """See the port."""
        self.walked.append(user_id)
        return self.found.get(user_id)

    def socket_directory(self, user_id: int) -> Path:
        """See the port."""
        raise AssertionError("nobody listens on files here")

    def clean_home(self, user: User) -> None:
        """See the port."""
        raise AssertionError("nobody is rescued here")

    def put_away(self, user_id: int, number: int) -> None:
        """See the port."""
        raise AssertionError("nothing is moved here")

    def delete_put_away(self, number: int) -> None:
        """See the port."""
        raise AssertionError("nothing is deleted here")

    def hand_over(self, giver: User, taker: User) -> str | None:
        """See the port."""
        raise AssertionError("nothing is moved here")

    def delete(self, user_id: int) -> None:
        """See the port."""
        raise AssertionError("nothing is deleted here")


class World:
    """One gateway's state. `store` is the operators' own connection to the database."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.store = open_store(state)
        self.store.add_image("base", "1", "", "gpu-gateway/base:1", IMAGE, "root", NOW)
        self.store.sync_devices([gpu(index) for index in range(8)], NOW)
        add_people(self.store, "alice", "bob", "carol")
        self.backend = FakeBackend([IMAGE])
        self.time = NOW
        self.step = timedelta(0)
        self.told: list[tuple[int, str]] = []
        self.announced: list[tuple[int, str]] = []
        self.links: list[Link] = []
        self.present: set[int] = set()
        self._start()

    def restart(self) -> None:
        """End the gateway and start another, which knows nothing but the store and the engine."""
        self.stop()
        self._start()

    def _start(self) -> None:
        self._opened: list[Store] = []
        self.desk = Desk(self._open)
        self.folders = Folders()
        self.broker = Broker(
            self.desk, self.backend, self.folders, self.template, spec_hash, self._link, lambda: self.time
        )
        self.timekeeper = Timekeeper(self.desk, self.clock)
        self.granting = Granting(self.desk, self.broker, self.timekeeper)
        self.settling = Settling(self.desk, self.broker, self.backend, self.timekeeper)
        self.restarting = Restarting(self.desk, self.broker, self.backend, self.timekeeper)
        self.answering = Answering(self.desk, self.timekeeper, self.broker.running)
        self.answering.look_at = self.restarting.look_at
        self.rationing = Rationing(self.desk, self.broker, self.folders, lambda: self.time)
        self.broker.announce = lambda user_id, text: self.announced.append((user_id, text))
        self.broker.end_sessions = lambda user_id, reason: self.told.append((user_id, reason))
        self.broker.occupied = self.broker.inside = lambda user_id: user_id in self.present

    def stop(self) -> None:
        """The gateway ends; containers run on."""
        self.settling.close()
        self.restarting.close()
        self.broker.close()
        self.desk.close()
        for store in self._opened:
            store.close()

    def template(self, workspace: Workspace) -> ContainerSpec:
        """What a container of this user must be."""
        return container_spec(
            workspace,
            state="/state",
            runner="/runner",
            gpu="/gpu",
            env={},
            subnet=f"10.213.{workspace.user.id}.0/29",
            command=(f"run-{workspace.user.id}",),
        )

    def clock(self) -> Clock:
        """The machine's: an hour after its boot when the test began. `step` is how far somebody set it."""
        return Clock("boot", self.time, self.time - self.step - NOW + timedelta(hours=1))

    def set_clock(self, by: timedelta) -> None:
        """Somebody sets the machine's clock; no time passes."""
        self.time += by
        self.step += by

    def open_links(self) -> list[Link]:
        """Listeners that nobody closed."""
        return [link for link in self.links if not link.closed]

    def grant(self, user: str, *indexes: int, hours: int = 8) -> Lease:
        """Give a user GPUs."""
        ids = tuple(gpu(index).id for index in indexes)
        length = timedelta(hours=hours)
        return self.store.grant(user, DeviceRequest(len(ids), ids), length, "root", self.time)

    def lease(self, lease: Lease) -> Lease:
        """The lease as it is now."""
        return self.store.lease(lease.id)

    async def enter(self, user_id: int, connection_id: str = "c1") -> str:
        """Come in and go again: the greeting."""
        said: list[str] = []
        entry = await self.broker.enter(user_id, connection_id, said.append)
        with entry.line:
            assert entry.line.recv(100).decode() == connection_id
        return entry.greeting

    def _link(self, user: User) -> Link:
        link = Link(self.backend, user.id)
        self.links.append(link)
        return link

    def _open(self) -> Store:
        self._opened.append(open_store(self.state))
        return self._opened[0]


@asynccontextmanager
async def world(state: Path) -> AsyncIterator[World]:
    """A world, put away afterwards."""
    made = World(state)
    try:
        yield made
    finally:
        made.stop()
        made.store.close()


def at(hours: float) -> datetime:
    """This many hours after NOW."""
    return NOW + timedelta(hours=hours)
