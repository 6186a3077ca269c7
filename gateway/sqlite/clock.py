"""A clock that was set, in the database: what counts time by it moves along.

Owns which columns these are, and the remembered begin of the boot. Must not read the clock.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from gateway.clock import Clock, moves_leases, step
from gateway.sqlite.rows import Base, instant, stamp

_REMEMBERED = "clock"
_ACTOR = "gateway"
# What still counts: leases that hold devices, restarts to come, and files that wait for their deletion.
_COUNTING = (
    ("lease", ("asked_at",), "released_at is null"),
    ("lease", ("granted_at", "expires_at"), "released_at is null and granted_at is not null"),
    ("lease", ("told_at",), "released_at is null and told_at is not null"),
    ("lease", ("noticed_at",), "released_at is null and noticed_at is not null"),
    ("loss", ("lost_at",), "ended_at is null"),
    ("restart", ("told_at", "due_at"), "true"),
    ("idle", ("at",), "true"),
    ("user", ("removed_at",), "removed_at is not null and purged_at is null"),
    ("removed_workspace", ("removed_at",), "purged_at is null"),
)


class ClockRow(Base):
    """The part of the store that remembers how the wall clock and real time belong together."""

    def keep_time(self, clock: Clock) -> timedelta:
        """Notice a clock that was set since any process looked last: by how much, 0 for not at all.

        Leases that hold devices and retentions move with it, so that each lasts as long as before; an event
        says so. The first look of a boot is only remembered.
        """
        if self._is_known(clock):
            return timedelta(0)
        with self._db.write():
            # Once more: another process may have seen the same step, and have moved everything.
            if self._is_known(clock):
                return timedelta(0)
            moved = self._step(clock) or timedelta(0)
            seen = json.dumps({"boot": clock.boot, "began": stamp(clock.began)})
            self._db.table("meta").upsert({"key": _REMEMBERED, "value": seen}, pk="key")
            if moved:
                self._move(moved, clock)
            return moved

    def last_recorded(self) -> datetime | None:
        """When the newest event happened by the clock of that time; None before the first."""
        row = self._db.row("select at from event order by id desc limit 1")
        return None if row is None else instant(row["at"])

    def _is_known(self, clock: Clock) -> bool:
        return self._step(clock) == timedelta(0)

    def _step(self, clock: Clock) -> timedelta | None:
        row = self._db.row("select value from meta where key = ?", _REMEMBERED)
        if row is None:
            return None
        seen = json.loads(row["value"])
        return step(seen["boot"], instant(seen["began"]), clock)

    def _move(self, moved: timedelta, clock: Clock) -> None:
        follow = moves_leases(moved, clock)
        for table, columns, which in _COUNTING if follow else ():
            for row in self._db.rows(f"select * from {table} where {which}"):
                for column in columns:
                    at = stamp(instant(row[column]) + moved)
                    self._db.change(f"update {table} set {column} = ? where id = ?", at, row["id"])
        reason = "Leases and retentions move with it." if follow else "It was not right before."
        before, after = {"clock": stamp(clock.now - moved)}, {"clock": stamp(clock.now)}
        self._event(clock.now, _ACTOR, "clock", "this machine", before, after, reason)
