"""A person known to the platform, and what the gateway must know to let her in.

Owns the values. Must not know where they are stored nor how a signature is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
class Account:
    """What authentication needs of one user: `keys` maps key blobs (RFC 4253 section 6.6) to fingerprints."""

    user_id: int
    name: str
    enabled: bool
    keys: dict[bytes, str]
