"""What GPUs and their slices do now, and who does it.

Owns these questions to NVML. Must not know which process is whose.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pynvml

from gateway.devices import Occupation, Process, Reading
from gateway.nvml.library import Answers
from gateway.nvml.slices import divides, handles


def readings(index: int) -> Iterator[Reading]:
    """What the GPU with this index does now, then its slices; none where it does not answer."""
    answers = Answers()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid, model = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
        minor = pynvml.nvmlDeviceGetMinorNumber(handle)
    except pynvml.NVMLError:
        # The probe's look logs it.
        return
    rates = answers.ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = answers.ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    milliwatts = answers.ask(pynvml.nvmlDeviceGetPowerUsage, handle)
    whole = Reading(
        id=uuid,
        index=index,
        minor=minor,
        model=model,
        utilization=None if rates is None else rates.gpu,
        used=None if memory is None else memory.used,
        free=None if memory is None else memory.free,
        temperature=answers.ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power=None if milliwatts is None else milliwatts / 1000,
    )
    yield whole
    for part in handles(handle):
        name = answers.ask(pynvml.nvmlDeviceGetUUID, part)
        memory = answers.ask(pynvml.nvmlDeviceGetMemoryInfo, part)
        if name is not None and memory is not None:
            yield Reading(name, index, minor, model, None, memory.used, memory.free, parent=uuid)


def occupations(index: int) -> Iterator[Occupation]:
    """Who uses the GPU with this index, or each of its slices; none where it does not answer."""
    with suppress(pynvml.NVMLError):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        for each in handles(handle) if divides(handle) else [handle]:
            with suppress(pynvml.NVMLError):
                yield _occupation(each)


def _occupation(handle: Any) -> Occupation:
    answers, uuid = Answers(), pynvml.nvmlDeviceGetUUID(handle)
    # The second version leaves out what the driver keeps for itself, hundreds of MiB on some models.
    memory = answers.ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    memory = memory or answers.ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    computing = _processes(answers, "Compute", handle)
    drawn = sum(
        process.used or 0
        for process in _processes(answers, "Graphics", handle)
        if process.pid not in {each.pid for each in computing}
    )
    used = None if memory is None else max(0, memory.used - drawn)
    return Occupation(uuid, used, tuple(computing))


def _processes(answers: Answers, kind: str, handle: Any) -> list[Process]:
    """The processes of a kind; older drivers know only the second version of the question."""
    for version in ("_v3", "_v2"):
        ask = getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses{version}")
        found = answers.ask(ask, handle)
        if found is not None:
            return [Process(each.pid, each.usedGpuMemory) for each in found]
    return []
