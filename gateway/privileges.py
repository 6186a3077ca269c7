"""Giving up privileges for good.

Owns the order that makes it irrevocable: groups, gid, uid, then no new privileges and death with the
parent (setresuid(2), prctl(2)). Must not know what runs afterwards.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


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
