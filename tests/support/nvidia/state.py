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
class Gpu:
    """One GPU. `lost` is the NVML error that every question about it answers (0: none).

    Memory in bytes, utilisation in per cent, `processes` as pairs of a pid and its bytes.
    """

    uuid: str
    minor: int
    model: str = "NVIDIA H100 80GB HBM3"
    memory: int = 80 << 30
    used: int = 0
    utilization: int = 0
    processes: tuple[tuple[int, int], ...] = ()
    lost: int = 0


def gpus(count: int) -> list[Gpu]:
    """`count` idle GPUs, at most 16; the same ones on every call and on every machine."""
    if not 0 <= count <= 16:
        raise ValueError(f"a stand-in machine has 0 to 16 GPUs, not {count}")
    return [Gpu(uuid=f"GPU-{uuid.uuid5(_NAMESPACE, str(minor))}", minor=minor) for minor in range(count)]


def text(machine: Sequence[Gpu], driver: str = DRIVER, fails: int = 0) -> str:
    """The file's content; `fails` is the NVML error that nvmlInit answers (0: none)."""
    lines = [f"driver {driver}", f"cuda {CUDA}", f"fails {fails}"]
    for gpu in machine:
        lines += [f"gpu {gpu.uuid}", f"model {gpu.model}", f"minor {gpu.minor}", f"memory {gpu.memory}"]
        lines += [f"used {gpu.used}", f"utilization {gpu.utilization}", f"lost {gpu.lost}"]
        lines += [f"process {pid} {size}" for pid, size in gpu.processes]
    return "\n".join(lines) + "\n"


def write(path: Path, machine: Sequence[Gpu], driver: str = DRIVER, fails: int = 0) -> None:
    """Make the machine so, at once: programs that look meanwhile see the old one or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text(machine, driver, fails))
    os.replace(fresh, path)
