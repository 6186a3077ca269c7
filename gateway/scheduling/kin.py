"""Which devices a grant of one takes besides: a GPU and its parts are the same hardware.

Owns that relation. Must not know when or to whom anything is granted.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.devices import Device


class Kin:
    """The relation among `devices`."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self._slices: dict[str, str] = {}
        self._parts: dict[str, list[str]] = {}
        for device in devices:
            if device.part is not None:
                self._slices[device.id] = device.part.parent
                self._parts.setdefault(device.part.parent, []).append(device.id)

    def taken(self, ids: Iterable[str]) -> set[str]:
        """What nobody can be granted while somebody has `ids`: these, the parts of a whole GPU, and the GPU
        that a part is of."""
        own = set(ids)
        parts = {part for id_ in own for part in self._parts.get(id_, ())}
        return own | parts | {self._slices[id_] for id_ in own if id_ in self._slices}

    def excluded(self, ids: Iterable[str]) -> set[str]:
        """What the holder of `ids` cannot be granted besides, though others can: a second slice, for CUDA
        uses one of them at most (NVIDIA's MIG user guide, "CUDA device enumeration")."""
        own = set(ids)
        return set() if own.isdisjoint(self._slices) else self._slices.keys() - own
