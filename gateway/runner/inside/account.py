"""Whose processes these are, as the container's own passwd says.

Owns the fallbacks for a uid that has no entry. Must not know requests.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """The user of this container: `home` may not exist, `shell` may not either."""

    name: str
    uid: int
    home: str
    shell: str


def account() -> Account:
    """The account of this process; read anew for each start, since a login shell may be changed."""
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, os.environ.get("HOME", "/"), "/bin/sh")
    return Account(entry.pw_name, uid, entry.pw_dir or "/", entry.pw_shell or "/bin/sh")
