"""The store: all nouns' parts in one object, over one database.

Owns what spans nouns and how a store is opened. It meets `ports.BrokerStore`; gpuadmin uses it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from gateway import quotas
from gateway.errors import Code, PlatformError
from gateway.leases import Lease
from gateway.quotas import Machine
from gateway.sqlite.clock import ClockRow
from gateway.sqlite.database import Database
from gateway.sqlite.disks import Disks
from gateway.sqlite.farewells import Farewells
from gateway.sqlite.history import History
from gateway.sqlite.idlers import Idlers
from gateway.sqlite.losses import Losses
from gateway.sqlite.restarts import Restarts
from gateway.sqlite.rows import user_of
from gateway.sqlite.trust import TrustRows
from gateway.users import UidRange
from gateway.workspaces import Limits, Workspace


class Store(Losses, Restarts, Idlers, Disks, ClockRow, TrustRows, Farewells, History):
    """Everything the platform remembers. Methods are short, blocking, and whole transactions.

    Beside what each says, every method raises UNAVAILABLE when the database cannot answer.
    """

    @classmethod
    def open(cls, state: Path, machine: Machine, uids: UidRange, *, check: bool = False) -> Store:
        """Open the database in `state`, made and migrated when needed; `check` looks for damage first."""
        return cls(Database.open(state, check=check), machine, uids)

    def close(self) -> None:
        """Give the database back."""
        self._db.close()

    def instance(self) -> str:
        """Four hex digits that tell this installation's containers and networks from others'."""
        rows = self._db.rows("select value from meta where key = 'instance'")
        return str(rows[0]["value"])

    def data_version(self) -> int:
        """A number that moves when another process has committed (SQLite's PRAGMA data_version)."""
        return self._db.data_version()

    def workspace(self, user_id: int) -> Workspace:
        """What decides her container now, read in one go. Live leases only.

        Raises NOT_FOUND for a removed user or when no image is there.
        """
        with self._db.read():
            row = self._db.row("select * from user where id = ? and removed_at is null", user_id)
            if row is None:
                raise PlatformError(Code.NOT_FOUND, f"There is no user with the id {user_id}.")
            mine = [lease for lease in self.held_leases() if lease.user_id == user_id]
            return Workspace(
                user=user_of(row),
                image=self._image(user_id),
                leases=tuple(lease for lease in mine if lease.live),
                limits=self.limits(user_id),
                disk=self.disk(user_id),
                rescue=self.rescued(user_id),
                groups=self._group_names(user_id),
                handles=self._handles(mine),
            )

    def _handles(self, leases: Sequence[Lease]) -> tuple[tuple[str, str], ...]:
        held = {id_ for lease in leases for id_ in lease.devices}
        return tuple(
            (device.id, device.handle)
            for device in self.devices()
            if device.id in held and device.handle != device.id
        )

    def limits(self, user_id: int) -> Limits:
        """What a container of this user may use."""
        return quotas.limits(self._effective(user_id), self._machine)

    def record(self, actor: str, verb: str, subject: str, reason: str, now: datetime) -> None:
        """Write one event row."""
        with self._db.write():
            self._event(now, actor, verb, subject, reason=reason)
