"""The clients that are libraries, each under a small program of ours that all take the same words.

Owns where those programs are and how they are run. Must not know what is asked of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support.stacks import tools
from tests.support.stacks.stack import Login, Stack, Words

PROGRAMS = Path(__file__).parent / "programs"


def _called(start: Callable[[], Words]) -> Callable[[str, Login, object], Words]:
    def words(verb: str, login: Login, *rest: object) -> Words:
        key = str(login.folder / "id")
        return [*start(), login.host, str(login.port), login.user, key, verb, *map(str, rest)]

    return words


def _stack(name: str, start: Callable[[], Words], text: bool = False, agent: bool = False) -> Stack:
    call = _called(start)
    return Stack(
        name,
        run=lambda login, command: call("run", login, command),
        terminal=lambda login, command: call("terminal", login, command),
        put=lambda login, here, there: call("put", login, here, there),
        get=lambda login, there, here: call("get", login, there, here),
        tunnel=lambda login, port: call("tunnel", login, port),
        back=lambda login, there, here: call("back", login, there, here),
        agent=(lambda login, command: call("agent", login, command)) if agent else None,
        text=text,
    )


def _python(name: str) -> Callable[[], Words]:
    return lambda: [str(tools.python()), str(PROGRAMS / name)]


def _ssh2() -> Words:
    return [*tools.node(), str(PROGRAMS / "ssh2_client.js")]


def ssh2_socket(login: Login, path: str) -> Words:
    """ssh2 carries its standard streams to a socket file of the container, in OpenSSH's own way."""
    return _called(_ssh2)("socket", login, path)


ASYNCSSH = _stack("asyncssh", lambda: [sys.executable, str(PROGRAMS / "asyncssh_client.py")], agent=True)
PARAMIKO = _stack("paramiko", _python("paramiko_client.py"), agent=True)
FABRIC = replace(
    _stack("fabric", _python("fabric_client.py"), text=True),
    back=None,
    lacks="what it forwards ends in both directions at once, so an answer after the end is lost",
)
SSH2 = _stack("ssh2", _ssh2, agent=True)
LIBSSH = _stack("libssh", lambda: [str(tools.compiled(PROGRAMS / "libssh_client.c", "-lssh"))])
