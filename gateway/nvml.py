"""The GPUs of this machine, asked of NVIDIA's management library.

Owns the only use of pynvml and what its errors mean here. Must not know who holds a device, Docker, or
any other adapter. Every call may block for seconds while a driver wakes up: never on the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pynvml

from gateway.devices import Device, Reading
from gateway.errors import Code, PlatformError

log = logging.getLogger(__name__)


class NvmlProbe:
    """The port DeviceProbe over NVML (docs.nvidia.com/deploy/nvml-api).

    Every look opens the library anew and closes it: a driver that was replaced under a running gateway
    is then seen, and no handle of ours keeps a GPU from being reset.
    """

    def __init__(self, node: str = "local") -> None:
        """`node` is the name that this machine's devices carry."""
        self._node = node

    def devices(self) -> list[Device]:
        """All GPUs, by index; none where there is no NVIDIA library.

        A GPU that answers no question, as one that fell off the bus, is left out and logged: without its
        UUID nobody can say which one it is. Raises PlatformError(UNAVAILABLE) when NVML itself fails.
        """
        with _opened() as present:
            if not present:
                return []
            seen = [self._device(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [device for device in seen if device is not None]

    def readings(self) -> list[Reading]:
        """What each GPU that answers does now; fields that it does not support are None.

        Raises PlatformError(UNAVAILABLE) when NVML itself fails.
        """
        with _opened() as present:
            if not present:
                return []
            seen = [_reading(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [reading for reading in seen if reading is not None]

    def driver_version(self) -> str | None:
        """NVIDIA's driver, such as 550.54.15; None where there is no NVIDIA library.

        Raises PlatformError(UNAVAILABLE) when NVML itself fails.
        """
        with _opened() as present:
            return str(pynvml.nvmlSystemGetDriverVersion()) if present else None

    def _device(self, index: int) -> Device | None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            return Device(
                id=pynvml.nvmlDeviceGetUUID(handle),
                index=index,
                model=pynvml.nvmlDeviceGetName(handle),
                memory=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
                node=self._node,
            )
        except pynvml.NVMLError as error:
            log.warning("GPU %d does not answer: %s", index, error)
            return None


def _reading(index: int) -> Reading | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid, model = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
        minor = pynvml.nvmlDeviceGetMinorNumber(handle)
    except pynvml.NVMLError:
        # `devices` logs it.
        return None
    rates = _told(pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    milliwatts = _told(pynvml.nvmlDeviceGetPowerUsage, handle)
    return Reading(
        id=uuid,
        index=index,
        minor=minor,
        model=model,
        utilization=None if rates is None else rates.gpu,
        used=None if memory is None else memory.used,
        free=None if memory is None else memory.free,
        temperature=_told(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power=None if milliwatts is None else milliwatts / 1000,
    )


def _told(ask: Callable[..., Any], *args: Any) -> Any:
    """The answer, or None where this GPU does not tell: MIG parents have no utilisation, some no sensor."""
    try:
        return ask(*args)
    except pynvml.NVMLError:
        return None


@contextmanager
def _opened() -> Iterator[bool]:
    """NVML, initialised for the block; False in a block where this machine has no such library."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        yield False
        return
    except pynvml.NVMLError as error:
        raise _unavailable(error) from error
    try:
        yield True
    except pynvml.NVMLError as error:
        raise _unavailable(error) from error
    finally:
        pynvml.nvmlShutdown()


def _unavailable(error: Exception) -> PlatformError:
    return PlatformError(
        Code.UNAVAILABLE,
        f"NVIDIA's driver does not answer ({error}); see what nvidia-smi says on this machine, "
        "and load or restart the driver.",
    )
