"""The way in of somebody whose image is not on this machine any more, but in a registry.

Owns one fetch an image, however many wait for it, and how long who has no terminal waits. Must not know
engines, registries or SSH.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from gateway.broker import Broker
from gateway.desk import Desk
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.journal import explain, note
from gateway.ports import Backend, Progress
from gateway.rooms import Entry
from gateway.transfers import Transfer, bar, words

TELL_EVERY = 1.0
PATIENCE = 6.0
"""Seconds that editors and scripts wait: editors give up after 10 to 15, and then know nothing."""


@dataclass
class Fetch:
    """One fetch that goes on; `begun` is of the loop's clock, and `over` never fails."""

    begun: float
    over: asyncio.Future[PlatformError | None]
    transfer: Transfer = field(default_factory=lambda: Transfer(0, 0, False))


class Fetching:
    """Lets people in as the broker does, and fetches a missing image first. `tasks` own the fetches."""

    def __init__(self, desk: Desk, backend: Backend, broker: Broker, tasks: asyncio.TaskGroup) -> None:
        self._desk = desk
        self._backend = backend
        self._broker = broker
        self._tasks = tasks
        self._fetches: dict[str, Fetch] = {}

    async def enter(self, user_id: int, connection_id: str, progress: Progress, terminal: bool) -> Entry:
        """As Broker.enter. Who has a terminal watches a fetch; others are told UNAVAILABLE how far it is."""
        if user_id not in self._broker.running():
            await self._have_image(user_id, progress, terminal)
        try:
            return await self._broker.enter(user_id, connection_id, progress)
        except PlatformError as error:
            # Her container was to be replaced by one of another version.
            if error.code is not Code.NOT_FOUND or not await self._have_image(user_id, progress, terminal):
                raise
        return await self._broker.enter(user_id, connection_id, progress)

    async def _have_image(self, user_id: int, progress: Progress, terminal: bool) -> bool:
        """Fetch her image if it is only in a registry; whether it was."""
        image = (await self._desk.ask(lambda store: store.workspace(user_id))).image
        if image.registry_digest is None or await self._backend.holds(image.digest):
            return False
        await self._wait(image, progress, terminal)
        return True

    async def _wait(self, image: ImageVersion, progress: Progress, terminal: bool) -> None:
        loop = asyncio.get_running_loop()
        fetch = self._fetches.get(image.digest)
        if fetch is None:
            fetch = self._fetches[image.digest] = Fetch(loop.time(), loop.create_future())
            self._tasks.create_task(self._fetch(image, fetch))
        progress(f"the image {image.ref} is being fetched")
        patient_until = loop.time() + PATIENCE
        while not fetch.over.done():
            await asyncio.wait([fetch.over], timeout=TELL_EVERY)
            said = words(fetch.transfer, loop.time() - fetch.begun)
            if terminal:
                progress(f"{bar(fetch.transfer)} {said}", True)
            elif not fetch.over.done() and loop.time() >= patient_until:
                raise PlatformError(
                    Code.UNAVAILABLE, f"The image {image.ref} is being fetched: {said}; log in again then."
                )
        if terminal:
            progress("", True)
        fault = fetch.over.result()
        if fault is not None:
            raise fault

    async def _fetch(self, image: ImageVersion, fetch: Fetch) -> None:
        def told(transfer: Transfer) -> None:
            fetch.transfer = transfer

        fault = None
        try:
            await self._backend.fetch(image, told)
            seconds = round(asyncio.get_running_loop().time() - fetch.begun, 3)
            note("image_fetched", image=image.ref, seconds=seconds)
        except Exception as error:
            fault = explain(error)
        finally:
            del self._fetches[image.digest]
            fetch.over.set_result(fault)
