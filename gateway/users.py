"""A person known to the platform, and what the gateway must know to let her in.

Owns the values. Must not know where they are stored nor how a signature is checked.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.errors import Code, PlatformError
from gateway.keyoptions import KeyOptions
from gateway.keys import PublicKey
from gateway.onetime import Enrolment

# How long the files of a removed user are kept.
RETENTION = timedelta(days=30)

# Below lie the accounts of the system itself; 65534 and 65535 are nobody and "no change" (chown(2)).
_LOWEST_UID = 500
_LOWEST_GID = 100
_HIGHEST = 2**31 - 1
_NOBODY = (65534, 65535)
# A home below one of the first belongs to the system; the others are only the parents of homes.
_SYSTEM = ("/", *(f"/{top}" for top in "bin boot dev etc lib lib64 proc root run sbin sys usr".split()))
_PARENTS = ("/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/var")


@dataclass(frozen=True)
class User:
    """A person. `id` is never used again, even when the name is.

    `uid` and `gid` own her processes and files. `home` is a directory of the site's own, or None
    for one that the platform made and owns.
    """

    id: int
    name: str
    uid: int
    gid: int
    enabled: bool
    created_at: datetime
    home: str | None = None
    removed_at: datetime | None = None


@dataclass(frozen=True)
class Group:
    """People who share quotas: `members` are names, sorted."""

    id: int
    name: str
    created_at: datetime
    members: tuple[str, ...]


@dataclass(frozen=True)
class Account:
    """What the front door needs of one user: `keys` maps key blobs (RFC 4253 section 6.6) to fingerprints.

    `sessions` is the most that she may have open at once, `options` those of keys that have any, `enrolment`
    the one-time code that waits for her, `claimed` the keys that she has offered with it,
    `secret` that of her verification codes, `second_factor` whether a group of hers asks for them,
    `password` the hash of her password.
    """

    user_id: int
    name: str
    enabled: bool
    keys: dict[bytes, str]
    sessions: int = 200
    options: Mapping[bytes, KeyOptions] = field(default_factory=dict)
    enrolment: Enrolment | None = None
    claimed: tuple[bytes, ...] = ()
    secret: str = field(default="", repr=False)
    second_factor: bool = False
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class UidRange:
    """Numbers that the platform gives out itself, both ends included."""

    first: int = 30000
    last: int = 59999

    def __contains__(self, uid: int | None) -> bool:
        return uid is not None and self.first <= uid <= self.last


def numbers(user_id: int, asked: SiteAccount, own: UidRange) -> tuple[int, int]:
    """The uid and gid of a new user: the site's when it has them, else `own.first + user_id` for both.

    An id is never used again, so neither is such a uid: a new person never owns what an old one left.
    Raises CONFLICT when the range is used up.
    """
    if asked.uid is not None:
        return asked.uid, asked.uid if asked.gid is None else asked.gid
    uid = own.first + user_id
    if uid not in own:
        raise PlatformError(
            Code.CONFLICT,
            f"The uids {own.first} to {own.last} are used up; give --uid, or widen [uids] in the config.",
        )
    return uid, uid


@dataclass(frozen=True)
class SiteAccount:
    """What a site already has for a person: numbers, and a home that the platform never writes in as root."""

    uid: int | None = None
    gid: int | None = None
    home: str | None = None

    def check(self, own: UidRange) -> None:
        """Raise INVALID for numbers or a home that would give a workspace somebody else's files."""
        if self.uid is None and (self.gid is not None or self.home is not None):
            raise PlatformError(
                Code.INVALID, "A gid or a home of the site's needs the uid that owns it; add --uid."
            )
        if self.uid is not None and (not _LOWEST_UID <= self.uid <= _HIGHEST or self.uid in _NOBODY):
            raise PlatformError(
                Code.INVALID, f"The uid {self.uid} is not a person's; choose {_LOWEST_UID} or above."
            )
        if self.uid is not None and self.uid in own:
            raise PlatformError(
                Code.INVALID,
                f"The uid {self.uid} lies in {own.first} to {own.last}, which the platform gives out itself; "
                "choose another, or move [uids] in the config.",
            )
        if self.gid is not None and (not _LOWEST_GID <= self.gid <= _HIGHEST or self.gid in _NOBODY):
            raise PlatformError(
                Code.INVALID, f"The gid {self.gid} is not a person's; choose {_LOWEST_GID} or above."
            )
        if self.home is not None:
            _check_home(self.home)


@dataclass(frozen=True)
class NewUser:
    """A person who is to be added: her keys, the groups that she is in, and what the site has for her."""

    name: str
    keys: tuple[PublicKey, ...] = ()
    groups: tuple[str, ...] = ()
    site: SiteAccount = SiteAccount()


def _check_home(home: str) -> None:
    # A colon would end the field in the workspace's passwd file; normpath leaves two leading slashes alone.
    plain = home.isprintable() and ":" not in home and len(home) <= 1024
    if not plain or not home.startswith("/") or home.startswith("//") or posixpath.normpath(home) != home:
        raise PlatformError(
            Code.INVALID, f"The home {home!r} is not a plain absolute path, such as /nfs/home/alice."
        )
    if home in _PARENTS or any(home == top or (top != "/" and home.startswith(top + "/")) for top in _SYSTEM):
        raise PlatformError(
            Code.INVALID, f"The home {home!r} belongs to the system; choose a person's directory."
        )


def overlapping(home: str, taken: Iterable[str]) -> str | None:
    """The first of `taken` that is `home`, lies in it, or has it inside: one would show the other's files."""
    for other in taken:
        if home == other or home.startswith(other + "/") or other.startswith(home + "/"):
            return other
    return None
