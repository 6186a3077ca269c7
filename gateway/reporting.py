"""Reports: what people held of the GPUs and what they used of it, in a time.

Owns the sums. What was held follows from the times of leases, what was used from the looks of the history,
which belong to a lease whatever the clock said when they were taken. Must not know SQL, the clock or how a
report looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import usage
from gateway.history import EVERY, NOTHING, GpuUse, Tally, Window
from gateway.leases import Lease
from gateway.scheduling.fairness import weigh


@dataclass(frozen=True)
class Share:
    """What a user or group held and used: GPU-seconds, of `leases` leases.

    A slice counts its sevenths; in `device_seconds` it counts whole, as in the looks. `utilization` has the
    per cent of the looks at the GPUs that told it, `busy` counts those above 0, `samples` all looks. `cpu` is
    in microseconds, of containers with and without GPUs.
    """

    gpu_seconds: int = 0
    leases: int = 0
    samples: int = 0
    busy: int = 0
    utilization: Tally = NOTHING
    cpu: int = 0
    device_seconds: int = 0

    def __add__(self, other: Share) -> Share:
        """Both together."""
        return Share(
            self.gpu_seconds + other.gpu_seconds,
            self.leases + other.leases,
            self.samples + other.samples,
            self.busy + other.busy,
            self.utilization + other.utilization,
            self.cpu + other.cpu,
            self.device_seconds + other.device_seconds,
        )

    @property
    def used_seconds(self) -> float | None:
        """GPU-seconds weighted by utilization, where it was seen; None when no GPU told any."""
        if not self.utilization.count:
            return None
        return self.utilization.total / 100 * EVERY.total_seconds()

    @property
    def busy_share(self) -> float | None:
        """The part of what was seen in which anything computed, 0 to 1; None when no GPU told it."""
        return self.busy / self.utilization.count if self.utilization.count else None

    @property
    def coverage(self) -> float | None:
        """The part of what was held that was looked at, 0 to 1; None when nothing was held."""
        if not self.device_seconds:
            return None
        return min(1.0, self.samples * EVERY.total_seconds() / self.device_seconds)


def by_user(
    leases: Sequence[Lease], windows: Iterable[Window], since: datetime, until: datetime
) -> dict[int, Share]:
    """Each user's share by her id, the most held first; who held nothing and used no GPU is left out.

    `leases` are all that were ever granted, `windows` those of the time.
    """
    shares: dict[int, Share] = {}
    owners = {lease.id: lease.user_id for lease in leases}

    def add(user_id: int, share: Share) -> None:
        shares[user_id] = shares.get(user_id, Share()) + share

    for lease in leases:
        seconds = usage.gpu_seconds(lease, since, until)
        if seconds:
            each = round(seconds / weigh(lease.profile))
            add(lease.user_id, Share(gpu_seconds=seconds, leases=1, device_seconds=each))
    consumed: dict[int, int] = {}
    for window in windows:
        for use in window.gpus:
            if use.lease in owners:
                add(owners[use.lease], _used(use))
        for container in window.containers:
            consumed[container.user_id] = consumed.get(container.user_id, 0) + container.cpu
    for user_id in shares:
        add(user_id, Share(cpu=consumed.get(user_id, 0)))
    return dict(sorted(shares.items(), key=lambda item: (-item[1].gpu_seconds, item[0])))


def by_group(shares: Mapping[int, Share], groups: Mapping[str, Iterable[int]]) -> dict[str | None, Share]:
    """Each group's share, the most held first; None stands for who is in no group.

    `groups` has the ids of each group's members. Who is in several counts in each.
    """
    sums: dict[str | None, Share] = {}
    for user_id, share in shares.items():
        names: list[str | None] = [name for name, members in groups.items() if user_id in set(members)]
        for name in names or [None]:
            sums[name] = sums.get(name, Share()) + share
    return dict(sorted(sums.items(), key=lambda item: (-item[1].gpu_seconds, item[0] or "")))


def _used(use: GpuUse) -> Share:
    return Share(samples=use.samples, busy=use.busy, utilization=use.utilization)
