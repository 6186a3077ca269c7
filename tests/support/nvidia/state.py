"""The state file of the NVML stand-in: what a machine's GPUs are and do, for tests to write.

Owns the file's words (libnvidia-ml.c says what they mean). Knows NVML and nothing of its readers.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DRIVER = "550.54.15"
CUDA = 12040
_NAMESPACE = uuid.UUID("6c1d0a52-5f0e-4d7c-9f57-0f3c2c1b7a10")


@dataclass(frozen=True)
class Slice:
    """A MIG device: GPU instance `gi`, compute instance `ci`, from memory slice `start` on, in bytes.

    With `start` -1 only root may know where it lies.
    """

    uuid: str
    profile: str = "1g.10gb"
    gi: int = 7
    start: int = 0
    ci: int = 0
    memory: int = 10 << 30
    used: int = 0

    def line(self) -> str:
        """Its line of the file."""
        where = f"{self.gi} {self.ci} {self.start}"
        return f"slice {self.uuid} {self.profile} {where} {self.memory} {self.used}"


@dataclass(frozen=True)
class Gpu:
    """One GPU. `lost` is the NVML error that every question about it answers (0: none).

    `error` is the one that all answer but those after its name. Memory in bytes, utilisation in per cent,
    `processes` as pairs of a pid and its bytes, and of those in a slice its GPU and compute instance too;
    `graphics` likewise, of those that draw. None is what it does not support: `ecc` counts uncorrectable
    errors, `rows` are (pending, failed). `nvlinks` are pairs of another GPU's UUID, or `switch`, and how many
    links lead there; `xids` all Xids of its life.
    """

    uuid: str
    minor: int
    model: str = "NVIDIA H100 80GB HBM3"
    memory: int = 80 << 30
    used: int = 0
    utilization: int = 0
    processes: tuple[tuple[int, ...], ...] = ()
    lost: int = 0
    error: int = 0
    graphics: tuple[tuple[int, ...], ...] = ()
    ecc: int | None = 0
    rows: tuple[int, int] | None = (0, 0)
    pages: int | None = None
    recovery: int | None = 0
    mig: int | None = 0
    numa: int | None = 0
    switch: int | None = None
    nvlinks: tuple[tuple[str, int], ...] = ()
    xids: tuple[int, ...] = ()
    slices: tuple[Slice, ...] = ()

    def lines(self) -> list[str]:
        """Its part of the file."""
        plain = ("model", "minor", "memory", "used", "utilization", "lost", "error")
        optional = ("ecc", "pages", "recovery", "mig", "numa", "switch")
        told = [name for name in optional if getattr(self, name) is not None]
        return [
            f"gpu {self.uuid}",
            *(f"{name} {getattr(self, name)}" for name in (*plain, *told)),
            *(["rows {} {}".format(*self.rows)] if self.rows is not None else []),
            *(each.line() for each in self.slices),
            *("process " + " ".join(map(str, each)) for each in self.processes),
            *("graphics " + " ".join(map(str, each)) for each in self.graphics),
            *(f"nvlink {to} {count}" for to, count in self.nvlinks),
            *([f"xid {len(self.xids)} {self.xids[-1]}"] if self.xids else []),
        ]


def gpus(count: int) -> list[Gpu]:
    """`count` idle GPUs, at most 16; the same ones on every call and on every machine."""
    if not 0 <= count <= 16:
        raise ValueError(f"a stand-in machine has 0 to 16 GPUs, not {count}")
    return [Gpu(uuid=f"GPU-{uuid.uuid5(_NAMESPACE, str(minor))}", minor=minor) for minor in range(count)]


def text(machine: Sequence[Gpu], driver: str = DRIVER, fails: int = 0) -> str:
    """The file's content; `fails` is the NVML error that nvmlInit answers (0: none)."""
    lines = [f"driver {driver}", f"cuda {CUDA}", f"fails {fails}"]
    for gpu in machine:
        lines += gpu.lines()
    return "\n".join(lines) + "\n"


def write(path: Path, machine: Sequence[Gpu], driver: str = DRIVER, fails: int = 0) -> None:
    """Make the machine so, at once: programs that look meanwhile see the old one or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text(machine, driver, fails))
    os.replace(fresh, path)
