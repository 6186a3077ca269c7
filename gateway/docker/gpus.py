"""How a container is given its GPUs: the device request that this engine understands.

Owns the choice between the two ways. Pure. CDI is used where the engine has listed every wanted device:
the devices are then part of the container's own specification, so a `systemctl daemon-reload` does not
take them away. Else NVIDIA's hook is asked, which every engine from 20.10 on knows by the driver name
`nvidia`; from 29.2 on that name tries CDI first by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.docker.engine import EngineFacts

_CDI_KIND = "nvidia.com/gpu="


def device_request(engine: EngineFacts, ids: Sequence[str]) -> dict[str, Any] | None:
    """The DeviceRequest of `POST /containers/create` for these devices; None for none.

    The ids are NVML's UUIDs of GPUs or MIG slices: indexes move when a card fails. Always explicit ids:
    a count would let the engine choose.
    """
    if not ids:
        return None
    qualified = [_CDI_KIND + device for device in ids]
    if engine.cdi_devices.issuperset(qualified):
        # A count or options beside CDI names are refused as invalid.
        return {"Driver": "cdi", "DeviceIDs": qualified}
    # Up to 28.5 a driver is only taken when the capabilities match it too.
    return {"Driver": "nvidia", "DeviceIDs": list(ids), "Capabilities": [["gpu", "compute", "utility"]]}
