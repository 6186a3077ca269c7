"""Signs of use: what one look at a workspace and its GPUs tells, and whether anything works there.

Owns the values and where work begins. Must not know windows, NVML or control groups. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.devices import Occupation, Reading
from gateway.health import BASELINE

BUSY_GPU = 5
"""Per cent of utilization from which on a GPU works."""
BUSY_CPU = 0.1
"""Cores from which on programs work; an editor's server, a notebook's or a screen that redraws take less."""
BUSY_IO = 1 << 20
"""Bytes a second on disks from which on programs work."""


@dataclass(frozen=True)
class GpuSign:
    """What a GPU does at one look: per cent, bytes in use, and how many processes compute on it.

    None is what it does not tell; `processes` is None of one that does not answer.
    """

    id: str
    utilization: int | None = None
    used: int | None = None
    processes: int | None = None


@dataclass(frozen=True)
class Look:
    """One look at a workspace, over the time since the look before.

    `person`: somebody typed, began something or moved bytes over her connections; `running`: her container
    runs. `cpu` is in cores and `io` in bytes a second, 0 of a container that does not run, None where it is
    not known. `gpus` are those that she holds.
    """

    person: bool
    running: bool
    cpu: float | None
    io: float | None
    gpus: tuple[GpuSign, ...] = ()


def signs(readings: Sequence[Reading], occupations: Sequence[Occupation]) -> dict[str, GpuSign]:
    """What two questions about the same GPUs say together, by id."""
    busy = {each.id: each.utilization for each in readings}
    return {
        each.id: GpuSign(each.id, busy.get(each.id), each.used, len(each.processes)) for each in occupations
    }


def works(look: Look) -> bool | None:
    """Whether anything works there; None when nobody can say."""
    gpus = [_computes(gpu) for gpu in look.gpus]
    if True in (_reaches(look.cpu, BUSY_CPU), _reaches(look.io, BUSY_IO), *gpus):
        return True
    # A kernel that counts no bytes of disks tells no lie by that; CPU it counts always.
    return None if look.cpu is None or None in gpus else False


def _computes(gpu: GpuSign) -> bool | None:
    """Without process and memory nothing does: a GPU may be stuck at 100 % after its last program."""
    if gpu.processes == 0 and gpu.used is not None and gpu.used <= BASELINE:
        return False
    return _reaches(gpu.utilization, BUSY_GPU)


def _reaches(value: float | None, least: float) -> bool | None:
    return None if value is None else value >= least
