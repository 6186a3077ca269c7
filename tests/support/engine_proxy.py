"""Stands between a client and the engine, and misbehaves when told: gone, silent, or of another version.

Owns a unix socket. The real engine, which others share, is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

ENGINE = "/var/run/docker.sock"
SPOKEN = "1.41"
"""The API version of the engine that tests run on."""
_UNSPOKEN = b"9.99"
_ASKED = re.compile(rb"(?<= /v)\d\.\d\d(?=/\S* HTTP/1)")
_OFFERED = re.compile(rb'(?<=Api-Version: )\d\.\d\d|(?<="ApiVersion":")\d\.\d\d')


class EngineProxy:
    """`address` is what a client is given. Starts absent; `open`, `cut` and `hush` change it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent = False
        self._speaks = SPOKEN
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

    def become(self, version: str) -> None:
        """Speak this API version alone from now, of as many digits as the engine's; as an upgrade would.

        Real engines speak a range: 29 speaks 1.44 to 1.53 (docs.docker.com/reference/api/engine).
        """
        assert len(version) == len(SPOKEN)
        self._speaks = version

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
            await asyncio.gather(_copy(reader, engine, self._ask), _copy(answers, writer, self._answer))
        finally:
            for end in (writer, engine):
                if end is not None:
                    self._writers.discard(end)
                    end.close()

    def _ask(self, data: bytes) -> bytes:
        """A request in our version is in the engine's; one in another is one that the engine refuses."""
        ours = self._speaks.encode()
        return _ASKED.sub(lambda found: SPOKEN.encode() if found[0] == ours else _UNSPOKEN, data)

    def _answer(self, data: bytes) -> bytes:
        return _OFFERED.sub(self._speaks.encode(), data)


async def _copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, change: Callable[[bytes], bytes]
) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(change(data))
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.close()
