"""How far the transfer of an image is: read from what the engine tells, and said to people.

Owns the sum over the layers, the estimate and the words. Must not know an engine, a registry or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from gateway.units import format_duration, format_size

_MINUTE = timedelta(minutes=1)
_MOVING = {"Downloading", "Pushing"}
_HERE = {"Download complete", "Extracting", "Pull complete", "Already exists"}
_THERE = {"Pushed", "Layer already exists"}


@dataclass(frozen=True)
class Transfer:
    """`done` of `total` bytes. `whole`: no layer is left whose size is not in `total` yet."""

    done: int
    total: int
    whole: bool

    @property
    def arrived(self) -> bool:
        """Whether every byte is there; what is left is to unpack them."""
        return self.whole and self.done >= self.total


@dataclass
class Tally:
    """The layers of one transfer. `sizes` and `moved` are in bytes, by the layers' ids."""

    sizes: dict[str, int] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    layers: set[str] = field(default_factory=set)

    def hear(self, told: Mapping[str, Any]) -> Transfer:
        """Take in one line of what the engine answers to `POST /images/create` or `/images/NAME/push`."""
        layer, status = told.get("id"), str(told.get("status", ""))
        detail = told.get("progressDetail")
        # Lines about the whole image have its tag for an id, and no detail at all.
        if isinstance(layer, str) and detail is not None:
            self.layers.add(layer)
            if status in _MOVING and detail.get("total"):
                self.sizes[layer] = int(detail["total"])
                self.moved[layer] = min(int(detail.get("current", 0)), self.sizes[layer])
            elif status in _HERE | _THERE:
                # One that was there already, or too small to be told of, counts nothing.
                self.moved[layer] = self.sizes.setdefault(layer, 0)
        total = sum(self.sizes.values())
        return Transfer(sum(self.moved.values()), total, self.layers <= self.sizes.keys())


def words(transfer: Transfer, seconds: float) -> str:
    """`1.2G of 3.1G, about 4m left` after so many seconds; `at least` while a layer's size is unknown."""
    if transfer.total == 0:
        return "waiting for the registry"
    size = format_size(transfer.total)
    if transfer.arrived:
        return f"{size} are here, unpacking"
    said = f"{format_size(transfer.done)} of {'' if transfer.whole else 'at least '}{size}"
    left = remaining(transfer, seconds)
    return said if left is None else f"{said}, about {_left(left)} left"


def remaining(transfer: Transfer, seconds: float) -> timedelta | None:
    """How much longer it takes at the pace so far; None before anybody can tell."""
    if transfer.done <= 0 or seconds <= 0:
        return None
    return timedelta(seconds=(transfer.total - transfer.done) * seconds / transfer.done)


def bar(transfer: Transfer, cells: int = 20) -> str:
    """`[########------------]  38%`."""
    part = transfer.done / transfer.total if transfer.total else 0.0
    full = int(part * cells)
    return f"[{'#' * full}{'-' * (cells - full)}] {int(part * 100):3d}%"


def _left(left: timedelta) -> str:
    """Rounded up, for nobody minds what ends sooner than was said."""
    if left < _MINUTE:
        return f"{max(1, round(left.total_seconds()))}s"
    return format_duration(-(-left // _MINUTE) * _MINUTE)
