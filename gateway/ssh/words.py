"""How an error reads to a person at the other end of a session, and its exit status.

Owns that mapping for SSH; gpuadmin has its own. Must not know how errors come about.
"""

from __future__ import annotations

import asyncssh

from gateway.errors import Code, PlatformError

INTERRUPTED = 130
"""The status that a shell gives to a program which ^C ended."""
ENDED = 255
"""The status of a session that the platform ended, as ssh itself uses it for a lost connection."""

_SIGNALS = frozenset("ABRT ALRM FPE HUP ILL INT KILL PIPE QUIT SEGV TERM USR1 USR2".split())
_STATUS = {Code.NO_CAPACITY: 75, Code.UNAVAILABLE: 75, Code.QUOTA_EXCEEDED: 75, Code.DENIED: 77}


def status(error: PlatformError) -> int:
    """75 when it would succeed later, 77 when it is forbidden, else 1 (sysexits.h)."""
    return _STATUS.get(error.code, 1)


def line(text: str, terminal: bool, bar: bool = False) -> bytes:
    """One line of ours for stderr, with the line end that a raw terminal needs.

    A `bar` is drawn over the last one, until an empty one ends the line (ECMA-48 section 8.3.41: EL). An
    engine's reason may quote what a user wrote, so nothing in it steers a terminal.
    """
    if bar and not text:
        return b"\r\n"
    plain = "".join(mark if mark.isprintable() else " " for mark in text)
    end = "\r\n" if terminal else "\n"
    shown = f"\rgpu-gateway: {plain}\x1b[K" if bar else f"gpu-gateway: {plain}{end}"
    return shown.encode("utf-8", "replace")


def notice(text: str) -> bytes:
    """The same as wall(1) puts it on a terminal: on a line of its own, wherever the cursor was; a bell."""
    return b"\r\n\a" + line(text, True)


def shown(raw: bytes) -> str:
    """Foreign bytes for logs and lists: printable ASCII, the rest as \\xNN, cut at 200 bytes."""
    plain = range(0x20, 0x7F)
    return "".join(chr(byte) if byte in plain and byte != 0x5C else f"\\x{byte:02x}" for byte in raw[:200])


def signal_name(name: str) -> str:
    """A signal as RFC 4254 section 6.10 spells it; for one that it does not list, sshd's word."""
    return name if name in _SIGNALS else "SIG@openssh.com"


def refused(error: PlatformError) -> asyncssh.ChannelOpenError:
    """What a client is told when a channel cannot be opened."""
    denied = error.code is Code.DENIED
    code = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED if denied else asyncssh.OPEN_CONNECT_FAILED
    return asyncssh.ChannelOpenError(code, error.message)
