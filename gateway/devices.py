"""GPUs as the platform sees them: an opaque id, a place, a kind, a state.

Owns the values. Must not know NVML, Docker or who holds what, nor which state follows from what.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from gateway.errors import Code, PlatformError

# As nvidia-smi writes them: 1g.10gb, 2c.3g.20gb, 1g.10gb+me.
_PROFILE = re.compile(r"([1-7]c\.)?[1-7]g\.[0-9]{1,4}gb([+-][a-z0-9.+-]{1,16})?")


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
class Part:
    """A part of the GPU `parent`, by its id: a MIG slice.

    `profile` is its kind in NVIDIA's words, such as 1g.10gb, and `place` where on the GPU it lies: the first
    of its memory slices, and for one of several compute instances there its number too, as 4.1. `uuid` is the
    driver's name of it, another one each time that it is made, as after every boot.
    """

    parent: str
    profile: str
    place: str
    uuid: str

    @property
    def id(self) -> str:
        """What it is called as a device, however often it is made anew at its place."""
        return f"{self.parent}/{self.profile}@{self.place}"


@dataclass(frozen=True)
class Device:
    """One GPU, or with `part` a part of one, which is a device like every other.

    `id` is opaque and stable (an NVML UUID here); `index` is for people and may change, that of a part is its
    GPU's. `memory` is in bytes. `problem` says why it must not be granted, or is None; so does `drained`,
    with an operator's reason, which may be empty. `health` is what was seen of it, DRAINED never; `remark`
    says why it is DEGRADED; `unmanaged` has the processes on it that are in no container of ours, in words.
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
    part: Part | None = None

    @property
    def label(self) -> str:
        """Its number for people, as in `GPU 0`; a slice is 0/1g.10gb@3."""
        return str(self.index) if self.part is None else f"{self.index}/{self.part.profile}@{self.part.place}"

    @property
    def name(self) -> str:
        """What people read of it in a sentence."""
        return f"GPU {self.label}"

    @property
    def profile(self) -> str | None:
        """What kind of part it is; None for a whole GPU."""
        return None if self.part is None else self.part.profile

    @property
    def handle(self) -> str:
        """What NVIDIA's driver and tools call it now."""
        return self.id if self.part is None else self.part.uuid

    @property
    def divided(self) -> bool:
        """Whether it is granted in parts alone: with MIG on, no program can use it as a whole."""
        return self.part is None and self.hardware.mig is True

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


def in_order(devices: Iterable[Device]) -> list[Device]:
    """As people read them: by index, a GPU before its parts."""
    return sorted(devices, key=lambda device: (device.index, device.part is not None, device.id))


def parse_profile(text: str) -> str:
    """The name of a MIG profile, unchanged. Raises INVALID for what none is called."""
    if not _PROFILE.fullmatch(text):
        raise PlatformError(
            Code.INVALID, f"{text!r} is not the name of a MIG profile; they are called as 1g.10gb is."
        )
    return text


def inherited(devices: Sequence[Device]) -> list[Device]:
    """The same devices; what keeps a GPU from being granted keeps its parts as well."""
    wholes = {device.id: device for device in devices if device.part is None}
    return [
        device if device.part is None else _with_parent(device, wholes.get(device.part.parent))
        for device in devices
    ]


def _with_parent(part: Device, whole: Device | None) -> Device:
    if whole is None:
        return part
    if part.problem is None and whole.problem is not None:
        part = replace(part, problem=whole.problem, health=whole.health, remark=None)
    if part.drained is None and whole.drained is not None:
        part = replace(part, drained=whole.drained)
    return part


@dataclass(frozen=True)
class DeviceRequest:
    """How many devices are wanted, at least 1, and optionally exactly which ones, or part of their model's
    name, in whatever case; with `profile` slices of that kind, and not whole GPUs."""

    count: int
    ids: tuple[str, ...] = ()
    model: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class Reading:
    """What the GPU `id` does at one moment; None is what it does not tell.

    `utilization` in per cent, `used` and `free` in bytes of its memory, `temperature` in degrees Celsius,
    `power` in watts; its node is /dev/nvidia`minor`. Of a MIG slice `id` is the driver's name of it and
    `parent` its GPU's; utilization, temperature and power no slice tells.
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
    parent: str | None = None


@dataclass(frozen=True)
class Process:
    """A process that computes on a GPU, by its pid on the host, and its bytes where the driver tells."""

    pid: int
    used: int | None


@dataclass(frozen=True)
class Occupation:
    """Who uses the GPU `id`: processes that compute on it, and its memory in use in bytes.

    `used` is without what the driver keeps for itself, and without what programs that only draw use. Of a GPU
    with MIG on there is none, but one of each slice, whose `id` is the driver's name of it.
    """

    id: str
    used: int | None
    processes: tuple[Process, ...] = ()


def managed(devices: Sequence[Device], manage: Collection[str] | None) -> list[Device]:
    """The devices that this platform may grant: those whose ids are listed, with their parts, or all when
    there is no list."""
    return [
        device
        for device in devices
        if manage is None
        or device.id in manage
        or (device.part is not None and not {device.part.parent, device.part.uuid}.isdisjoint(manage))
    ]


Seen = TypeVar("Seen", Reading, Occupation)


def identified(seen: Iterable[Seen], devices: Iterable[Device]) -> list[Seen]:
    """What was seen of devices by the driver's names of them, by their ids; of what is unknown as it is."""
    ids = {device.handle: device.id for device in devices}
    return [replace(each, id=ids.get(each.id, each.id)) for each in seen]
