"""What GPUs and containers did, in the database: a ring of windows.

Owns the rows and that there are never more than so many windows. Must not know what they are used for.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from gateway.history import ContainerUse, GpuUse, Tally, Window
from gateway.sqlite.database import Row
from gateway.sqlite.rows import Base, instant, stamp


class History(Base):
    """The history's part of the store."""

    def keep_history(self, window: Window, most: int) -> None:
        """Add a window; of more than `most` the oldest go."""
        with self._db.write():
            id_ = self._db.insert(
                "history_window", {"at": stamp(window.at), "seconds": window.seconds, "due": window.due}
            )
            self._db.table("history_gpu").insert_all(_gpu_row(id_, use) for use in window.gpus)
            self._db.table("history_container").insert_all(
                _container_row(id_, use) for use in window.containers
            )
            # The order in which they were kept is not the clock's, which may have been set.
            self._db.change("delete from history_window where id <= ?", id_ - most)

    def history(self, since: datetime, until: datetime) -> list[Window]:
        """The windows that began in this time, in the order in which they were kept."""
        span = (stamp(since), stamp(until))
        which = "(select id from history_window where at >= ? and at < ?)"
        gpus: dict[int, list[GpuUse]] = defaultdict(list)
        containers: dict[int, list[ContainerUse]] = defaultdict(list)
        with self._db.read():
            windows = self._db.rows(
                "select * from history_window where at >= ? and at < ? order by id", *span
            )
            for row in self._db.rows(f"select * from history_gpu where window_id in {which}", *span):
                gpus[row["window_id"]].append(_gpu_use(row))
            for row in self._db.rows(f"select * from history_container where window_id in {which}", *span):
                containers[row["window_id"]].append(_container_use(row))
        return [
            Window(
                instant(row["at"]),
                row["seconds"],
                row["due"],
                tuple(gpus[row["id"]]),
                tuple(containers[row["id"]]),
            )
            for row in windows
        ]


def _gpu_row(window: int, use: GpuUse) -> dict[str, str | int | None]:
    return {
        "window_id": window,
        "device_id": use.device,
        "lease_id": use.lease,
        "samples": use.samples,
        "busy": use.busy,
        **_tally("utilization", use.utilization),
        **_tally("memory", use.memory),
    }


def _container_row(window: int, use: ContainerUse) -> dict[str, int | None]:
    return {
        "window_id": window,
        "user_id": use.user_id,
        "samples": use.samples,
        "cpu": use.cpu,
        **_tally("memory", use.memory),
    }


def _tally(name: str, tally: Tally) -> dict[str, int | None]:
    """What was never told is null, not 0."""
    return {
        f"{name}_count": tally.count,
        f"{name}_total": tally.total if tally.count else None,
        f"{name}_peak": tally.peak if tally.count else None,
    }


def _gpu_use(row: Row) -> GpuUse:
    return GpuUse(
        row["device_id"],
        row["lease_id"],
        row["samples"],
        row["busy"],
        _told(row, "utilization"),
        _told(row, "memory"),
    )


def _container_use(row: Row) -> ContainerUse:
    return ContainerUse(row["user_id"], row["samples"], row["cpu"], _told(row, "memory"))


def _told(row: Row, name: str) -> Tally:
    return Tally(row[f"{name}_count"], row[f"{name}_total"] or 0, row[f"{name}_peak"] or 0)
