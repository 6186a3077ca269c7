"""The gateway's front without an engine: real workers, real keys, and a runner on this machine.

Owns what it starts. The one stand-in is the broker's part behind the front: it lets everybody whom the
evidence proves into the same runner. Must not assert anything.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from gateway import boot, pipes
from gateway import workers as workers_module
from gateway.admission import Admission
from gateway.answering import Answering
from gateway.broker import Broker, Entry
from gateway.connections import Connections
from gateway.desk import Desk
from gateway.errors import PlatformError
from gateway.evidence import proves
from gateway.hostkeys import HostKeys
from gateway.main import accept
from gateway.passwords import matches
from gateway.ports import Progress
from gateway.reception import Reception
from gateway.runner.link import RunnerSocket
from gateway.sqlite.store import Store
from gateway.timekeeper import Timekeeper
from gateway.totp import step_of
from gateway.users import Account
from gateway.workers import Worker, Workers
from tests.support import late_imports
from tests.support.keys import fingerprint_of
from tests.support.runner_places import local_descriptors
from tests.support.stores import open_store

WORKER_ID = 29_998


class Behind:
    """Lets whoever has a ticket into one runner. `refusal` is raised instead while it is set."""

    def __init__(self, link: RunnerSocket) -> None:
        self._link = link
        self.refusal: PlatformError | None = None
        self.entered: list[tuple[int, str]] = []
        self.wait: asyncio.Event | None = None

    async def enter(self, user_id: int, connection_id: str, progress: Progress) -> Entry:
        """See Broker."""
        self.entered.append((user_id, connection_id))
        progress("starting your container")
        if self.wait is not None:
            await self.wait.wait()
        if self.refusal is not None:
            raise self.refusal
        return Entry(await self._link.connect(connection_id), "hello\n")


@dataclass
class Front:
    """A listening gateway. `log` is what the workers wrote on stderr."""

    port: int
    folder: Path
    behind: Behind
    connections: Connections
    reception: Reception
    workers: Workers
    log: Path
    desk: Desk

    async def learn(self) -> None:
        """Take in who is in the store now, as the overseer does when it has changed."""
        accounts = await self.desk.ask(lambda store: store.accounts())
        self.reception.accounts = {account.name: account for account in accounts}
        self.workers.push(accounts, [])

    @property
    def live(self) -> list[Worker]:
        """The workers that run now."""
        return list(self.workers._workers)

    def add(self, user_id: int, name: str, enabled: bool = True) -> Path:
        """Somebody with a new key: its file."""
        file = self.folder / f"{name}.key"
        if not file.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        blob = fingerprint_of(file.with_suffix(".key.pub").read_text())
        account = Account(user_id, name, enabled, dict([blob]))
        self.reception.accounts = {**self.reception.accounts, name: account}
        self.workers.push([account], [])
        return file

    def arguments(self, user: str, *more: str) -> list[str]:
        """OpenSSH's client as this user, with her key."""
        options = {
            "IdentityFile": str(self.folder / f"{user}.key"),
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", "-p", str(self.port), "-l", user, *words, *more]

    async def ssh(
        self, user: str, *more: str | bytes, data: bytes = b"", env: dict[str, str] | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run ssh to its end: status, stdout, stderr."""
        plain = [word for word in more if isinstance(word, str)]
        raw = [word for word in more if isinstance(word, bytes)]
        process = await asyncio.create_subprocess_exec(
            *self.arguments(user, *plain),
            *raw,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate(data)
        assert process.returncode is not None
        return process.returncode, out, err


def interpreter(folder: Path, log: Path) -> Path:
    """A program that stands in for Python, runs `late_imports`, and writes stderr to `log`."""
    script = folder / "python"
    line = shlex.join([sys.executable, late_imports.__file__])
    script.write_text(f'#!/bin/sh\nexec {line} "$@" 2>>{shlex.quote(str(log))}\n')
    script.chmod(0o755)
    return script


@asynccontextmanager
async def front(
    folder: Path, monkeypatch: Any, count: int = 1, takes_passwords: bool = False
) -> AsyncIterator[Front]:
    """A front that listens on a port of its own, put away afterwards."""
    log = folder / "workers.log"
    log.touch()
    monkeypatch.setattr(workers_module.sys, "executable", str(interpreter(folder, log)))
    place = await local_descriptors()
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    listener.setblocking(False)
    keys, connections = HostKeys(folder / "host-keys"), Connections(proves)
    desk = Desk(lambda: open_store(folder / "state"))
    behind = Behind(place.link)
    try:
        async with asyncio.TaskGroup() as group:
            admission = Admission(connections, desk, step_of, group, _now)
            admission.matches = matches if takes_passwords else None
            answer = Answering(desk, Timekeeper(desk, boot.look), set).answer
            reception = Reception(
                cast(Broker, behind), connections, pipes.make, admission, answer, group, _now
            )
            workers = Workers(count, (WORKER_ID, WORKER_ID), keys, connections, reception)
            tasks = [group.create_task(work) for work in (workers.run(), accept(listener, workers))]
            async with asyncio.timeout(30):
                while sum(worker.ready for worker in workers._workers) < count:
                    await asyncio.sleep(0.01)
            port = listener.getsockname()[1]
            yield Front(port, folder, behind, connections, reception, workers, log, desk)
            for task in tasks:
                task.cancel()
    finally:
        listener.close()
        place.close()
        await desk.ask(lambda store: cast(Store, store).close())
        desk.close()


async def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def _now() -> datetime:
    return datetime.now(UTC)
