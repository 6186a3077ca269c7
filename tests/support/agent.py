"""An ssh-agent that holds one security key in software.

Owns the socket and the two messages of the agent protocol (draft-ietf-sshm-ssh-agent) that a login needs.
Must not know what its signatures are good for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asyncssh.packet import Byte, PacketDecodeError, SSHPacket, String, UInt32

from tests.support.keys import SecurityKey

_FAILURE, _IDENTITIES, _ANSWER, _SIGN, _SIGNED = 5, 11, 12, 13, 14


@asynccontextmanager
async def holding(socket: Path, key: SecurityKey, shown: bytes | None = None) -> AsyncIterator[None]:
    """Listen at `socket` while the block runs. `shown` is a certificate to offer in the key's place."""
    blob = shown or key.blob

    def answer(message: bytes) -> bytes:
        packet = SSHPacket(message)
        kind = packet.get_byte()
        if kind == _IDENTITIES:
            return Byte(_ANSWER) + UInt32(1) + String(blob) + String(b"software")
        if kind == _SIGN and packet.get_string() == blob:
            return Byte(_SIGNED) + String(key.sign(packet.get_string()))
        return Byte(_FAILURE)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                writer.write(String(answer(await reader.readexactly(size))))
        except (asyncio.IncompleteReadError, ConnectionError, PacketDecodeError):
            writer.close()

    server = await asyncio.start_unix_server(serve, str(socket))
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        socket.unlink(missing_ok=True)
