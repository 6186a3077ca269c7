"""Are the site's own directories there, and are they what they seem?

Owns the look at the disk before anything is shown to a container. Must not know who sees what.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from gateway.errors import Code, PlatformError
from gateway.mounts import SharedMount

# What a file server without a common list of names shows for every owner.
_UNMAPPED = 65534


def check(mounts: Iterable[SharedMount], ca_bundle: Path | None) -> None:
    """Raise NOT_FOUND for what is absent, INVALID for a link in the way: its owner could turn it."""
    for mount in mounts:
        _check(mount)
    if ca_bundle is not None and not (ca_bundle.is_file() and os.access(ca_bundle, os.R_OK)):
        raise PlatformError(
            Code.NOT_FOUND,
            f"The CA bundle {ca_bundle} is no file that can be read; correct ca_bundle in the config.",
        )


def check_home(home: str, uid: int, name: str) -> bool:
    """Whether a site's home is there. Raises INVALID for a link, for no directory, and for somebody else's.

    A link could be turned to anybody's files, and a home of another uid is most likely a mistyped number.
    """
    try:
        found = os.lstat(home)
    except (FileNotFoundError, ValueError):
        # A path that no file system can hold is refused by who parses it.
        return False
    except OSError:
        # Root may be kept out of a file server's homes; the engine only needs to mount it.
        return True
    if stat.S_ISLNK(found.st_mode):
        raise PlatformError(
            Code.INVALID, f"The home {home} of {name} is a link; give the directory {os.path.realpath(home)}."
        )
    if not stat.S_ISDIR(found.st_mode):
        raise PlatformError(Code.INVALID, f"The home {home} of {name} is not a directory; give one.")
    if found.st_uid not in (uid, _UNMAPPED):
        raise PlatformError(
            Code.INVALID,
            f"The home {home} belongs to the uid {found.st_uid}, and {name} has {uid}; correct one of them.",
        )
    return True


def _check(mount: SharedMount) -> None:
    try:
        mode = os.lstat(mount.source).st_mode
    except PermissionError:
        # Root may be kept out by a file server; the engine only needs to mount it.
        return
    except OSError as error:
        raise PlatformError(
            Code.NOT_FOUND,
            f"The directory {mount.source} that is to be shown as {mount.target} cannot be seen "
            f"({os.strerror(error.errno or 0)}); mount it, or take its [[mount]] out of the config.",
        ) from None
    real = os.path.realpath(mount.source)
    if real != mount.source:
        raise PlatformError(
            Code.INVALID, f"The mount {mount.source} is a link, or behind one; write {real} in the config."
        )
    if not stat.S_ISDIR(mode):
        raise PlatformError(Code.INVALID, f"The mount {mount.source} is not a directory; write one.")
