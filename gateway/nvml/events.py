"""The errors of GPUs as they happen: Xids, which the driver reports once and keeps nowhere.

Owns the set of events and its end. Must not know what an Xid means. `wait` blocks: it belongs in a thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Self

import pynvml

from gateway.nvml.library import opened


@dataclass(frozen=True)
class Xid:
    """The driver reported error `number` of the GPU `device` (docs.nvidia.com/deploy/xid-errors)."""

    device: str
    number: int


class XidWatch:
    """Hears the Xids of some GPUs, from entering to leaving it.

    While it is open the library is, and these GPUs cannot be reset, nor the driver unloaded; others can.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        """`places` are the PCI ids of the GPUs to hear, by the GPUs' ids."""
        self._places = dict(places)
        self._stack = ExitStack()
        self._set: Any = None
        self._names: dict[int | None, str] = {}

    def __enter__(self) -> Self:
        """Open the library. Raises PlatformError(UNAVAILABLE) when NVML fails."""
        with ExitStack() as stack:
            if stack.enter_context(opened()):
                self._set = pynvml.nvmlEventSetCreate()
                stack.callback(self._free)
                for id_, place in self._places.items():
                    self._register(id_, place)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def heard(self) -> bool:
        """Whether there is a GPU whose Xids can be heard."""
        return bool(self._names)

    def wait(self, milliseconds: int) -> Xid | None:
        """The next Xid; None when none came in that time. Raises PlatformError(UNAVAILABLE): open it anew."""
        with opened():
            try:
                event = pynvml.nvmlEventSetWait(self._set, milliseconds)
            except pynvml.NVMLError_Timeout:
                return None
            name = self._names.get(_address(event.device))
            if name is None or not event.eventType & pynvml.nvmlEventTypeXidCriticalError:
                return None
            return Xid(name, int(event.eventData))

    def _register(self, id_: str, place: str) -> None:
        # By its address: NVML then wakes up this GPU alone (nvmlDeviceGetHandleByPciBusId).
        with suppress(pynvml.NVMLError):
            handle = pynvml.nvmlDeviceGetHandleByPciBusId(place)
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
            self._names[_address(handle)] = id_

    def _free(self) -> None:
        # A driver that went away has freed it.
        with suppress(pynvml.NVMLError):
            pynvml.nvmlEventSetFree(self._set)


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
