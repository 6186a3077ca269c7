"""A fetch from a registry in the background of an event loop.

Owns the thread, which nobody waits for when the gateway ends: the engine stops what nobody listens to. Must
not know who needs the image.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from gateway.docker import keeping, registry
from gateway.images import ImageVersion
from gateway.references import Reference
from gateway.transfers import Transfer


class _Stopped(Exception):
    """Nobody wants it any more."""


async def fetch(image: ImageVersion, told: Callable[[Transfer], None], base_url: str | None) -> None:
    """Have the engine hold a recorded version, under its name when that names nothing else.

    `told` is called on the loop. Raises as registry.fetch does; cancelling ends the fetch at its next word.
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()
    over: asyncio.Future[None] = loop.create_future()
    place = Reference.parse(image.registry_digest or "")
    assert place is not None

    def hear(transfer: Transfer) -> None:
        if stop.is_set():
            raise _Stopped
        loop.call_soon_threadsafe(told, transfer)

    def settle(error: Exception | None) -> None:
        if not over.done():
            over.set_result(None) if error is None else over.set_exception(error)

    def work() -> None:
        fault: Exception | None = None
        try:
            registry.fetch(place, hear, expected=image.digest, base_url=base_url)
            keeping.name(image.digest, image.ref, base_url)
        except Exception as error:
            fault = error
        # The loop may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, fault)

    threading.Thread(target=work, name="engine-fetch", daemon=True).start()
    try:
        await over
    finally:
        stop.set()
