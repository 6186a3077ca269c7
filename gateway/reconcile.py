"""Does what runs agree with what is recorded?

Owns the comparison, pure: leases and containers in, actions out. Devices are freed only after the
container that shows them has stopped. Must not carry anything out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gateway.leases import Lease, State
from gateway.workspaces import Container


@dataclass(frozen=True)
class Expire:
    """This lease's time is over."""

    lease: Lease


@dataclass(frozen=True)
class Stop:
    """Stop this workspace's container: it shows devices that it must not have."""

    workspace_id: int
    reason: str


@dataclass(frozen=True)
class Release:
    """No running container shows this lease's devices any more."""

    lease: Lease


@dataclass(frozen=True)
class Forget:
    """Remove the container and network of a user who is not there any more."""

    workspace_id: int


def expired(leases: Iterable[Lease], now: datetime) -> list[Expire]:
    """The live leases whose end has come."""
    return [Expire(lease) for lease in leases if lease.live and lease.expires_at <= now]


def settle(leases: Iterable[Lease], container: Container | None) -> list[Stop | Release]:
    """What ends one user's leases that are over, given her container: stop it when it shows their devices.

    `leases` are all that hold devices for that user. After a Stop, ask again.
    """
    ending = [lease for lease in leases if lease.state is State.GRACE]
    shown = set(container.gpus) if container is not None and container.running else set()
    for lease in ending:
        if container is not None and shown.intersection(lease.devices):
            return [Stop(container.workspace_id, lease.reason or "The lease of your GPUs ended.")]
    return [Release(lease) for lease in ending]


def strays(containers: Iterable[Container], users: set[int], leases: Iterable[Lease]) -> list[Stop | Forget]:
    """What must not run: containers of nobody, and containers that show a device their user does not hold."""
    held: dict[int, set[str]] = {}
    for lease in leases:
        # What was replaced under it is granted to nobody as long as her container shows it.
        held.setdefault(lease.user_id, set()).update(lease.devices, (loss.device for loss in lease.losses))
    actions: list[Stop | Forget] = []
    for container in containers:
        if container.workspace_id not in users:
            actions.append(Forget(container.workspace_id))
        elif container.running and not set(container.gpus) <= held.get(container.workspace_id, set()):
            actions.append(Stop(container.workspace_id, "Your GPUs are held by nobody any more."))
    return actions
