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


def check(mounts: Iterable[SharedMount], ca_bundle: Path | None) -> None:
    """Raise NOT_FOUND for what is absent, INVALID for a link in the way: its owner could turn it."""
    for mount in mounts:
        _check(mount)
    if ca_bundle is not None and not (ca_bundle.is_file() and os.access(ca_bundle, os.R_OK)):
        raise PlatformError(
            Code.NOT_FOUND,
            f"The CA bundle {ca_bundle} is no file that can be read; correct ca_bundle in the config.",
        )


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
