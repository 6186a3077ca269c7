"""From a configuration to the parts: store, engine, folders, broker.

Owns which adapter stands behind which port. Must not know asyncssh: gpuadmin is wired here as well.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from gateway import boot, networks
from gateway.answering import Answering
from gateway.broker import Broker
from gateway.config import Config, this_machine
from gateway.custody import Custody
from gateway.desk import Desk
from gateway.docker.backend import DockerBackend
from gateway.docker.naming import bridge_prefix
from gateway.errors import Code, PlatformError
from gateway.examining import Examining
from gateway.folders import WorkspaceFolders, shared
from gateway.granting import Granting
from gateway.hygiene import Hygiene
from gateway.idling import Idling
from gateway.limiting import Limiting
from gateway.nvml import NvmlProbe
from gateway.parting import Parting
from gateway.ports import RunnerLink
from gateway.questions import Say
from gateway.rationing import Rationing
from gateway.replacing import Replacing
from gateway.restarting import Restarting
from gateway.runner.bundle import COMMAND, write_bundle, write_gpu
from gateway.runner.hatch import Doorway
from gateway.settling import Settling
from gateway.sqlite.store import Store
from gateway.store import BrokerStore
from gateway.timekeeper import Timekeeper
from gateway.users import User
from gateway.wishes import Wishes
from gateway.workspaces import ContainerSpec, Workspace, container_spec, spec_hash

RUNNER = "runner.pyz"
GPU = "gpu"


class Parts:
    """The platform without its front door."""

    def __init__(self, config: Config, open_store: Callable[[], Store]) -> None:
        """Build everything. Raises PlatformError when the store or the address pool cannot be used."""
        self.config = config
        opened: list[Store] = []

        def open_once() -> BrokerStore:
            opened.append(open_store())
            return opened[0]

        self.desk = Desk(open_once)
        self.instance = opened[0].instance()
        check_pool(config, self.instance)
        write_bundle(config.state / RUNNER)
        write_gpu(config.state / GPU)
        self.folders = WorkspaceFolders(config.state, config.mounts, config.disk_images)
        self.backend = DockerBackend(self.instance, str(config.pool), driver=NvmlProbe().driver_version)
        self.broker = Broker(
            self.desk, self.backend, self.folders, self._template, spec_hash, self._link, now
        )

        timekeeper = Timekeeper(self.desk, boot.look)
        self.answering = Answering(self.desk, timekeeper, self.broker.running)
        self.settling = Settling(self.desk, self.broker, self.backend, timekeeper)
        self.parting = Parting(self.broker, config.checkpoint, now)
        self.settling.part = self.parting.wind_down
        self.settling.clean = Hygiene(self.desk, NvmlProbe().occupations, now, time.monotonic).clean
        self.idling = Idling(self.desk, self.broker, self.settling, timekeeper, boot.look)
        self.granting = Granting(self.desk, self.broker, timekeeper)
        self.replacing = Replacing(self.desk, self.broker, timekeeper)
        self.restarting = Restarting(self.desk, self.broker, self.backend, timekeeper)
        self.restarting.part = self.parting.wind_down
        self.answering.look_at = self.restarting.look_at
        self.examining = Examining(self.desk, self.broker, self.backend, now)
        self.custody = Custody(self.desk, self.broker, self.backend, self.folders, timekeeper)
        self.custody.part = self.parting.wind_down
        self.rationing = Rationing(self.desk, self.broker, self.folders, now)
        self.limiting = Limiting(self.desk, self.backend, self.rationing)

    def wishes(self, end_session: Callable[[str, str], bool]) -> Wishes:
        """Who does what operators want."""
        return Wishes(self.desk, self.broker, self.settling, self.custody, self.limiting, end_session, now)

    async def close(self) -> None:
        """Give everything back; containers run on."""
        self.idling.close()
        await self.idling.wait_closed()
        self.settling.close()
        self.restarting.close()
        await self.settling.wait_closed()
        await self.restarting.wait_closed()
        self.broker.close()
        await self.backend.close()
        self.desk.close()

    def _template(self, workspace: Workspace) -> ContainerSpec:
        return container_spec(
            workspace,
            state=str(self.config.state),
            runner=str(self.config.state / RUNNER),
            gpu=str(self.config.state / GPU),
            env=self.config.workspace_env(),
            subnet=str(networks.subnet(self.config.pool, workspace.user.id).network),
            command=COMMAND,
            shared=self.config.mounts,
            ca_bundle=None if self.config.ca_bundle is None else str(self.config.ca_bundle),
        )

    def _link(self, user: User) -> RunnerLink:
        def answer(words: Sequence[str], say: Say) -> Awaitable[int]:
            return self.answering.answer(user.id, words, say)

        return Doorway(self.folders.socket_directory(user.id), user.uid, answer)


async def act_without_broker(config: Config, store: Store, seconds: float) -> None:
    """Do all that is wanted, with no broker running; the caller holds the broker's lock.

    What takes longer than `seconds`, such as programs that save their work, is left to the next broker.
    """
    parts = Parts(config, lambda: store)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await parts.wishes(lambda id_, reason: False).grant()
    finally:
        await parts.close()


def open_store(config: Config, check: bool) -> Store:
    """The store of this installation; `check` looks for damage first."""
    return Store.open(config.state, this_machine(), config.uids, check=check)


def check_site(config: Config) -> None:
    """Raise what `shared.check` raises for the site's own directories and certificates.

    Asked when the gateway starts, not of gpuadmin: what is missing must not keep a lease from being ended.
    """
    shared.check(config.mounts, config.ca_bundle)


def check_pool(config: Config, instance: str) -> None:
    """Raise CONFLICT when this machine reaches part of network.pool by an interface that is not ours."""
    shown = subprocess.run(
        ["ip", "-j", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=False
    )
    if shown.returncode != 0:
        raise PlatformError(Code.UNAVAILABLE, "The host's routes cannot be read; install iproute2.")
    networks.check_pool(config.pool, networks.parse_routes(shown.stdout), bridge_prefix(instance))


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)
