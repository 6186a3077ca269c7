"""A workspace: a user's files and pinned image, and the container they run in now.

Owns the values and the template: what a container must be, decided by one pure function. Must not
know Docker's words, paths' contents or the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.images import ImageVersion
from gateway.leases import Lease
from gateway.users import User


@dataclass(frozen=True)
class Limits:
    """What one container may use: processor cores, bytes, and processes."""

    cpus: float
    memory: int
    shm: int
    pids: int


@dataclass(frozen=True)
class Workspace:
    """Everything that decides what a user's container must be, read in one go."""

    user: User
    image: ImageVersion
    leases: tuple[Lease, ...]
    limits: Limits

    @property
    def devices(self) -> tuple[str, ...]:
        """The union of the devices of her live leases, sorted."""
        return tuple(sorted({device for lease in self.leases for device in lease.devices}))


@dataclass(frozen=True)
class Mount:
    """A host directory or file shown at `target` in the container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class ContainerSpec:
    """What a container must be; two equal specs are the same container.

    `subnet` is the workspace's own network, `gpus` the device ids, `env` the whole environment that
    the platform adds to the image's.
    """

    workspace_id: int
    user: str
    uid: int
    gid: int
    home: str
    image: str
    gpus: tuple[str, ...]
    limits: Limits
    mounts: tuple[Mount, ...]
    env: tuple[tuple[str, str], ...]
    subnet: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Container:
    """A container as the backend reports it. `spec_hash` names the spec that it was made from.

    `oom_killed` and `exit_code` speak of its last end; they are False and None while it runs.
    """

    workspace_id: int
    container_id: str
    spec_hash: str
    running: bool
    gpus: tuple[str, ...]
    image: str
    oom_killed: bool = False
    exit_code: int | None = None
