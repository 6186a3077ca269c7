"""Hearing the errors that GPUs report as they happen.

Owns the thread that waits for them, and when it begins anew: the driver keeps them nowhere, so it waits all
the time. Only GPUs that may be granted are listened to, for listening keeps a GPU from being reset. What an
error means is gateway.health's to say. Must not know SQL.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from gateway import boot, health, notices
from gateway.devices import Health
from gateway.errors import PlatformError
from gateway.journal import explain, note
from gateway.nvml import NvmlProbe, Xid, XidWatch
from gateway.wiring import Parts, now

WAIT_MILLISECONDS = 5000
"""One wait in the thread; what keeps a GPU that was drained from being reset lasts no longer."""
LOOK_EVERY = 1.0
"""Seconds between looks whether other GPUs are to be heard."""
AGAIN_AFTER = 5.0
TELL_AGAIN_AFTER = 600.0
"""Seconds before a holder reads of the same error again: a program that fails in a loop fills no terminal."""


class Alarms:
    """The Xids of one machine's GPUs."""

    def __init__(self, parts: Parts) -> None:
        self._desk = parts.desk
        self._broker = parts.broker
        self._era = ""
        self._told: dict[tuple[int, Xid], float] = {}

    async def run(self) -> None:
        """Hear them until cancelled; a driver that fails is asked again."""
        ear: _Ear | None = None
        try:
            while True:
                try:
                    ear = await self._turn(ear)
                    found = await ear.next(LOOK_EVERY)
                    if found is not None:
                        await self._note(found)
                except Exception as error:
                    note("work_failed", work="alarms", reason=explain(error).message)
                    await asyncio.sleep(AGAIN_AFTER)
        finally:
            if ear is not None:
                ear.stop()

    async def _turn(self, ear: _Ear | None) -> _Ear:
        """Who listens from now on: the same, while it hears the GPUs that are to be heard."""
        places = await self._places()
        if ear is not None and ear.places == places and ear.failure is None:
            return ear
        if ear is not None and ear.failure is not None:
            note("work_failed", work="alarms", reason=explain(ear.failure).message)
            await asyncio.sleep(AGAIN_AFTER)
        with suppress(PlatformError):
            self._era = await asyncio.to_thread(_era)
        fresh = _Ear(places)
        fresh.start()
        try:
            # Only now the old one need hear no more: what comes in between would never be told.
            await fresh.ready
            while ear is not None and (found := ear.left()) is not None:
                await self._note(found)
            note("gpus_heard", gpus=sorted(places))
        except BaseException:
            # Nobody else knows of it, and as long as it listens its GPUs cannot be reset.
            fresh.stop()
            raise
        if ear is not None:
            ear.stop()
        return fresh

    async def _places(self) -> dict[str, str]:
        """The PCI ids of the GPUs to be heard, by their ids; what befalls a slice its GPU tells."""
        devices = await self._desk.ask(lambda store: store.devices())
        wholes = [each for each in devices if each.part is None]
        heard = [each for each in wholes if each.state in (Health.HEALTHY, Health.DEGRADED)]
        return {each.id: each.hardware.bus_id for each in heard if each.hardware.bus_id is not None}

    async def _note(self, xid: Xid) -> None:
        era, moment = self._era, now()
        changed = await self._desk.ask(lambda store: store.note_xid(xid.device, xid.number, era, moment))
        note("gpu_xid", gpu=xid.device, xid=xid.number, quarantined=changed)
        # Of a GPU that is taken out of use its holder is told with what takes its place.
        if health.of_xid(xid.number).health is Health.HEALTHY:
            await self._tell_holder(xid)

    async def _tell_holder(self, xid: Xid) -> None:
        """A program of hers, most often, has failed: she reads why. Again only when some time has passed."""
        leases = await self._desk.ask(lambda store: store.held_leases())
        lease = next((lease for lease in leases if xid.device in lease.devices), None)
        device = self._broker.inventory.get(xid.device)
        moment = asyncio.get_running_loop().time()
        self._told = {what: at for what, at in self._told.items() if moment - at < TELL_AGAIN_AFTER}
        if lease is None or device is None or (lease.id, xid) in self._told:
            return
        self._told[lease.id, xid] = moment
        found = health.of_xid(xid.number).text
        self._broker.announce(lease.user_id, notices.reported(lease, device.name, found))


def _era() -> str:
    return f"{boot.look().boot} {NvmlProbe().driver_version()}"


class _Ear(threading.Thread):
    """A thread in which NVML waits; it dies with the process, however long its wait is.

    `ready` is done once it listens, or has failed; then `failure` says how.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        super().__init__(name="xids", daemon=True)
        self.places = places
        self.failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._stopping = threading.Event()
        self._heard: asyncio.Queue[Xid] = asyncio.Queue()

    async def next(self, seconds: float) -> Xid | None:
        """The next Xid; None when none came so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._heard.get()
        return None

    def left(self) -> Xid | None:
        """One that was heard and that nobody took; None when there is none."""
        return None if self._heard.empty() else self._heard.get_nowait()

    def stop(self) -> None:
        """Let the thread end after its wait; what it hears until then is nobody's."""
        self._stopping.set()

    def run(self) -> None:
        """Wait for Xids, one after the other, of whichever of the GPUs can be heard."""
        try:
            if not self.places:
                return
            with XidWatch(self.places) as watch:
                self._tell(self._begin)
                while watch.heard and not self._stopping.is_set():
                    xid = watch.wait(WAIT_MILLISECONDS)
                    if xid is not None:
                        self._tell(self._heard.put_nowait, xid)
        except Exception as error:
            self.failure = error
        finally:
            self._tell(self._begin)

    def _begin(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def _tell(self, what: Callable[..., object], *args: object) -> None:
        # The gateway may have ended meanwhile, and its loop with it.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *args)
