"""Which program a request means, by the rules of OpenSSH's sshd.

Owns argv. Must not start anything.
"""

from __future__ import annotations

import errno
import os
from typing import Union

from gateway.runner.inside.account import Account
from gateway.sessions import Kind, SessionRequest

SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)

Argv = list[Union[str, bytes]]


def program(request: SessionRequest, account: Account) -> tuple[str, Argv]:
    """The file to run and its arguments.

    A shell is a login shell, a command runs under `SHELL -c`. A subsystem never passes through a shell, whose
    start-up files may print: the first line of a protocol is not theirs. Raises FileNotFoundError for a
    subsystem that this image does not have.
    """
    name = os.path.basename(account.shell)
    if request.kind is Kind.SHELL:
        return account.shell, ["-" + name]
    if request.kind is Kind.EXEC:
        return account.shell, [name, "-c", request.command]
    path = _sftp_server() if request.command == b"sftp" else None
    if path is None:
        raise FileNotFoundError(errno.ENOENT, "no such subsystem", os.fsdecode(request.command[:100]))
    return path, [path]


def _sftp_server() -> str | None:
    """Where this image keeps its sftp-server."""
    return next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), None)
