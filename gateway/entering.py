"""What has to happen to a container before its user can come in.

Owns the decision, as pure functions over what was observed. Must not do any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

from gateway import disks
from gateway.devices import Device
from gateway.images import ImageVersion
from gateway.workspaces import BROKEN, Container, Workspace


class Step(Enum):
    """KEEP the container; KEEP_OLD although it should be another; MAKE it anew."""

    KEEP = "keep"
    KEEP_OLD = "keep_old"
    MAKE = "make"


def step(container: Container | None, wanted_hash: str, occupied: bool) -> Step:
    """What has changed applies when the workspace is unoccupied, else it waits."""
    if container is None or not container.running:
        return Step.MAKE
    if container.spec_hash == wanted_hash:
        return Step.KEEP
    return Step.KEEP_OLD if occupied else Step.MAKE


def greeting(
    workspace: Workspace,
    inventory: Mapping[str, Device],
    waiting: bool = False,
    parting: str | None = None,
    runs: ImageVersion | None = None,
) -> str:
    """A few lines for a terminal: the image, each GPU and until when, a full disk, a rescue, what waits.

    `waiting`: something waits to be applied. `parting` is what there is to say of a container that is about
    to be stopped, or restarts before long, which is why that is no news. `runs` is the version that her
    container is made from, if it may be another than the one that she gets.
    """
    disk = disks.warning(workspace.disk)
    image, runs = workspace.image, runs or workspace.image
    lines = [f"{workspace.user.name} on {runs.ref}"]
    for lease in sorted(workspace.leases, key=lambda each: each.expires_at):
        names = ", ".join(_device(inventory, device) for device in lease.devices)
        lines.append(f"  {names} until {_moment(lease.expires_at)}")
    if not workspace.leases:
        lines.append("  no GPU")
    if disk is not None:
        lines.append(f"  {disk}")
    if workspace.rescue:
        lines.append(
            f"  This home is a clean one, for a while; yours is ~/{BROKEN}: mend it, and tell your operator."
        )
    if parting is not None:
        lines.append(f"  {parting}")
    elif runs.digest != image.digest:
        which = "A newer" if image.id > runs.id else "Another"
        lines.append(
            f"  {which} version is ready, {image.ref}: it applies at the next start of your container, when"
            " you log in after nothing of yours runs here any more."
        )
    elif waiting:
        lines.append(
            "  A change by your operator applies when nothing of yours runs here any more:"
            " log out everywhere and in again."
        )
    return "\n".join(lines) + "\n"


def _device(inventory: Mapping[str, Device], id_: str) -> str:
    device = inventory.get(id_)
    return f"{device.name} ({device.model})" if device else id_


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
