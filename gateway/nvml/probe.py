"""The GPUs of this machine, as NVIDIA's management library shows them now.

Owns the looks. Must not know who holds a device, Docker, or any other adapter, nor judge what it sees.
Every call may block for seconds while a driver wakes up: never on the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pynvml

from gateway.devices import Device, Occupation, Reading
from gateway.health import Signs, Told
from gateway.nvml import use
from gateway.nvml.hardware import hardware, links, signs
from gateway.nvml.library import Answers, opened
from gateway.nvml.slices import divides, slices

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """One look at the machine: the GPUs that answered, by index, each before its MIG slices, and
    what else was told."""

    devices: tuple[Device, ...]
    told: Told


class NvmlProbe:
    """The port DeviceProbe over NVML (docs.nvidia.com/deploy/nvml-api).

    Every look opens the library anew and closes it: a driver that was replaced under a running gateway
    is then seen, and no handle of ours keeps a GPU from being reset.
    """

    def __init__(self, node: str = "local") -> None:
        """`node` is the name that this machine's devices carry."""
        self._node = node
        self._silent: dict[int, int] = {}

    def devices(self) -> list[Device]:
        """All GPUs that answer and their slices, by index; none where there is no NVIDIA library.

        A GPU that answers no question, as one that fell off the bus, is left out and logged once: without
        its UUID nobody can say which one it is. Raises PlatformError(UNAVAILABLE) when NVML itself fails.
        """
        return list(self.look().devices)

    def look(self, boot: str = "") -> Look:
        """All that `devices` gives, how they are connected, and the signs of their health.

        `boot` names the machine's boot, for the era of what is seen. Raises as `devices`.
        """
        with opened() as present:
            if not present:
                return Look((), Told(era=boot))
            driver = str(pynvml.nvmlSystemGetDriverVersion())
            wholes: dict[str, Any] = {}
            found: dict[str, Device] = {}
            told: dict[str, Signs] = {}
            silent: dict[int, int] = {}
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                    id_ = pynvml.nvmlDeviceGetUUID(handle)
                    model = pynvml.nvmlDeviceGetName(handle)
                except pynvml.NVMLError as error:
                    silent[index] = error.value
                    if self._silent.get(index) != error.value:
                        log.warning("GPU %d does not answer: %s", index, error)
                    continue
                answers, wholes[id_] = Answers(), handle
                found[id_] = self._device(answers, handle, id_, index, model, driver)
                told[id_] = signs(answers, handle)
                for part in slices(handle, found[id_]) if divides(handle) else ():
                    # What ails a GPU ails all of it.
                    found[part.id], told[part.id] = part, told[id_]
            self._silent = silent
            places = {id_: found[id_].hardware.bus_id or "" for id_ in wholes}
            connected = links(wholes, places)
        devices = tuple(_connect(device, connected.get(id_, ())) for id_, device in found.items())
        return Look(devices, Told(told, silent, f"{boot} {driver}"))

    def _device(self, answers: Answers, handle: Any, id_: str, index: int, model: str, driver: str) -> Device:
        memory = answers.ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
        return Device(
            id=id_,
            index=index,
            model=model,
            memory=0 if memory is None else memory.total,
            node=self._node,
            hardware=hardware(answers, handle, driver),
        )

    def readings(self) -> list[Reading]:
        """What each GPU that answers does now, each before its slices; what they do not support is None.

        Raises PlatformError(UNAVAILABLE) when NVML itself fails.
        """
        with opened() as present:
            return [reading for index in _indexes(present) for reading in use.readings(index)]

    def occupations(self) -> list[Occupation]:
        """Who uses each GPU that answers, or each of its slices, by pids of this process's namespace, which
        must be the host's.

        Raises PlatformError(UNAVAILABLE) when NVML itself fails.
        """
        with opened() as present:
            return [each for index in _indexes(present) for each in use.occupations(index)]

    def driver_version(self) -> str | None:
        """NVIDIA's driver, such as 550.54.15; None where there is no NVIDIA library.

        Raises PlatformError(UNAVAILABLE) when NVML itself fails.
        """
        with opened() as present:
            return str(pynvml.nvmlSystemGetDriverVersion()) if present else None


def _connect(device: Device, found: tuple[tuple[str, str], ...]) -> Device:
    return replace(device, hardware=replace(device.hardware, links=found))


def _indexes(present: bool) -> Iterator[int]:
    return iter(range(pynvml.nvmlDeviceGetCount() if present else 0))
