"""A workspace's own bridge.

Owns making and removing it. One a user, from our own small subnets: the engine's default pools end
after thirty networks, and a shared bridge would let users reach each other.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import docker

from gateway.docker.client import engine_call, status
from gateway.docker.naming import INSTANCE, WORKSPACE, bridge_name, resource_name, workspace_of
from gateway.errors import Code, PlatformError
from gateway.workspaces import ContainerSpec


def network_body(spec: ContainerSpec, instance: str) -> dict[str, Any]:
    """Keyword arguments of the SDK's create_network. Pure. Source: Docker Engine API 1.41, NetworkCreate."""
    subnet = ipaddress.ip_network(spec.subnet)
    return {
        "name": resource_name(instance, spec.workspace_id),
        "driver": "bridge",
        "ipam": {"Driver": "default", "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]},
        "options": {
            # The firewall knows our interfaces by this name, also those of networks made later.
            "com.docker.network.bridge.name": bridge_name(instance, spec.workspace_id),
            "com.docker.network.bridge.enable_icc": "false",
        },
        "labels": {INSTANCE: instance, WORKSPACE: str(spec.workspace_id)},
        "enable_ipv6": False,
        "check_duplicate": True,
    }


def ensure_network(api: Any, spec: ContainerSpec, instance: str) -> None:
    """Make the workspace's network unless it is there with the wanted subnet; one with another is replaced.

    Raises UNAVAILABLE with the engine's reason, for instance when the subnet overlaps another network, and
    CONFLICT when a stranger has its name.
    """
    found = _find(api, spec.workspace_id, instance)
    if found is not None:
        subnets = [entry.get("Subnet") for entry in found["IPAM"]["Config"] or ()]
        if subnets == [spec.subnet]:
            return
        _remove(api, found["Id"])
    with engine_call("make the workspace's network"):
        api.create_network(**network_body(spec, instance))


def remove_network(api: Any, workspace_id: int, instance: str) -> None:
    """Remove the workspace's network; absent is success.

    Raises UNAVAILABLE while a container is on it, and CONFLICT when a stranger has its name.
    """
    found = _find(api, workspace_id, instance)
    if found is not None:
        _remove(api, found["Id"])


def _find(api: Any, workspace_id: int, instance: str) -> dict[str, Any] | None:
    name = resource_name(instance, workspace_id)
    with engine_call("look at the workspace's network"):
        try:
            found: dict[str, Any] = api.inspect_network(name)
        except docker.errors.NotFound:
            return None
    if workspace_of(found.get("Labels") or {}, instance) != workspace_id:
        raise PlatformError(
            Code.CONFLICT,
            f"a network named {name} exists that is not this gateway's; ask your operator to remove it",
        )
    return found


def _remove(api: Any, network_id: str) -> None:
    with engine_call("remove the workspace's network"):
        try:
            api.remove_network(network_id)
        except docker.errors.APIError as error:
            if status(error) != 404:
                raise
