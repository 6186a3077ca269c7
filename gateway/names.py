"""Names that people choose, parsed once and safe everywhere after.

Owns what a user may be called. Must not know accounts of this machine, paths or the store: containers,
directories and labels are named after immutable ids, never after what is parsed here.
"""

from __future__ import annotations

import re
import unicodedata

from gateway.errors import Code, PlatformError

_USER_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")

# Accounts of Debian's base-passwd and of common daemons (the name stands in the workspace's own passwd
# file, where a second `root` or `sshd` would confuse tools), and words with a meaning on command lines.
_RESERVED = frozenset(
    """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody _apt
    systemd-network systemd-resolve systemd-timesync systemd-coredump messagebus polkitd sshd ntp postfix
    _chrony docker dockerd nvidia-persistenced
    admin administrator operator operators gpu-operators all any default everyone none self
    gateway gpu-gateway gpuadmin gpu system host localhost
    """.split()
)


def parse_user_name(text: str) -> str:
    """The name, unchanged. Raises INVALID for one that no user may have (POSIX's portable names, lower case).

    A name that Unicode normalisation (NFKC) would change is refused, never repaired: what an operator
    typed and what a client presents must be the same bytes.
    """
    if unicodedata.normalize("NFKC", text) != text:
        raise PlatformError(
            Code.INVALID, f"The name {text!r} holds look-alike characters; type it in plain ASCII letters."
        )
    if not _USER_NAME.fullmatch(text):
        raise PlatformError(
            Code.INVALID,
            f"The name {text!r} cannot be used; choose 1 to 32 of a-z, 0-9, '_', '.', '-', "
            "starting with a letter or '_'.",
        )
    if text in _RESERVED:
        raise PlatformError(Code.INVALID, f"The name {text!r} is reserved; choose another.")
    return text


def parse_group_name(text: str) -> str:
    """A group's name, by the rules of users' names; the two never stand in the same place."""
    return parse_user_name(text)
