"""GPUs as the platform sees them: an opaque id, a place, a kind.

Owns the values. Must not know NVML, Docker or who holds what.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """One GPU. `id` is opaque and stable (an NVML UUID here); `index` is for people and may change.

    `memory` is in bytes. `problem` says why it must not be granted, or is None; so does `drained`, with an
    operator's reason, which may be empty.
    """

    id: str
    index: int
    model: str
    memory: int
    node: str = "local"
    problem: str | None = None
    drained: str | None = None


@dataclass(frozen=True)
class DeviceRequest:
    """How many devices are wanted, at least 1, and optionally exactly which ones."""

    count: int
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What the GPU `id` does at one moment; None is what it does not tell.

    `utilization` in per cent, `used` and `free` in bytes of its memory, `temperature` in degrees Celsius,
    `power` in watts; its node is /dev/nvidia`minor`.
    """

    id: str
    index: int
    minor: int
    model: str
    utilization: int | None = None
    used: int | None = None
    free: int | None = None
    temperature: int | None = None
    power: float | None = None


def managed(devices: Sequence[Device], manage: Collection[str] | None) -> list[Device]:
    """The devices that this platform may grant: those whose ids are listed, or all when there is no list."""
    return [device for device in devices if manage is None or device.id in manage]
