"""What an SSH client is to the stories: command lines that do the same five things.

Owns the words for it. Must not know which clients there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Words = list[str]


@dataclass(frozen=True)
class Login:
    """Who logs in where, and a `folder` with the key in each spelling.

    In it: `id` (OpenSSH), `id.pub`, `id.ppk` (PuTTY), `id.dropbear`; `config` is OpenSSH's, with `gw` in it.
    """

    host: str
    port: int
    user: str
    fingerprint: str
    config: Path
    folder: Path


@dataclass(frozen=True)
class Stack:
    """One client, as command lines for a login. What it cannot do at all is None, and `lacks` says why.

    `run` takes a remote command; `terminal` too, on a pseudo-terminal; `put` a local and a remote path; `get`
    a remote and a local one; `tunnel` a port of the container, and carries its standard streams to it; `back`
    a port of the container that it listens on until it is ended, and the port here that is meant.
    `agent` takes a remote command and forwards the agent of SSH_AUTH_SOCK to it, where that is tried.
    `text` marks a client whose streams of a command are text, and whose forwards end both halves at once.
    """

    name: str
    run: Callable[[Login, str], Words] | None = None
    terminal: Callable[[Login, str], Words] | None = None
    put: Callable[[Login, str, str], Words] | None = None
    get: Callable[[Login, str, str], Words] | None = None
    tunnel: Callable[[Login, int], Words] | None = None
    back: Callable[[Login, int, int], Words] | None = None
    agent: Callable[[Login, str], Words] | None = None
    text: bool = False
    lacks: str = ""
