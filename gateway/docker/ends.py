"""Ends of containers, from the engine's event stream.

Owns the thread that reads it, reconnecting, and that no end is lost or told twice in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import docker
import requests

from gateway.docker.client import Client
from gateway.docker.containers import ended_by_oom
from gateway.docker.naming import instance_filter, workspace_of
from gateway.ports import ContainerEnd

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0

# What a read of the stream may end with: the engine's refusal, a broken or silent connection, a cut line.
_TROUBLE = (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError)


def ends(client: Client, instance: str) -> AsyncIterator[ContainerEnd]:
    """Each end of a container of this installation from this call on, for as long as it is iterated."""
    # The engine runs on this machine, so its clock is ours; the stream begins here even if it is read later.
    return _ends(client, instance, _engine_time(time.time_ns()))


async def _ends(client: Client, instance: str, since: str) -> AsyncIterator[ContainerEnd]:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[ContainerEnd] = asyncio.Queue()

    def tell(end: ContainerEnd) -> None:
        # The loop may close under a reader that is about to be stopped; nobody waits for this end then.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(queue.put_nowait, end)

    reader = _Reader(client, instance, since, tell)
    reader.start()
    try:
        while True:
            yield await queue.get()
    finally:
        reader.stop()


class _Reader:
    """Reads the stream in a thread of its own, for a read cannot be awaited."""

    def __init__(
        self, client: Client, instance: str, since: str, tell: Callable[[ContainerEnd], None]
    ) -> None:
        self._client = client
        self._instance = instance
        self._since = since
        self._tell = tell
        self._over = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, name="container-ends", daemon=True)

    def start(self) -> None:
        """Read until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread soon; what it is reading is cut off."""
        self._over.set()
        self._cut()

    def _cut(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(*_TROUBLE):
                stream.close()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._over.is_set():
            # A long silence is trouble too: it cannot be told from an engine that hangs.
            with contextlib.suppress(*_TROUBLE):
                self._connect()
                pause = _FIRST_PAUSE
                # Asked after the stream is known: either `stop` has cut it, or we see that we are to stop.
                if not self._over.is_set():
                    self._read()
            self._cut()
            self._over.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _connect(self) -> None:
        filters = instance_filter(self._instance) | {"type": ["container"], "event": ["die"]}
        self._stream = self._client.api().events(since=self._since, filters=filters, decode=True)

    def _read(self) -> None:
        stream = self._stream
        for event in stream or ():
            if self._over.is_set():
                return
            # One past the last seen: `since` includes its own instant.
            self._since = _engine_time(int(event["timeNano"]) + 1)
            end = self._end(event)
            if end is not None and not self._over.is_set():
                self._tell(end)

    def _end(self, event: Mapping[str, Any]) -> ContainerEnd | None:
        attributes = event["Actor"]["Attributes"]
        workspace_id = workspace_of(attributes, self._instance)
        if workspace_id is None:
            return None
        code = attributes.get("exitCode", "")
        return ContainerEnd(
            workspace_id=workspace_id,
            container_id=event["Actor"]["ID"],
            exit_code=int(code) if code.isdigit() else None,
            oom_killed=self._out_of_memory(event["Actor"]["ID"]),
        )

    def _out_of_memory(self, container_id: str) -> bool:
        """Ask the engine; a container that was removed meanwhile was ended by somebody, not by memory."""
        try:
            return ended_by_oom(self._client.api().inspect_container(container_id)["State"])
        except _TROUBLE:
            return False


def _engine_time(nanoseconds: int) -> str:
    """Nanoseconds since 1970 as the `seconds.nanoseconds` that the engine's events take."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
