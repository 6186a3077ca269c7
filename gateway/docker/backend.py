"""The port Backend over a Docker engine.

Owns threads, the one change at a time that a workspace sees, and what survives a caller who gives up.
Every blocking call runs in a thread: short ones, changes and builds of images apart, so that twenty
starts never hold up a look.
"""

from __future__ import annotations

import asyncio
import resource
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

from gateway.docker import containers, images, limits, networks
from gateway.docker.client import LONG_SECONDS, SHORT_SECONDS, Client, engine_call, refused, unanswered
from gateway.docker.ends import ends
from gateway.docker.engine import EngineFacts, parse
from gateway.docker.fetching import fetch
from gateway.docker.firewall import Firewall
from gateway.docker.reach import reaches
from gateway.docker.spec import create_body
from gateway.images import ImageVersion
from gateway.ports import ContainerEnd, Progress
from gateway.transfers import Transfer
from gateway.workspaces import Container, ContainerSpec, Limits, spec_hash

P = ParamSpec("P")
T = TypeVar("T")

_REPLACED_GRACE = timedelta(seconds=5)
_LOOK_SECONDS = 10.0
_MOST_DESCRIPTORS = 65536


class DockerBackend:
    """Runs the containers of one installation.

    `instance` is the installation's own four hex digits; `pool` holds every workspace's subnet. `base_url` is
    the engine's address; None means DOCKER_HOST or the default socket. `driver` says which one the GPUs have,
    for images that ask for a newer. Nothing is asked of the engine before the first call, so a gateway
    starts while its engine is away.
    """

    def __init__(
        self,
        instance: str,
        pool: str,
        base_url: str | None = None,
        driver: containers.Driver = lambda: None,
    ) -> None:
        self._instance = instance
        self._base_url = base_url
        self._driver = driver
        self._firewall = Firewall(instance, pool)
        self._quick = Client(base_url, SHORT_SECONDS)
        self._slow = Client(base_url, LONG_SECONDS)
        self._looks = ThreadPoolExecutor(8, "engine-look")
        self._changes = ThreadPoolExecutor(8, "engine-change")
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def start(self, spec: ContainerSpec, progress: Progress) -> Container:
        """See the port. A container that does not run is removed and made anew, never started again."""
        return await self._alone(spec.workspace_id, lambda: self._started(spec, progress))

    async def holds(self, digest: str) -> bool:
        """See the port."""
        return await self._look(images.find, digest, self._base_url) is not None

    async def fetch(self, image: ImageVersion, told: Callable[[Transfer], None]) -> None:
        """See the port."""
        await fetch(image, told, self._base_url)

    async def inspect(self, workspace_id: int) -> Container | None:
        """See the port."""
        return await self._look(self._find, workspace_id)

    async def list(self) -> Sequence[Container]:
        """See the port."""
        return await self._look(lambda: containers.listing(self._quick_api(), self._instance))

    async def limit(self, workspace_id: int, limits: Limits) -> None:
        """See the port."""
        await self._alone(workspace_id, lambda: self._change(self._limit, workspace_id, limits))

    async def stop(self, workspace_id: int, grace: timedelta) -> None:
        """See the port."""
        await self._alone(workspace_id, lambda: self._change(self._stop, workspace_id, grace))

    async def remove(self, workspace_id: int) -> None:
        """See the port."""
        await self._alone(workspace_id, lambda: self._change(self._remove, workspace_id))

    async def remove_network(self, workspace_id: int) -> None:
        """See the port."""
        await self._alone(workspace_id, lambda: self._change(self._remove_network, workspace_id))

    async def processes(self, workspace_id: int) -> int:
        """See the port."""
        return await self._look(lambda: containers.processes(self._quick_api(), self._instance, workspace_id))

    async def reaches(self, workspace_id: int) -> bool:
        """See the port."""
        return await self._look(lambda: reaches(self._quick_api(), self._instance, workspace_id))

    def ends(self) -> AsyncIterator[ContainerEnd]:
        """See the port."""
        return ends(self._slow, self._instance)

    async def facts(self) -> EngineFacts:
        """What the engine is. Raises UNAVAILABLE when it does not answer or is too old."""
        return await self._look(self._facts)

    async def close(self) -> None:
        """Finish the changes under way, then drop every connection and thread."""
        await asyncio.gather(*self._unfinished, return_exceptions=True)
        for pool in (self._looks, self._changes):
            pool.shutdown(wait=False)
        self._quick.close()
        self._slow.close()

    async def _started(self, spec: ContainerSpec, progress: Progress) -> Container:
        found = await self._look(self._find, spec.workspace_id)
        if found is not None and found.running and found.spec_hash == spec_hash(spec):
            await self._change(self._limit, spec.workspace_id, spec.limits)
            return found
        progress("replacing your container" if found and found.running else "starting your container")
        return await self._change(self._make, spec, found)

    def _make(self, spec: ContainerSpec, found: Container | None) -> Container:
        """The whole change in one thread: what its caller gives up half-way still ends whole."""
        body = create_body(spec, instance=self._instance, engine=self._facts(), descriptors=_descriptors())
        self._firewall.ensure()
        api = self._slow_api()
        if found is not None:
            self._stop(spec.workspace_id, _REPLACED_GRACE)
            self._remove(spec.workspace_id)
        networks.ensure_network(api, spec, self._instance)
        containers.make(api, spec, self._instance, body, self._driver)
        made = self._find(spec.workspace_id)
        if made is None or not made.running:
            self._remove(spec.workspace_id)
            code = "unknown" if made is None else made.exit_code
            raise refused("keep your container running", f"it ended at once, exit status {code}")
        return made

    def _find(self, workspace_id: int) -> Container | None:
        return containers.inspect(self._quick_api(), self._instance, workspace_id)

    def _limit(self, workspace_id: int, wanted: Limits) -> None:
        limits.apply(self._quick_api(), self._instance, workspace_id, wanted)

    def _stop(self, workspace_id: int, grace: timedelta) -> None:
        containers.stop(self._slow_api(), self._instance, workspace_id, grace)

    def _remove(self, workspace_id: int) -> None:
        containers.remove(self._slow_api(), self._instance, workspace_id)

    def _remove_network(self, workspace_id: int) -> None:
        networks.remove_network(self._slow_api(), workspace_id, self._instance)

    def _facts(self) -> EngineFacts:
        """Asked anew for every start: an engine may be upgraded, or find new devices, under us."""
        api = self._quick_api()
        with engine_call("say what it is"):
            return parse(api.version(api_version=False), api.info())

    def _quick_api(self) -> Any:
        with engine_call("speak to us"):
            return self._quick.api()

    def _slow_api(self) -> Any:
        with engine_call("speak to us"):
            return self._slow.api()

    def _ping(self) -> None:
        with engine_call("speak to us"):
            self._quick.api().ping()

    async def _look(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A short call: answered in time, whatever holds it up, a silent engine or the calls before it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await loop.run_in_executor(self._looks, partial(ask, *args, **kwargs))
        except TimeoutError as error:
            raise unanswered() from error

    async def _change(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A call that may take long; `_alone` has asked whether the engine is there at all."""
        return await asyncio.get_running_loop().run_in_executor(self._changes, partial(act, *args, **kwargs))

    async def _alone(self, workspace_id: int, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """One change at a time for each workspace. A caller who gives up leaves the change to end whole."""

        async def in_turn() -> T:
            # Before queueing: behind a silent engine everybody is told in time, not one after the other.
            await self._look(self._ping)
            async with self._locks[workspace_id]:
                return await work()

        task = asyncio.create_task(in_turn())
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            # Seen, so that a failure nobody waits for any more is not reported as never retrieved.
            task.exception()


def _descriptors() -> int:
    """How many files one process of a workspace may open: no engine here can raise it above our own limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
