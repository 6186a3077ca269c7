"""The Docker backend keeps every promise of the port, over the machine's real engine."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from gateway.docker.naming import resource_name
from gateway.errors import Code, PlatformError
from tests.contract.backend_contract import DEADLINE, GRACE, BackendContract, ignore
from tests.support.docker_world import DockerWorld, docker


class TestDockerBackend(BackendContract):
    """The suite over the engine."""

    @pytest.fixture
    def world(self, docker_world: DockerWorld) -> DockerWorld:
        return docker_world


async def test_a_program_that_ends_at_once_is_refused_or_seen_as_ended(docker_world: DockerWorld) -> None:
    """Which of the two depends on who is quicker; either way nobody takes it for a running container."""
    spec = dataclasses.replace(docker_world.spec(), command=("/absent",))
    (outcome,) = await asyncio.gather(docker_world.backend.start(spec, ignore), return_exceptions=True)
    if isinstance(outcome, BaseException):
        assert isinstance(outcome, PlatformError)
        assert outcome.code is Code.UNAVAILABLE
        assert "it ended at once, exit status 127" in outcome.message
        assert await docker_world.backend.inspect(1) is None
        return
    async with asyncio.timeout(DEADLINE):
        while (found := await docker_world.backend.inspect(1)) and found.running:
            await asyncio.sleep(0.02)
    assert found is not None
    assert found.exit_code == 127


async def test_a_strangers_container_is_left_alone(docker_world: DockerWorld) -> None:
    """It has our name but not our labels: told apart, neither adopted nor stopped nor removed."""
    name, backend = resource_name(docker_world.instance, 1), docker_world.backend
    made = docker("create", "--name", name, docker_world.image, "true").stdout.strip()
    try:
        for call in (backend.start(docker_world.spec(), ignore), backend.stop(1, GRACE), backend.remove(1)):
            with pytest.raises(PlatformError, match=name) as caught:
                await call
            assert caught.value.code is Code.CONFLICT
        assert docker("inspect", "-f", "{{.Id}}", name).stdout.strip() == made
    finally:
        docker("rm", "-f", made)


async def test_a_strangers_network_is_left_alone(docker_world: DockerWorld) -> None:
    name, backend = resource_name(docker_world.instance, 1), docker_world.backend
    made = docker("network", "create", "--subnet", docker_world.spec(9).subnet, name).stdout.strip()
    try:
        for call in (backend.start(docker_world.spec(), ignore), backend.remove_network(1)):
            with pytest.raises(PlatformError, match=name) as caught:
                await call
            assert caught.value.code is Code.CONFLICT
        assert docker("network", "inspect", "-f", "{{.Id}}", name).stdout.strip() == made
    finally:
        docker("network", "rm", made)


async def test_gpus_without_nvidias_hook_are_refused_with_the_engines_reason(
    docker_world: DockerWorld,
) -> None:
    """This engine knows no such driver, which is what a machine without NVIDIA's toolkit says."""
    spec = dataclasses.replace(docker_world.spec(), gpus=("GPU-00000000-0000-0000-0000-000000000001",))
    with pytest.raises(PlatformError, match="could not select device driver") as caught:
        await docker_world.backend.start(spec, ignore)
    assert caught.value.code is Code.UNAVAILABLE
    assert await docker_world.backend.inspect(1) is None
