"""Which preemptible leases must end so that somebody within her quota can begin.

Owns that choice. Must not know the order of the queue, when a lease ends, or how its holder is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction

from gateway.scheduling.waiting import Entitlement, Holding, Profiles, held_weight


def reclaimable(
    held: Sequence[Holding],
    devices: frozenset[str],
    ending: Collection[int],
    entitlements: Mapping[int, Entitlement],
    profiles: Profiles,
) -> tuple[int, ...]:
    """The ids of the leases that may be ended for somebody who can use `devices`, the youngest first.

    They are preemptible, and all of them together leave each holder the GPUs that her quota gives her;
    `ending` are leases that end already and are counted as gone.
    """
    left: dict[int, Fraction] = {}
    for holding in held:
        if holding.id not in ending:
            left[holding.user_id] = left.get(holding.user_id, Fraction(0)) + held_weight(holding, profiles)
    chosen = []
    for holding in sorted(held, key=lambda holding: (holding.since, holding.id), reverse=True):
        if holding.id in ending or not holding.preemptible or devices.isdisjoint(holding.devices):
            continue
        entitlement = entitlements.get(holding.user_id, Entitlement(0))
        after = left[holding.user_id] - held_weight(holding, profiles)
        if after >= entitlement.gpus:
            left[holding.user_id] = after
            chosen.append(holding.id)
    return tuple(chosen)


def fewest(leases: Sequence[int], enough: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """Those of `leases`, the youngest first, without any that can be left out, the oldest of which go first.

    `enough` says whether some of them suffice; all of them do.
    """
    needed = tuple(leases)
    for lease in reversed(leases):
        fewer = tuple(other for other in needed if other != lease)
        if enough(fewer):
            needed = fewer
    return needed
