"""asyncssh's client as a program: HOST PORT USER KEY VERB ARGUMENT...

Owns no judgement; it carries its own streams to and from one channel and ends with the remote status.
"""

from __future__ import annotations

import asyncio
import sys

import asyncssh


async def tunnel(connection: asyncssh.SSHClientConnection, port: int) -> None:
    """Standard input through a forward to its end, then the answer to standard output."""
    reader, writer = await connection.open_connection("127.0.0.1", port, encoding=None)
    writer.write(sys.stdin.buffer.read())
    writer.write_eof()
    sys.stdout.buffer.write(await reader.read())


async def main(host: str, port: str, user: str, key: str, verb: str, *words: str) -> int:
    """Do what `verb` says; the exit status of the remote program, or 0."""
    agent = {"agent_forwarding": True} if verb == "agent" else {"agent_path": None}
    async with asyncssh.connect(
        host, int(port), username=user, client_keys=[key], known_hosts=None, config=None, **agent
    ) as connection:
        if verb in ("put", "get"):
            async with connection.start_sftp_client() as sftp:
                await getattr(sftp, verb)(*words)
            return 0
        if verb == "tunnel":
            await tunnel(connection, int(words[0]))
            return 0
        if verb == "back":
            await connection.forward_remote_port("127.0.0.1", int(words[0]), "127.0.0.1", int(words[1]))
            await connection.wait_closed()
            return 0
        terminal = {"term_type": "xterm", "term_size": (100, 30)} if verb == "terminal" else {}
        streams = {"stdin": sys.stdin, "stdout": sys.stdout, "stderr": sys.stderr}
        done = await connection.run(words[0], encoding=None, **terminal, **streams)
        return 255 if done.exit_status is None else done.exit_status


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
