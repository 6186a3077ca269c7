"""The limits of a container that runs: what has to change, and the change.

Owns the comparison with what the engine holds, and that memory is never taken from under a program. Plain
blocking calls. Must not know who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker

from gateway.docker.client import engine_call, status
from gateway.docker.naming import resource_name
from gateway.workspaces import Limits

# Below a lower limit by this share, use may still grow while we set it without the kernel ending anything.
_ROOM = 0.9


def changes(host_config: Mapping[str, Any], limits: Limits) -> tuple[dict[str, int], dict[str, int]]:
    """Two bodies of `POST /containers/ID/update` (Engine API 1.41): cores and processes; and memory.

    Each is empty when nothing of it has to change.
    """
    wanted = {"NanoCpus": round(limits.cpus * 1_000_000_000), "PidsLimit": limits.pids}
    # Both, as when it was made: the same number forbids swap.
    memory = {"Memory": limits.memory, "MemorySwap": limits.memory}
    return _differing(host_config, wanted), memory if _differing(host_config, memory) else {}


def _differing(host_config: Mapping[str, Any], wanted: Mapping[str, int]) -> dict[str, int]:
    return {key: value for key, value in wanted.items() if host_config.get(key) != value}


def has_room(stats: Mapping[str, Any], memory: int) -> bool:
    """Whether what `GET /containers/ID/stats` says is in use fits into `memory` bytes.

    The file cache does not count: the kernel gives that up first. An engine that does not say is believed
    to use too much.
    """
    found = stats.get("memory_stats") or {}
    if "usage" not in found:
        return False
    cache = (found.get("stats") or {}).get("inactive_file", 0)
    return int(found["usage"]) - int(cache) <= memory * _ROOM


def apply(api: Any, instance: str, workspace_id: int, limits: Limits) -> None:
    """Bring the running container's limits up to `limits`, its memory unless more is in use.

    Stopped or absent is success.
    """
    name = resource_name(instance, workspace_id)
    with engine_call("change the container's limits"):
        try:
            answer = api.inspect_container(name)
            if not answer["State"]["Running"]:
                return
            others, memory = changes(answer["HostConfig"], limits)
            if others:
                _update(api, answer["Id"], others)
            if memory and int(answer["HostConfig"]["Memory"]) > limits.memory:
                _lower(api, answer["Id"], memory)
            elif memory:
                _update(api, answer["Id"], memory)
        except docker.errors.APIError as error:
            # 409: it stopped in between.
            if status(error) not in (404, 409):
                raise


def _lower(api: Any, container_id: str, memory: Mapping[str, int]) -> None:
    """Lower its memory if that ends no program: cgroup v1's kernel refuses, v2's would rather kill."""
    if api.info().get("CgroupVersion") == "2":
        if has_room(api.stats(container_id, stream=False, one_shot=True), memory["Memory"]):
            _update(api, container_id, memory)
        return
    try:
        _update(api, container_id, memory)
    except docker.errors.APIError as error:
        # runc's refusal; the next look tries again.
        if status(error) != 500:
            raise


def _update(api: Any, container_id: str, body: Mapping[str, int]) -> None:
    # The SDK's update_container (7.2) knows neither cores as one number nor processes.
    api._result(api._post_json(api._url("/containers/{0}/update", container_id), data=body))
