"""Looking at this machine's GPUs when no broker does.

Owns when to look. Must not know NVML.
"""

from __future__ import annotations

from admin.acting import broker_runs
from admin.call import Call
from gateway import boot
from gateway.devices import managed


def look(call: Call) -> None:
    """Bring the inventory up to date, unless a broker does. Raises UNAVAILABLE when the driver fails."""
    if broker_runs(call.config.state):
        return
    # Imported here: it loads the driver's library, which most commands do not need.
    from gateway.nvml import NvmlProbe

    seen = NvmlProbe().look(boot.look().boot)
    call.store.sync_devices(managed(seen.devices, call.config.manage), call.now, seen.told)


def look_when_unknown(call: Call) -> None:
    """`look`, when nobody ever has: the first grant on a new machine may come before the first start."""
    if not call.store.devices():
        look(call)
