"""The seam to what is recorded: what the use cases ask of the store, and what travels there and back.

Owns that contract. Every method is synchronous and short, and is called off the event loop. Must not
know SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from gateway.certificates import Trust
from gateway.clock import Clock
from gateway.devices import Device
from gateway.disks import Disk
from gateway.health import Told
from gateway.history import Window
from gateway.holders import HolderStore
from gateway.idlers import IdleStore
from gateway.images import ImageVersion
from gateway.keys import PublicKey
from gateway.leases import Lease
from gateway.losses import Change
from gateway.notices import Unread
from gateway.restarts import Restart
from gateway.scheduling.standing import Standing
from gateway.scheduling.waiting import Request
from gateway.users import Account, User
from gateway.workspaces import Removal, Workspace


@dataclass(frozen=True)
class Wanted:
    """Something an operator asked of the broker.

    `subject` is the id of a connection or session for `kill`, the ids of the giver and the taker for
    `hand-over`, whose quota it was for `limits`, and a user's id for all else, as text.
    """

    id: int
    verb: str
    subject: str
    actor: str


@dataclass(frozen=True)
class LiveSession:
    """One open session as `gpuadmin session list` shows it."""

    id: str
    kind: str
    command: str
    started_at: datetime


@dataclass(frozen=True)
class LiveConnection:
    """One authenticated connection with its sessions and forwards."""

    id: str
    user_id: int
    user: str
    peer: str
    fingerprint: str
    started_at: datetime
    sessions: tuple[LiveSession, ...]


@dataclass(frozen=True)
class Waiting:
    """A request that was not granted at once, and where it stands."""

    request: Request
    standing: Standing


@dataclass(frozen=True)
class Served:
    """What a look at the queue changed: leases granted to who waited, and leases that end for who waits."""

    granted: tuple[Lease, ...]
    noticed: tuple[Lease, ...]


class BrokerStore(HolderStore, IdleStore, Protocol):
    """What the broker asks of the store. Raises UNAVAILABLE when the database cannot answer."""

    def data_version(self) -> int:
        """A number that moves when another process has committed (SQLite's PRAGMA data_version)."""

    def accounts(self) -> list[Account]:
        """Every user who is not removed, disabled ones included, with her keys."""

    def claim(self, user_id: int, digest: bytes, keys: Sequence[PublicKey], now: datetime) -> list[str]:
        """Fingerprints of the keys that may become hers with a one-time code. Raises DENIED without it."""

    def enrol(self, user_id: int, key: PublicKey, now: datetime) -> None:
        """Use up her one-time code: a key that she has claimed is hers. Raises DENIED."""

    def use_step(self, user_id: int, step: int) -> bool:
        """Use up a step of time of her verification codes; False when it was used already."""

    def trust(self) -> Trust:
        """Whose certificates are believed, and which of them are revoked."""

    def workspace(self, user_id: int) -> Workspace:
        """What decides her container now; live leases only. Raises NOT_FOUND without the user or an image."""

    def built(self, digest: str) -> ImageVersion | None:
        """The version that was recorded last with this digest; None when there is none."""

    def users(self) -> list[User]:
        """Every user who is not removed."""

    def purgeable(self, now: datetime) -> list[int]:
        """Ids of removed users whose files' retention has passed and were not deleted yet."""

    def purged(self, user_id: int, now: datetime) -> None:
        """Record that a removed user's files are gone."""

    def person(self, user_id: int) -> User:
        """The user with this id, removed or not. Raises NOT_FOUND."""

    def removals(self) -> list[Removal]:
        """Removed workspaces whose files were not put away yet."""

    def put_away(self, removal_id: int, now: datetime) -> None:
        """Record that a removed workspace's files are where nobody sees them."""

    def purgeable_removals(self, now: datetime) -> list[int]:
        """Ids of removed workspaces whose retention has passed and whose files were not deleted yet."""

    def removal_purged(self, removal_id: int, now: datetime) -> None:
        """Record that a removed workspace's files are gone."""

    def held_leases(self) -> list[Lease]:
        """Leases that hold devices: live ones, and those in grace."""

    def expire(self, lease_id: int, reason: str, actor: str, now: datetime) -> None:
        """End a live lease, with an event; anything else is left as it is."""

    def released(self, lease_id: int, actor: str, now: datetime) -> None:
        """Free the devices of a lease in grace, with an event; anything else stays as it is."""

    def shown(self, lease_ids: Sequence[int], now: datetime) -> None:
        """A container that shows these leases' devices runs."""

    def told(self, lease_id: int, of_end: bool, now: datetime) -> None:
        """The holder of a live lease was told of it; `of_end`: that it ends."""

    def serve(self, now: datetime) -> Served:
        """Grant what can be granted now to who waits, in the order of the queue."""

    def flag_lease(self, lease_id: int, problem: str | None, now: datetime) -> None:
        """Set or clear what an operator has to look at."""

    def sync_devices(self, devices: Sequence[Device], now: datetime, told: Told) -> list[Device]:
        """Make the inventory what the probe saw, missing ones lost: the devices whose state changed."""

    def lose_devices(self, reason: str, now: datetime) -> list[Device]:
        """No device of this machine answers: all are lost, for `reason`. Those whose state changed."""

    def note_xid(self, device_id: str, number: int, era: str, now: datetime) -> bool:
        """Record an Xid; one of the hardware's quarantines the device. Whether its state changed."""

    def replace_lost(self, now: datetime) -> list[Change]:
        """Move live leases from devices that fail to free ones of the same kind: what changed."""

    def leftovers(self) -> dict[str, int]:
        """Devices that were replaced and may still be shown, with the ids of their last holders."""

    def quarantine_busy(self, device_id: str, reason: str, now: datetime) -> None:
        """Take out of use a device that nobody holds any more and that something still uses."""

    def wanted(self) -> list[Wanted]:
        """What operators asked for and nobody has done yet, oldest first."""

    def done(self, wanted_id: int, error: str | None, now: datetime, code: str | None = None) -> None:
        """Answer one `Wanted`: None for success, else the one sentence for the operator and its `Code`."""

    def show_connections(self, connections: Sequence[LiveConnection]) -> None:
        """Replace what `gpuadmin session list` shows."""

    def show_running(self, user_ids: Iterable[int]) -> None:
        """Replace whose containers `gpuadmin workspace list` shows as running."""

    def keep_time(self, clock: Clock) -> timedelta:
        """Notice a clock that was set, and move leases and retentions with it: by how much, mostly 0."""

    def disks(self) -> dict[int, Disk]:
        """The disk of every user who is not removed, by her id."""

    def show_disk(self, user_id: int, used: int, held: bool, now: datetime) -> None:
        """Replace what is shown of one user's disk."""

    def restarts(self) -> list[Restart]:
        """Every restart that was told of and has not been done."""

    def announce_restart(self, restart: Restart, now: datetime) -> None:
        """Record what she is told, in place of what she was told before."""

    def forget_restart(self, user_id: int) -> None:
        """There is nothing to restart for any more."""

    def stopped(self, user_id: int, reason: str, now: datetime) -> None:
        """Record that her container was stopped, in place of what she has not read of an earlier time."""

    def unread(self, user_id: int) -> Unread | None:
        """What she is to read at her next terminal, until she has read it."""

    def was_read(self, user_id: int, unread: Unread) -> None:
        """She has read this; what came later stays."""

    def keep_history(self, window: Window, most: int) -> None:
        """Add what was seen in some minutes; of more than `most` windows the oldest go."""

    def record(self, actor: str, verb: str, subject: str, reason: str, now: datetime) -> None:
        """Write one event row."""
