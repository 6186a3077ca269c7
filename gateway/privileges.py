"""Giving up privileges for good.

Owns the order that makes it irrevocable: groups, gid, uid, then no new privileges and death with the
parent (setresuid(2), prctl(2)). Must not know what runs afterwards.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import signal

from gateway.errors import Code, PlatformError

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


ACCOUNT = "gpu-gateway"
"""The account that workers run as; `gpuadmin install` makes it."""
NOBODY = 29_999
"""The uid and gid of workers where there is no such account: below the users' range, and nobody's."""


def worker_identity() -> tuple[int, int]:
    """The uid and gid of workers. Raises INVALID for an account that has root's."""
    try:
        found = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return NOBODY, NOBODY
    if found.pw_uid == 0 or found.pw_gid == 0:
        raise PlatformError(
            Code.INVALID, f"The account {ACCOUNT} has root's uid or gid; delete it and run: gpuadmin install"
        )
    return found.pw_uid, found.pw_gid


def drop(uid: int, gid: int) -> None:
    """Become `uid` and `gid` with no other group, able to open many descriptors and nothing else.

    Raises OSError when any step fails; the process must end then.
    """
    raise_limit()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # The kernel clears the death signal when the credentials change, so this comes last.
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def raise_limit() -> None:
    """As many descriptors as this process may have: each connection and container needs some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
