"""A workspace: a user's files and pinned image, and the container they run in now.

Owns the values and the template: what a container must be, decided by one pure function. Must not
know Docker's words, paths' contents or the clock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from gateway.disks import Disk
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.leases import Lease
from gateway.mounts import SharedMount
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
    """Everything that decides what a user's container must be, read in one go.

    `rescue`: she gets a clean home, with hers in it as `broken`. `groups` are the names of those she is in.
    `handles` has the driver's names of devices that have another there than their id, as MIG slices.
    """

    user: User
    image: ImageVersion
    leases: tuple[Lease, ...]
    limits: Limits
    disk: Disk
    rescue: bool = False
    groups: tuple[str, ...] = ()
    handles: tuple[tuple[str, str], ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """The union of the devices of her live leases, sorted."""
        return tuple(sorted({device for lease in self.leases for device in lease.devices}))


@dataclass(frozen=True)
class Removal:
    """A workspace that an operator removed; its user, who may have a new one, stays."""

    id: int
    user_id: int


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
    the platform adds to the image's, `groups` the supplementary gids of its processes. `handles` has the
    driver's names of those of `gpus` that have another there than their id.
    """

    workspace_id: int
    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    image: str
    gpus: tuple[str, ...]
    limits: Limits
    mounts: tuple[Mount, ...]
    env: tuple[tuple[str, str], ...]
    subnet: str
    command: tuple[str, ...]
    handles: tuple[tuple[str, str], ...] = ()

    @property
    def gpu_handles(self) -> tuple[str, ...]:
        """What the driver calls its devices."""
        named = dict(self.handles)
        return tuple(named.get(id_, id_) for id_ in self.gpus)


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


# Raise this when a backend makes something else of the same spec, so that reconcile replaces old containers.
TEMPLATE = 2

RESCUE = "rescue"
"""The clean home, beside her own."""
BROKEN = "broken"
"""Where in the clean home hers is."""
RUNNER_TARGET = "/opt/gpu-gateway/runner.pyz"
SOCKET_TARGET = "/opt/gpu-gateway/socket"
GPU_TARGET = "/usr/local/bin/gpu"
"""Where every image's PATH finds it."""
CA_TARGET = "/opt/gpu-gateway/ca.pem"


def spec_hash(spec: ContainerSpec) -> str:
    """Name a spec: 32 hex digits, equal exactly when the template is and all that is fixed at the start.

    Of the limits only `shm` is; a backend changes the others while the container runs.
    """
    fixed = asdict(spec) | {"limits": spec.limits.shm}
    if not spec.handles:
        # As before there were any: whose container shows whole GPUs keeps it.
        del fixed["handles"]
    text = json.dumps([TEMPLATE, fixed], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def directory(state: str, workspace_id: int) -> str:
    """Where a workspace's files lie under the state directory; by its id, for a name may be used again."""
    return f"{state}/workspaces/{workspace_id}"


def container_spec(
    workspace: Workspace,
    *,
    state: str,
    runner: str,
    gpu: str,
    env: Mapping[str, str],
    subnet: str,
    command: tuple[str, ...],
    shared: Sequence[SharedMount] = (),
    ca_bundle: str | None = None,
) -> ContainerSpec:
    """Decide what a user's container must be. Nothing in it comes from a connection.

    `state` is the state directory, `runner` the packed runner, `gpu` that program and `ca_bundle` the site's
    certificates, all on the host; `shared` are everybody's mounts, and `subnet` is the workspace's own.
    Raises INVALID for uid or gid 0: no mistake in the records makes a root container.
    """
    user = workspace.user
    if user.uid <= 0 or user.gid <= 0:
        raise PlatformError(
            Code.INVALID,
            f"the workspace of {user.name} would run as uid {user.uid}, gid {user.gid}; "
            "ask your operator to give the user ids above 0",
        )
    own = directory(state, user.id)
    seen = [mount for mount in shared if mount.is_for(workspace.groups)]
    certificates = () if ca_bundle is None else (Mount(ca_bundle, CA_TARGET, read_only=True),)
    return ContainerSpec(
        workspace_id=user.id,
        user=user.name,
        uid=user.uid,
        gid=user.gid,
        groups=tuple(sorted({mount.gid for mount in seen if mount.gid is not None} - {user.gid})),
        home=f"/home/{user.name}",
        image=workspace.image.digest,
        gpus=workspace.devices,
        limits=workspace.limits,
        mounts=(
            *_homes(workspace, own),
            *_mounts(own, runner, gpu),
            *certificates,
            *(Mount(mount.source, mount.target, mount.read_only) for mount in seen),
        ),
        env=tuple(sorted(env.items())),
        subnet=subnet,
        command=command,
        handles=tuple(pair for pair in workspace.handles if pair[0] in workspace.devices),
    )


def _homes(workspace: Workspace, own: str) -> tuple[Mount, ...]:
    """Her home; in a rescue the clean one, and hers inside it."""
    user = workspace.user
    home, hers = f"/home/{user.name}", user.home or f"{own}/home"
    if not workspace.rescue:
        return (Mount(hers, home, read_only=False),)
    return (
        Mount(f"{own}/{RESCUE}", home, read_only=False),
        Mount(hers, f"{home}/{BROKEN}", read_only=False),
    )


def _mounts(own: str, runner: str, gpu: str) -> tuple[Mount, ...]:
    """The rest of her view of the host: her files writable, the platform's read-only, and nothing else."""
    return (
        Mount(f"{own}/workspace", "/workspace", read_only=False),
        Mount(f"{own}/tmp", "/tmp", read_only=False),
        Mount(f"{own}/vartmp", "/var/tmp", read_only=False),
        Mount(f"{own}/etc/passwd", "/etc/passwd", read_only=True),
        Mount(f"{own}/etc/group", "/etc/group", read_only=True),
        Mount(runner, RUNNER_TARGET, read_only=True),
        Mount(f"{own}/socket", SOCKET_TARGET, read_only=True),
        Mount(gpu, GPU_TARGET, read_only=True),
    )
