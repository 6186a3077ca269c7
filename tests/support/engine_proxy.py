"""Stands between a client and the engine, and misbehaves when told: gone, or silent.

Owns a unix socket. The real engine, which others share, is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

ENGINE = "/var/run/docker.sock"


class EngineProxy:
    """`address` is what a client is given. Starts absent; `open`, `cut` and `hush` change it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent = False
        self.address = f"unix://{path}"

    async def open(self) -> None:
        """Pass connections on from now."""
        self._silent = False
        if self._server is None:
            self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def hush(self) -> None:
        """Accept from now, and never answer."""
        await self.open()
        self._silent = True

    async def cut(self) -> None:
        """Break every connection and be gone, as an engine that was stopped."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        engine: asyncio.StreamWriter | None = None
        try:
            if self._silent:
                await reader.read()
                return
            answers, engine = await asyncio.open_unix_connection(ENGINE)
            self._writers.add(engine)
            await asyncio.gather(_copy(reader, engine), _copy(answers, writer))
        finally:
            for end in (writer, engine):
                if end is not None:
                    self._writers.discard(end)
                    end.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.close()
