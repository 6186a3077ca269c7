"""Whether this machine can show a page, and run what it compiles in a container.

Owns the reasons why not, which a test gives when it is left out.
"""

from __future__ import annotations

import os
import platform

CONTAINERS_LIBC = (2, 36)
"""Debian 12's, which the base image is made of."""


def no_chromium() -> str:
    """Why this machine has no Chromium; empty when it has one, or should have."""
    ubuntu = platform.freedesktop_os_release().get("ID") == "ubuntu"
    absent = not os.path.exists("/usr/bin/chromium")
    return "Ubuntu has Chromium as a snap alone" if ubuntu and absent else ""


def no_compiler() -> str:
    """Why nothing that is compiled here runs in a container; empty when it does."""
    version = (os.confstr("CS_GNU_LIBC_VERSION") or "glibc 0").split()[1]
    newer = tuple(int(number) for number in version.split(".")[:2]) > CONTAINERS_LIBC
    return f"what is compiled here wants glibc {version}, and the containers' is older" if newer else ""
