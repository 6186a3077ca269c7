"""Which of the free devices are granted: those that reach each other fastest.

Owns that choice. Must not know when or to whom they are granted, nor how a level is found out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import combinations

EXACT = 16
"""Of this many free devices or fewer every set is looked at; of more, only the best around each device."""


class Link(IntEnum):
    """How two devices reach each other, the best first."""

    NVLINK = 0
    SWITCH = 1
    """By one or several PCIe switches."""
    NUMA = 2
    """By their processor, or another bridge of its NUMA node."""
    OTHER = 3


Links = Mapping[frozenset[str], Link]
"""The level of pairs of device ids; a pair that is missing is OTHER."""


def level(word: str) -> Link:
    """The level that a word of `nvidia-smi topo -m` names; OTHER for SYS and for what is not known."""
    if word.startswith("NV") and word[2:].isdigit():
        return Link.NVLINK
    if word in ("PIX", "PXB"):
        return Link.SWITCH
    return Link.NUMA if word in ("PHB", "NODE") else Link.OTHER


def choose(
    free: Sequence[str], count: int, links: Links | None = None, ranks: Mapping[str, int] | None = None
) -> tuple[str, ...]:
    """The `count` of `free`, which are ids in the order of their indexes, that are taken, in that order.

    First those with the lowest sum of `ranks` (0 where there is none); of these the set that has the fewest
    pairs at the worst level, then at the next; of these the one that tears the fewest good pairs apart from
    what stays free; of these the one that comes first. The same input always gives the same answer. With more
    than `EXACT` free devices, and levels between them, it may miss the best set. `count` is at least 1 and at
    most all of them.
    """
    ranks = ranks or {}
    ordered = sorted(free, key=lambda device: ranks.get(device, 0))
    costs = _Costs(free, links or {}, ranks)
    if costs.flat or count == len(free):
        picked = set(ordered[:count])
        return tuple(device for device in free if device in picked)
    positions = range(len(free))
    sets = combinations(positions, count) if len(free) <= EXACT else _around(costs, count)
    best = min(sets, key=costs.of)
    return tuple(free[position] for position in best)


class _Costs:
    """What taking a set of positions costs; the levels of pairs are kept as bits, one mask a device."""

    def __init__(self, free: Sequence[str], links: Links, ranks: Mapping[str, int]) -> None:
        self._ranks = [ranks.get(device, 0) for device in free]
        self.size = len(free)
        self._all = (1 << len(free)) - 1
        near: list[list[int]] = [[0] * len(free) for _ in (Link.NVLINK, Link.SWITCH, Link.NUMA)]
        place = {device: position for position, device in enumerate(free)}
        for pair, link in links.items():
            ends = [place[device] for device in pair if device in place]
            if len(ends) == 2 and link is not Link.OTHER:
                near[link][ends[0]] |= 1 << ends[1]
                near[link][ends[1]] |= 1 << ends[0]
        self._near = near
        self.flat = not any(mask for masks in near for mask in masks)

    def of(self, taken: tuple[int, ...]) -> tuple[object, ...]:
        """Smaller is better; the positions themselves come last, so no two sets cost the same."""
        mask = sum(1 << position for position in taken)
        rest = self._all & ~mask
        inside = [sum((masks[at] & mask).bit_count() for at in taken) // 2 for masks in self._near]
        torn = [sum((masks[at] & rest).bit_count() for at in taken) for masks in self._near]
        others = len(taken) * (len(taken) - 1) // 2 - sum(inside)
        counts = [*inside, others]
        far = [counts[link] for link in sorted(Link, reverse=True)]
        return (sum(self._ranks[at] for at in taken), far, torn, taken)


def _around(costs: _Costs, count: int) -> list[tuple[int, ...]]:
    """Around each device a set of `count`: always the one is added that costs least."""
    size = costs.size
    sets = []
    for seed in range(size):
        taken: tuple[int, ...] = (seed,)
        while len(taken) < count:
            grown = (tuple(sorted((*taken, at))) for at in range(size) if at not in taken)
            taken = min(grown, key=costs.of)
        sets.append(taken)
    return sets
