"""The fake backend keeps every promise of the port, so that tests over it prove something."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.ports import Backend
from gateway.workspaces import ContainerSpec, Limits
from tests.contract.backend_contract import BackendContract, ignore
from tests.support.fake_backend import FakeBackend


class FakeWorld:
    """The fake and the levers that it has."""

    def __init__(self) -> None:
        self.fake = FakeBackend(images=["sha256:base"])
        self.fake.broken["/absent"] = "no such file"
        self.backend: Backend = self.fake

    def spec(self, workspace_id: int = 1) -> ContainerSpec:
        return ContainerSpec(
            workspace_id=workspace_id,
            user="alice",
            uid=30001,
            gid=30001,
            groups=(),
            home="/home/alice",
            image="sha256:base",
            gpus=(),
            limits=Limits(1.0, 1 << 28, 1 << 26, 256),
            mounts=(),
            env=(),
            subnet="10.213.0.8/29",
            command=("/bin/sleep", "inf"),
        )

    def unstartable(self, spec: ContainerSpec) -> ContainerSpec:
        return dataclasses.replace(spec, command=("/absent",))

    async def exhaust_memory(self, workspace_id: int) -> None:
        await self.fake.start(self.spec(workspace_id), ignore)
        self.fake.end(workspace_id, 137, oom_killed=True)

    async def limits(self, workspace_id: int) -> Limits:
        return self.fake.limits[workspace_id]

    async def use_memory(self, workspace_id: int, size: int) -> None:
        self.fake.memory_in_use[workspace_id] = size

    async def end(self, workspace_id: int) -> None:
        self.fake.end(workspace_id, 0)

    async def run_processes(self, workspace_id: int, number: int) -> None:
        self.fake.run_processes(workspace_id, number)


class TestFakeBackend(BackendContract):
    """The suite over the fake."""

    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
