"""What a client asked for on one channel, and how it ended.

Owns the values that travel from an SSH channel to the program inside the container. Must not know
asyncssh, sockets or containers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """The three ways of RFC 4254 section 6.5 to start a program."""

    SHELL = "shell"
    EXEC = "exec"
    SUBSYSTEM = "subsystem"


@dataclass(frozen=True)
class Window:
    """The size of a terminal: characters, then pixels (0 when the client did not say)."""

    columns: int
    rows: int
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Pty:
    """A terminal request (RFC 4254 section 6.2); `modes` maps opcodes of section 8 to values."""

    term: str
    window: Window
    modes: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SessionRequest:
    """A program to start as the workspace's user.

    `command` is the raw byte string of an exec request, or the name of a subsystem, and empty for a
    shell. `env` holds what the client sent and policy let through, and what the gateway adds
    (SSH_CONNECTION and friends); values may hold surrogate escapes for bytes that are not UTF-8.
    `greeting` is shown on the terminal before anything else, unless she has a ~/.hushlogin.
    """

    kind: Kind
    command: bytes = b""
    env: dict[str, str] = field(default_factory=dict)
    pty: Pty | None = None
    greeting: str = ""


@dataclass(frozen=True)
class Exit:
    """How a program ended: a status 0..255, or the name of the signal (without SIG) that ended it.

    Exactly one of the two is set. `out_of_memory` says that the kernel has just ended a program of
    this container because its memory was used up: this one, or one that it waited for.
    """

    status: int | None = None
    signal: str | None = None
    core_dumped: bool = False
    out_of_memory: bool = False
