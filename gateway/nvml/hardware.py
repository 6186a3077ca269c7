"""What a GPU is: where it sits, what it can do, how it is connected, and the signs of its health.

Owns these questions to NVML, each of which a GPU may leave unanswered. Must not judge the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pynvml

from gateway.devices import Hardware
from gateway.health import Signs
from gateway.nvml.library import Answers

_MASK_WORDS = 4
"""Words of 64 NUMA nodes each; Linux knows 1,024 at most, and no machine has that many."""
_PATHS = {
    pynvml.NVML_TOPOLOGY_INTERNAL: "PIX",
    pynvml.NVML_TOPOLOGY_SINGLE: "PIX",
    pynvml.NVML_TOPOLOGY_MULTIPLE: "PXB",
    pynvml.NVML_TOPOLOGY_HOSTBRIDGE: "PHB",
    pynvml.NVML_TOPOLOGY_NODE: "NODE",
    pynvml.NVML_TOPOLOGY_SYSTEM: "SYS",
}
_SWITCH = "a switch"


def hardware(answers: Answers, handle: Any, driver: str | None) -> Hardware:
    """What does not change while the driver runs; its links are `links`."""
    address = answers.ask(pynvml.nvmlDeviceGetPciInfo, handle)
    capability = answers.ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    mode = answers.ask(pynvml.nvmlDeviceGetMigMode, handle)
    return Hardware(
        bus_id=None if address is None else _text(address.busId),
        minor=answers.ask(pynvml.nvmlDeviceGetMinorNumber, handle),
        capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        numa=_numa(answers, handle),
        mig=None if mode is None else bool(mode[0]),
        driver=driver,
    )


def signs(answers: Answers, handle: Any) -> Signs:
    """What the GPU says of its health."""
    uncorrected = answers.ask(
        pynvml.nvmlDeviceGetTotalEccErrors,
        handle,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        pynvml.NVML_VOLATILE_ECC,
    )
    rows = answers.ask(pynvml.nvmlDeviceGetRemappedRows, handle)
    pages = answers.ask(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
    return Signs(
        uncorrected=uncorrected,
        row_pending=None if rows is None else bool(rows[2]),
        row_failed=None if rows is None else bool(rows[3]),
        page_pending=None if pages is None else bool(pages),
        recovery=_recovery(answers, handle),
        error=answers.error,
    )


def links(handles: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """For each GPU how it is connected to the others, as in `Hardware`; `places` are their PCI ids."""
    wires = {id_: _wires(handle) for id_, handle in handles.items()}

    def link(one: str, other: str) -> str | None:
        count = wires[one][places.get(other, "")] or min(wires[one][_SWITCH], wires[other][_SWITCH])
        if count:
            return f"NV{count}"
        path = Answers().ask(pynvml.nvmlDeviceGetTopologyCommonAncestor, handles[one], handles[other])
        return _PATHS.get(path)

    return {
        one: tuple((other, word) for other in handles if other != one and (word := link(one, other)))
        for one in handles
    }


def _wires(handle: Any) -> Counter[str]:
    """How many NVLinks are up to each PCI id, and to switches, which connect every GPU with every other."""
    answers, found = Answers(), Counter[str]()
    for number in range(pynvml.NVML_NVLINK_MAX_LINKS):
        if answers.ask(pynvml.nvmlDeviceGetNvLinkState, handle, number) != 1:
            continue
        kind = answers.ask(pynvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, number)
        if kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
            found[_SWITCH] += 1
        elif (remote := answers.ask(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, number)) is not None:
            found[_text(remote.busId)] += 1
    return found


def _numa(answers: Answers, handle: Any) -> int | None:
    """The first of the NUMA nodes whose memory is nearest."""
    # NVML's NumaNodeId is something else: the node that a GPU itself is, where it is one.
    scope = pynvml.NVML_AFFINITY_SCOPE_NODE
    mask = answers.ask(pynvml.nvmlDeviceGetMemoryAffinity, handle, _MASK_WORDS, scope)
    whole = sum(word << 64 * place for place, word in enumerate(mask or ()))
    return (whole & -whole).bit_length() - 1 if whole else None


def _recovery(answers: Answers, handle: Any) -> int | None:
    values = answers.ask(
        pynvml.nvmlDeviceGetFieldValues, handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
    )
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    return int(values[0].value.uiVal)


def _text(told: str | bytes) -> str:
    return told.decode() if isinstance(told, bytes) else told
