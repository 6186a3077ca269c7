"""MIG slices: which there are on a GPU, of which profile, and where each lies.

Owns these questions to NVML. Must not know which slice is granted, nor make one: how a GPU is divided is its
operator's choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pynvml

from gateway.devices import Device, Part
from gateway.errors import Code, PlatformError
from gateway.nvml.library import Answers

_NAMED = re.compile(r".* MIG ([0-9A-Za-z.+_-]+)")
_ONE_OF_SEVERAL = re.compile(r"[1-7]c\..*")


def handles(gpu: Any) -> Iterator[Any]:
    """NVML's handles of the slices of a GPU, none while MIG is off.

    A slice that is being made or removed just now is left out.
    """
    most = Answers().ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0
    for index in range(most):
        with suppress(pynvml.NVMLError):
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)


def divides(gpu: Any) -> bool:
    """Whether MIG is on, so that what runs on the GPU runs in its slices."""
    mode = Answers().ask(pynvml.nvmlDeviceGetMigMode, gpu)
    return mode is not None and bool(mode[0])


def slices(gpu: Any, whole: Device) -> Iterator[Device]:
    """The slices of the GPU `whole`, as devices that sit where it does.

    Raises PlatformError(UNAVAILABLE) when it may not be known where they lie: then nobody can say which is
    which.
    """
    for handle in handles(gpu):
        part = _part(gpu, handle, whole.id)
        if part is not None:
            memory = Answers().ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
            size = 0 if memory is None else memory.total
            # Nobody measured how slices of different GPUs are connected, and a program can use only one.
            sits = replace(whole.hardware, links=())
            yield replace(whole, id=part.id, memory=size, hardware=sits, part=part)


def _part(gpu: Any, handle: Any, parent: str) -> Part | None:
    answers = Answers()
    profile = _profile(answers, handle)
    uuid = answers.ask(pynvml.nvmlDeviceGetUUID, handle)
    instance = answers.ask(pynvml.nvmlDeviceGetGpuInstanceId, handle)
    compute = answers.ask(pynvml.nvmlDeviceGetComputeInstanceId, handle)
    start = None if instance is None else _start(gpu, instance)
    if profile is None or uuid is None or start is None:
        return None
    several = _ONE_OF_SEVERAL.fullmatch(profile) is not None
    return Part(parent, profile, f"{start}.{compute}" if several else str(start), uuid)


def _start(gpu: Any, instance: int) -> int | None:
    """Where a GPU instance begins; None for one that is gone. NVML tells it to root alone."""
    try:
        found = pynvml.nvmlDeviceGetGpuInstanceById(gpu, instance)
        return int(pynvml.nvmlGpuInstanceGetInfo(found).placement.start)
    except pynvml.NVMLError_NoPermission as error:
        raise PlatformError(
            Code.UNAVAILABLE,
            "Only root may ask NVIDIA's driver where MIG slices lie; run this as root, or start the gateway.",
        ) from error
    except pynvml.NVMLError:
        return None


def _profile(answers: Answers, handle: Any) -> str | None:
    """Its kind: the end of its name, as nvidia-smi prints it, or else what its sizes come to."""
    name = answers.ask(pynvml.nvmlDeviceGetName, handle)
    named = None if name is None else _NAMED.fullmatch(name)
    if named is not None:
        return named[1]
    sizes = answers.ask(pynvml.nvmlDeviceGetAttributes_v2, handle)
    if sizes is None:
        return None
    whole = f"{sizes.gpuInstanceSliceCount}g.{round(sizes.memorySizeMB / 1024)}gb"
    fewer = sizes.computeInstanceSliceCount < sizes.gpuInstanceSliceCount
    return f"{sizes.computeInstanceSliceCount}c.{whole}" if fewer else whole
