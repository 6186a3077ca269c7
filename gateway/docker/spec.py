"""A workspace's container in Docker's words: ContainerSpec -> the body of `POST /containers/create`.

Owns the hardening template. Pure; must not talk to the engine. Whoever changes what is made of an
equal spec raises `gateway.workspaces.TEMPLATE`.
"""

from __future__ import annotations

from typing import Any

from gateway.docker.engine import EngineFacts
from gateway.docker.gpus import device_request
from gateway.docker.naming import GPUS, INSTANCE, SPEC, WORKSPACE, resource_name
from gateway.docker.seccomp import profile
from gateway.workspaces import ContainerSpec, Mount, spec_hash

Body = dict[str, Any]


def create_body(spec: ContainerSpec, *, instance: str, engine: EngineFacts, descriptors: int) -> Body:
    """The request that makes this container. `descriptors` is the most files that one process may open.

    Source: Docker Engine API 1.41, ContainerCreate. Fields that a newer engine adds keep their defaults.
    """
    name = resource_name(instance, spec.workspace_id)
    return {
        "Image": spec.image,
        # As an entrypoint, so that an image's own cannot come before the platform's program.
        "Entrypoint": [spec.command[0]],
        "Cmd": list(spec.command[1:]),
        # Both numbers, or the engine would add the groups that the image's /etc/group gives to this uid.
        "User": f"{spec.uid}:{spec.gid}",
        "WorkingDir": "/",
        "Hostname": "workspace",
        "Env": _environment(spec),
        # An image's health check would run as an extra process in the user's name.
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "Labels": {
            INSTANCE: instance,
            WORKSPACE: str(spec.workspace_id),
            SPEC: spec_hash(spec),
            GPUS: ",".join(spec.gpus),
        },
        "HostConfig": _confinement() | _resources(spec, engine, descriptors) | _files(spec, name),
    }


def _environment(spec: ContainerSpec) -> list[str]:
    """The platform's variables. Without a lease the image's own wish for GPUs is overruled.

    With GPUs the variable is left to the engine: it appends the ids, and readers take the last.
    """
    hidden = () if spec.gpus else (("NVIDIA_VISIBLE_DEVICES", "void"),)
    return [f"{key}={value}" for key, value in (*spec.env, *hidden)]


def _confinement() -> Body:
    """What no workspace may do, whoever it belongs to."""
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", "seccomp=" + profile()],
        "ReadonlyRootfs": True,
        # Named, because an engine whose default is NVIDIA's runtime would give every GPU to images that ask.
        "Runtime": "runc",
        "Init": True,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "RestartPolicy": {"Name": "no"},
        # Enough for an operator to read why the runner did not start; a user cannot fill the disk with it.
        "LogConfig": {
            "Type": "local",
            "Config": {"max-size": "1m", "max-file": "1", "compress": "false"},
        },
    }


def _resources(spec: ContainerSpec, engine: EngineFacts, descriptors: int) -> Body:
    """How much of the machine it may use, and which GPUs."""
    request = device_request(engine, spec.gpu_handles)
    return {
        "Memory": spec.limits.memory,
        # The same number forbids swap, which would slow every other user down.
        "MemorySwap": spec.limits.memory,
        "NanoCpus": round(spec.limits.cpus * 1_000_000_000),
        "PidsLimit": spec.limits.pids,
        "ShmSize": spec.limits.shm,
        "Ulimits": [
            {"Name": "nofile", "Soft": descriptors, "Hard": descriptors},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "DeviceRequests": [request] if request else [],
    }


def _files(spec: ContainerSpec, network: str) -> Body:
    """What it sees beside the image: her directories, small memory file systems, its own network."""
    owner = f"uid={spec.uid},gid={spec.gid}"
    return {
        "Mounts": [_bind(mount) for mount in spec.mounts],
        "Tmpfs": {
            "/run": "rw,nosuid,nodev,noexec,size=16m,mode=755",
            # XDG_RUNTIME_DIR of the base directory specification: hers alone, for sockets and the like.
            f"/run/user/{spec.uid}": f"rw,nosuid,nodev,size=64m,mode=700,{owner}",
        },
        "NetworkMode": network,
    } | ({"GroupAdd": [str(gid) for gid in spec.groups]} if spec.groups else {})


def _bind(mount: Mount) -> Body:
    """A bind that fails when its source is absent (the older `Binds` would make it, as root)."""
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
