"""`ssh gateway gpu ...`: answered by the broker, without the container.

Owns how the answer goes into the session's channel. Must not know what is asked.
"""

from __future__ import annotations

from contextlib import suppress

from gateway.sessions import Kind, Pty
from gateway.ssh import words
from gateway.ssh.channels import SessionChannel
from gateway.ssh.entry import Entry


async def answered(
    entry: Entry, session: str, channel: SessionChannel, asked: tuple[str, ...], pty: Pty | None
) -> int:
    """Have `gpu` with these words answered: its exit status. The session counts as open meanwhile.

    As from a program, a terminal gets all of it with its line ends; else stderr is apart. Raises
    PlatformError when she has too many sessions, or the broker is gone.
    """

    def say(text: str, error: bool) -> None:
        data = text.encode("utf-8", "replace")
        with suppress(OSError):
            if pty is not None:
                channel.write(data.replace(b"\n", b"\r\n"))
            elif error:
                channel.write_stderr(data)
            else:
                channel.write(data)

    try:
        await entry.begin_session(session, Kind.EXEC.value, words.shown(channel.command))
        return await entry.ask(session, asked, say)
    finally:
        entry.closed(session)
