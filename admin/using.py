"""What GPUs do at this moment, by process and person.

Owns asking the driver and the kernel, with an end. Must not know the store, nor the engine: not every
operator may ask that one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway import procfs
from gateway.devices import Device, Occupation, Reading, identified
from gateway.errors import PlatformError
from gateway.occupants import person
from gateway.users import User

WITHIN = 5.0
"""Seconds: a driver that hangs keeps whoever asks it, and an operator looks just then."""


@dataclass(frozen=True)
class Program:
    """A process on a GPU: `user` is None where it is in no workspace, `memory` (bytes) where nobody tells."""

    pid: int
    name: str | None
    user: str | None
    memory: int | None


@dataclass(frozen=True)
class Use:
    """What one GPU does: per cent, and bytes of its memory; None is what it does not tell."""

    utilization: int | None = None
    used: int | None = None
    programs: tuple[Program, ...] = ()


class Watch:
    """Asks again and again, each time for `within` seconds; while it still asks it does not ask anew."""

    def __init__(self, within: float = WITHIN) -> None:
        self._within = within
        self._thread: threading.Thread | None = None
        self._answers: list[dict[str, Use]] = []

    def look(self, users: Iterable[User], devices: Iterable[Device]) -> dict[str, Use] | None:
        """What each GPU that answers does, by its id; None when the driver fails or does not answer."""
        names = {user.uid: user.name for user in users}
        if self._thread is None or not self._thread.is_alive():
            self._answers = []
            # A daemon: the program ends whether it ends or not.
            known = list(devices)
            self._thread = threading.Thread(target=self._ask, args=(names, known), daemon=True)
            self._thread.start()
        self._thread.join(self._within)
        return self._answers[0] if self._answers else None

    def _ask(self, names: Mapping[int, str], devices: Sequence[Device]) -> None:
        # Imported here: it loads the driver's library, which most commands do not need.
        from gateway.nvml import NvmlProbe

        probe = NvmlProbe()
        try:
            readings, occupations = probe.readings(), probe.occupations()
        except PlatformError:
            return
        self._answers.append(
            _together(identified(readings, devices), identified(occupations, devices), names)
        )


def _together(
    readings: Iterable[Reading], occupations: Iterable[Occupation], names: Mapping[int, str]
) -> dict[str, Use]:
    asked = procfs.boot_time()
    on = {each.id: each.processes for each in occupations}
    found = procfs.programs({each.pid for processes in on.values() for each in processes}, asked)
    uses = {}
    for reading in readings:
        programs = []
        for process in on.get(reading.id, ()):
            program = found[process.pid]
            name = None if program is None else program.name
            programs.append(Program(process.pid, name, person(program, names), process.used))
        uses[reading.id] = Use(reading.utilization, reading.used, tuple(programs))
    return uses
