"""One container: find, make, stop, remove, count. Plain blocking calls, one engine's client at a time.

Owns the order in which a container comes into being, and that nothing half-made stays. Must not know
who waits for it; `backend` sees to threads and to one change at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import docker

from gateway.docker.client import engine_call, reason, refused, status
from gateway.docker.images import min_driver
from gateway.docker.naming import SPEC, gpus_of, instance_filter, resource_name, workspace_of
from gateway.docker.processes import count_own
from gateway.docker.spec import Body
from gateway.errors import Code, PlatformError
from gateway.images import driver_fault
from gateway.workspaces import Container, ContainerSpec

_REMOVAL_SECONDS = 20.0
_SIGKILL_STATUS = 128 + 9

Driver = Callable[[], str | None]
"""What says which driver of NVIDIA the machine has; None: none. May block, raises UNAVAILABLE."""


def inspect(api: Any, instance: str, workspace_id: int) -> Container | None:
    """The workspace's container; None: certainly absent. Raises CONFLICT when a stranger has its name."""
    name = resource_name(instance, workspace_id)
    with engine_call("look at the container"):
        try:
            answer = api.inspect_container(name)
        except docker.errors.NotFound:
            return None
    container = from_inspect(answer, instance)
    if container is None:
        raise PlatformError(
            Code.CONFLICT,
            f"a container named {name} exists that is not this gateway's; ask your operator to remove it",
        )
    return container


def listing(api: Any, instance: str) -> list[Container]:
    """Every container of this installation. One that vanishes while we look is left out."""
    with engine_call("list the containers"):
        rows = api.containers(all=True, filters=instance_filter(instance))
    found = []
    for row in rows:
        with engine_call("look at a container"):
            try:
                answer = api.inspect_container(row["Id"])
            except docker.errors.NotFound:
                continue
        container = from_inspect(answer, instance)
        if container is not None:
            found.append(container)
    return sorted(found, key=lambda container: container.workspace_id)


def from_inspect(answer: Mapping[str, Any], instance: str) -> Container | None:
    """Read `GET /containers/ID/json`; None when its labels are not ours. Pure."""
    labels = answer["Config"].get("Labels") or {}
    workspace_id = workspace_of(labels, instance)
    if workspace_id is None:
        return None
    state = answer["State"]
    running = bool(state["Running"])
    # "created" is a container that never ran; the engine gives it exit code 0 all the same.
    ended = not running and state["Status"] != "created"
    return Container(
        workspace_id=workspace_id,
        container_id=answer["Id"],
        spec_hash=labels.get(SPEC, ""),
        running=running,
        gpus=gpus_of(labels),
        image=answer["Image"],
        oom_killed=ended and ended_by_oom(state),
        exit_code=int(state["ExitCode"]) if ended else None,
    )


def ended_by_oom(state: Mapping[str, Any]) -> bool:
    """Whether lack of memory ended it, by the State of an inspect.

    The engine's flag also remembers a child that died long before, so the end itself must be a SIGKILL.
    """
    return bool(state.get("OOMKilled")) and int(state.get("ExitCode", 0)) == _SIGKILL_STATUS


def make(api: Any, spec: ContainerSpec, instance: str, body: Body, driver: Driver) -> None:
    """Create and start; whatever goes wrong, nothing half-made stays.

    Raises NOT_FOUND when the image is absent, UNAVAILABLE with the engine's reason for all else, and when
    the GPUs' driver is too old for the image.
    """
    with engine_call("look at the image"):
        try:
            image = api.inspect_image(spec.image)
        except docker.errors.NotFound:
            raise PlatformError(
                Code.NOT_FOUND,
                f"the image {spec.image} is not on this machine; ask your operator to build it again",
            ) from None
    _check_driver(spec, image, driver)
    try:
        with engine_call("make your container"):
            api.create_container_from_config(body, resource_name(instance, spec.workspace_id))
        _start(api, resource_name(instance, spec.workspace_id))
    except BaseException:
        # The first failure is the one to report, also when tidying fails with it.
        _remove_quietly(api, instance, spec.workspace_id)
        raise


def _check_driver(spec: ContainerSpec, image: Mapping[str, Any], driver: Driver) -> None:
    """Say what CUDA would say only to whoever waited for a job's first step."""
    needed = min_driver(image)
    if spec.gpus and needed:
        name = next(iter(image.get("RepoTags") or ()), spec.image)
        fault = driver_fault(name, needed, driver())
        if fault is not None:
            raise PlatformError(Code.UNAVAILABLE, fault)


def _start(api: Any, name: str) -> None:
    """Start it. An engine answers the GPU hook's refusal here, and a command that is not there."""
    with engine_call("start your container"):
        try:
            api.start(name)
        except docker.errors.APIError as error:
            raise refused("start your container", reason(error)) from error


def _remove_quietly(api: Any, instance: str, workspace_id: int) -> None:
    try:
        remove(api, instance, workspace_id)
    except PlatformError:
        return


def stop(api: Any, instance: str, workspace_id: int, grace: timedelta) -> None:
    """SIGTERM to its init, SIGKILL to all after `grace` (whole seconds, rounded up). Absent is success.

    Raises CONFLICT when a stranger has its name.
    """
    found = inspect(api, instance, workspace_id)
    if found is None:
        return
    seconds = -int(-grace.total_seconds() // 1)
    with engine_call("stop the container"):
        try:
            api.stop(found.container_id, timeout=seconds)
        except docker.errors.NotFound:
            return


def remove(api: Any, instance: str, workspace_id: int) -> None:
    """Remove it, running or not, and the anonymous volumes that its image declared. Absent is success.

    Raises CONFLICT when a stranger has its name.
    """
    found = inspect(api, instance, workspace_id)
    if found is None:
        return
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while True:
        with engine_call("remove the container"):
            try:
                api.remove_container(found.container_id, force=True, v=True)
                return
            except docker.errors.APIError as error:
                if status(error) == 404:
                    return
                # 409: the engine is removing it already; gone is what we wait for.
                if status(error) != 409 or time.monotonic() > deadline:
                    raise
        time.sleep(0.1)


def processes(api: Any, instance: str, workspace_id: int) -> int:
    """How many processes of the user's own run in it; 0 when it does not run."""
    name = resource_name(instance, workspace_id)
    with engine_call("list the container's processes"):
        try:
            init = int(api.inspect_container(name)["State"]["Pid"])
            answer = api.top(name, ps_args="-eo pid,ppid,stat,etimes")
        except docker.errors.APIError as error:
            # 409 (500 before Docker 25): it stopped between the two questions.
            if status(error) == 404 or not _runs(api, name):
                return 0
            raise
    return count_own(answer, init)


def _runs(api: Any, name: str) -> bool:
    try:
        return bool(api.inspect_container(name)["State"]["Running"])
    except docker.errors.NotFound:
        return False
