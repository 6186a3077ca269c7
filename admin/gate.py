"""Whether an image version can run on this machine for certain people, asked before anybody is given it.

Owns who is asked: the engine, and the GPUs' driver. Must not know why it is given.
"""

from __future__ import annotations

from collections.abc import Collection

from admin.call import Call
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion, driver_fault


def check_runs(call: Call, image: ImageVersion, users: Collection[int]) -> None:
    """Raise NOT_FOUND for an image that the engine lacks, CONFLICT when one of `users` could not use GPUs."""
    # Imported here: it brings the Docker client, which listing must not pay for.
    from gateway.docker import images

    held = images.find(image.digest)
    if held is None:
        raise PlatformError(
            Code.NOT_FOUND, f"This machine's engine has {image.ref} no more; build or pull it again."
        )
    live = {lease.user_id for lease in call.store.held_leases() if lease.live}
    if held.min_driver and live & set(users):
        # Imported here: it loads the driver's library, which most commands do not need.
        from gateway.nvml import NvmlProbe

        fault = driver_fault(image.ref, held.min_driver, NvmlProbe().driver_version())
        if fault is not None:
            raise PlatformError(Code.CONFLICT, fault)
