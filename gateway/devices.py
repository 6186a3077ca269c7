"""GPUs as the platform sees them: an opaque id, a place, a kind, a state.

Owns the values. Must not know NVML, Docker or who holds what, nor which state follows from what.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """What may be done with a GPU.

    HEALTHY and DEGRADED may be granted, DEGRADED last. QUARANTINED is taken out of use by what was seen of
    it, DRAINED by an operator; LOST does not answer.
    """

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    QUARANTINED = "quarantined"
    DRAINED = "drained"
    LOST = "lost"


class Cause(StrEnum):
    """Why a GPU was quarantined, which decides what ends that (gateway.health.judge)."""

    SIGN = "sign"
    """It says of itself that something is wrong."""
    XID = "xid"
    """The driver reported an error of the hardware, once."""
    BUSY = "busy"
    """Nobody holds it, and something uses it."""


@dataclass(frozen=True)
class Quarantine:
    """Why, and in which `era` it began: a boot of the machine with one driver, as opaque text."""

    reason: str
    cause: Cause
    era: str


@dataclass(frozen=True)
class Hardware:
    """Where a GPU sits and what it can do; None is what it does not tell.

    `bus_id` is its PCI address, its node /dev/nvidia`minor`, `capability` CUDA's, as 9.0, `numa` the NUMA
    node that is nearest, `mig` whether MIG is on. `links` has, for each other GPU's id, how the two are
    connected, in the words of `nvidia-smi topo -m`, the best first: NV18 (that many NVLinks), PIX, PXB, PHB,
    NODE, SYS.
    """

    bus_id: str | None = None
    minor: int | None = None
    capability: str | None = None
    numa: int | None = None
    mig: bool | None = None
    driver: str | None = None
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Device:
    """One GPU. `id` is opaque and stable (an NVML UUID here); `index` is for people and may change.

    `memory` is in bytes. `problem` says why it must not be granted, or is None; so does `drained`, with an
    operator's reason, which may be empty. `health` is what was seen of it, DRAINED never; `remark` says why
    it is DEGRADED; `unmanaged` has the processes on it that are in no container of ours, in words.
    """

    id: str
    index: int
    model: str
    memory: int
    node: str = "local"
    problem: str | None = None
    drained: str | None = None
    health: Health = Health.HEALTHY
    remark: str | None = None
    quarantine: Quarantine | None = None
    unmanaged: str | None = None
    hardware: Hardware = Hardware()

    @property
    def state(self) -> Health:
        """Its state, all told: what was seen comes before what an operator wants."""
        if self.problem is not None:
            return Health.LOST if self.health is Health.LOST else Health.QUARANTINED
        return self.health if self.drained is None else Health.DRAINED

    @property
    def reason(self) -> str | None:
        """Why its state is not HEALTHY; None when it is, or when nobody said why."""
        return self.problem or self.drained or self.remark


@dataclass(frozen=True)
class DeviceRequest:
    """How many devices are wanted, at least 1, and optionally exactly which ones, or part of their model's
    name, in whatever case."""

    count: int
    ids: tuple[str, ...] = ()
    model: str | None = None


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


@dataclass(frozen=True)
class Process:
    """A process that computes on a GPU, by its pid on the host, and its bytes where the driver tells."""

    pid: int
    used: int | None


@dataclass(frozen=True)
class Occupation:
    """Who uses the GPU `id`: processes that compute on it, and its memory in use in bytes.

    `used` is without what the driver keeps for itself, and without what programs that only draw use.
    """

    id: str
    used: int | None
    processes: tuple[Process, ...] = ()


def managed(devices: Sequence[Device], manage: Collection[str] | None) -> list[Device]:
    """The devices that this platform may grant: those whose ids are listed, or all when there is no list."""
    return [device for device in devices if manage is None or device.id in manage]
