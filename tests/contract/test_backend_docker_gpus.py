"""GPUs by their ids, through a real engine's device request and the stand-in of NVIDIA's hook."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import Code, PlatformError
from gateway.workspaces import ContainerSpec
from tests.conftest import GpuEngine
from tests.contract.backend_contract import ignore
from tests.support.docker_world import DockerWorld, docker, image_id
from tests.support.nvidia import state

GPUS = state.gpus(4)
SEE = "nvidia-smi -L 2>&1 | grep -o 'UUID: [^)]*'; ls /dev | grep -c 'nvidia[0-9]'; true"


@pytest.fixture
async def gpu_world(gpu_engine: GpuEngine, base_image: str, tmp_path: Path) -> AsyncIterator[DockerWorld]:
    """A backend over the private engine that has four GPUs to give."""
    host = gpu_engine.docker_host
    made = DockerWorld(image_id(base_image, host), tmp_path, host)
    yield made
    await made.close()


def with_gpus(world: DockerWorld, *gpus: str) -> ContainerSpec:
    return dataclasses.replace(world.spec(), gpus=gpus)


async def test_shows_the_held_gpus_and_no_others(gpu_world: DockerWorld) -> None:
    wanted = sorted((GPUS[3].uuid, GPUS[1].uuid))
    made = await gpu_world.backend.start(with_gpus(gpu_world, *wanted), ignore)
    assert list(made.gpus) == wanted
    seen = (await gpu_world.run(1, SEE)).stdout.split("\n")
    assert sorted(seen[:2]) == [f"UUID: {uuid}" for uuid in wanted]
    assert seen[2] == "2"


async def test_another_set_of_gpus_is_another_container(gpu_world: DockerWorld) -> None:
    first = await gpu_world.backend.start(with_gpus(gpu_world, GPUS[0].uuid), ignore)
    none = await gpu_world.backend.start(with_gpus(gpu_world), ignore)
    assert none.container_id != first.container_id
    assert (await gpu_world.run(1, SEE)).stdout.split() == ["0"]


async def test_an_id_that_the_hook_refuses_is_told_in_one_sentence(gpu_world: DockerWorld) -> None:
    with pytest.raises(PlatformError, match="GPU-of-nobody: unknown device") as caught:
        await gpu_world.backend.start(with_gpus(gpu_world, "GPU-of-nobody"), ignore)
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.message.isprintable()
    assert await gpu_world.backend.inspect(1) is None
    assert (await gpu_world.backend.start(with_gpus(gpu_world, GPUS[0].uuid), ignore)).running


async def test_gpus_that_the_kernel_bars_are_out_of_reach(
    gpu_world: DockerWorld, gpu_engine: GpuEngine
) -> None:
    """As after a `systemctl daemon-reload`, which takes back the device rules of NVIDIA's hook."""
    made = await gpu_world.backend.start(with_gpus(gpu_world, GPUS[0].uuid), ignore)
    assert await gpu_world.backend.reaches(1)
    pid = docker("inspect", "-f", "{{.State.Pid}}", made.container_id, host=gpu_engine.docker_host).stdout
    group = devices_group(int(pid))
    if group is None:
        pytest.skip("version 2 keeps a group's device rules in a program that nobody can change from outside")
    # The stand-in's nodes are those of /dev/full.
    (group / "devices.deny").write_text("c 1:7 rwm")
    assert not await gpu_world.backend.reaches(1)
    (group / "devices.allow").write_text("c 1:7 rwm")
    assert await gpu_world.backend.reaches(1)
    await gpu_world.backend.stop(1, timedelta(0))
    assert await gpu_world.backend.reaches(1)


def devices_group(pid: int) -> Path | None:
    """Where the device rules of a process are; None where the kernel has them elsewhere."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "devices" in controllers.split(","):
            return Path("/sys/fs/cgroup/devices" + path)
    return None
