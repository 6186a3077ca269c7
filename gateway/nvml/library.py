"""Opening NVIDIA's management library, and what its errors mean here.

Owns the one sentence for a driver that fails. Must not know what is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pynvml

from gateway.errors import Code, PlatformError
from gateway.health import IS_LOST, RESET_REQUIRED

_MISMATCH = 18
"""NVML_ERROR_LIB_RM_VERSION_MISMATCH of nvml.h."""


class Answers:
    """What one GPU answers. `error` is an NVML error by which the whole GPU fails, if one came."""

    def __init__(self) -> None:
        self.error: int | None = None

    def ask(self, question: Callable[..., Any], *args: Any) -> Any:
        """The answer, or None where this GPU does not tell: that is normal for each question."""
        try:
            return question(*args)
        except pynvml.NVMLError as error:
            if error.value in (IS_LOST, RESET_REQUIRED):
                self.error = error.value
            return None


@contextmanager
def opened() -> Iterator[bool]:
    """NVML, initialised for the block; False in a block where this machine has no such library.

    Raises PlatformError(UNAVAILABLE) when NVML itself fails. Blocks of several threads do no harm: the
    library counts them.
    """
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


def _unavailable(error: pynvml.NVMLError) -> PlatformError:
    if error.value == _MISMATCH:
        return PlatformError(
            Code.UNAVAILABLE,
            f"NVIDIA's library and the driver that is loaded are of different versions ({error}): the driver "
            "was upgraded under a running one; reboot this machine, or unload and load the nvidia modules.",
        )
    return PlatformError(
        Code.UNAVAILABLE,
        f"NVIDIA's driver does not answer ({error}); see what nvidia-smi says on this machine, "
        "and load or restart the driver.",
    )
