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
from typing import Any

from gateway import boot
from gateway.devices import Health
from gateway.journal import explain, note
from gateway.nvml import NvmlProbe, Xid, XidWatch
from gateway.wiring import Parts, now

WAIT_MILLISECONDS = 5000
"""One wait in the thread; what keeps a GPU that was drained from being reset lasts no longer."""
LOOK_EVERY = 1.0
"""Seconds between looks whether other GPUs are to be heard."""
AGAIN_AFTER = 5.0


class Alarms:
    """The Xids of one machine's GPUs."""

    def __init__(self, parts: Parts) -> None:
        self._desk = parts.desk
        self._era = ""
        # GPUs that cannot be heard, and that it is of no use to listen to again.
        self._deaf: dict[str, str] = {}

    async def run(self) -> None:
        """Hear them until cancelled; a driver that fails is asked again."""
        while True:
            places = await self._places()
            if places and places != self._deaf:
                try:
                    self._era = await asyncio.to_thread(_era)
                    await self._hear(places)
                except Exception as error:
                    note("work_failed", work="alarms", reason=explain(error).message)
                    await asyncio.sleep(AGAIN_AFTER)
            await asyncio.sleep(LOOK_EVERY)

    async def _places(self) -> dict[str, str]:
        """The PCI ids of the GPUs to be heard, by their ids."""
        devices = await self._desk.ask(lambda store: store.devices())
        heard = [each for each in devices if each.state in (Health.HEALTHY, Health.DEGRADED)]
        return {each.id: each.hardware.bus_id for each in heard if each.hardware.bus_id is not None}

    async def _hear(self, places: Mapping[str, str]) -> None:
        """Hear these GPUs until others are to be heard. Raises what the thread raised."""
        ear = _Ear(places)
        ear.start()
        try:
            while not ear.ended.done():
                found = await ear.next(LOOK_EVERY)
                if found is not None:
                    await self._note(found)
                if await self._places() != places:
                    break
        finally:
            ear.stop()
        await ear.ended
        # What came while the thread ended is heard as well.
        while (found := ear.left()) is not None:
            await self._note(found)
        self._deaf = dict(places) if ear.deaf else {}

    async def _note(self, xid: Xid) -> None:
        era, moment = self._era, now()
        changed = await self._desk.ask(lambda store: store.note_xid(xid.device, xid.number, era, moment))
        note("gpu_xid", gpu=xid.device, xid=xid.number, quarantined=changed)


def _era() -> str:
    return f"{boot.look().boot} {NvmlProbe().driver_version()}"


class _Ear(threading.Thread):
    """A thread in which NVML waits; it dies with the process, however long its wait is."""

    def __init__(self, places: Mapping[str, str]) -> None:
        super().__init__(name="xids", daemon=True)
        self._watch = XidWatch(places)
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._heard: asyncio.Queue[Xid] = asyncio.Queue()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    async def next(self, seconds: float) -> Xid | None:
        """The next Xid; None when none came so long, or the thread has ended."""
        get = asyncio.ensure_future(self._heard.get())
        try:
            either: list[asyncio.Future[Any]] = [get, self.ended]
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return get.result() if get.done() else None
        finally:
            get.cancel()

    def left(self) -> Xid | None:
        """One that was heard and that nobody took; None when there is none."""
        return None if self._heard.empty() else self._heard.get_nowait()

    @property
    def deaf(self) -> bool:
        """Whether none of these GPUs can be heard."""
        return not self._watch.heard

    def stop(self) -> None:
        """Let the thread end after its wait."""
        self._stopping.set()

    def run(self) -> None:
        """Wait for Xids, one after the other. What fails is the result of `ended`."""
        try:
            with self._watch as watch:
                while watch.heard and not self._stopping.is_set():
                    xid = watch.wait(WAIT_MILLISECONDS)
                    if xid is not None:
                        self._tell(self._heard.put_nowait, xid)
        except Exception as error:
            self._tell(self._end, error)
        else:
            self._tell(self._end, None)

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)

    def _tell(self, what: Callable[..., object], *args: object) -> None:
        # The gateway may have ended meanwhile, and its loop with it.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *args)
