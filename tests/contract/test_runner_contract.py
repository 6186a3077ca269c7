"""Runs the runner's contract on this machine and in a container, with descriptors and over a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

pytest.register_assert_rewrite("tests.contract.runner_contract")

from tests.contract.runner_contract import LinkedRunnerContract, RunnerContract  # noqa: E402 - rewritten first
from tests.support.runner_places import (  # noqa: E402
    Place,
    container_descriptors,
    container_stream,
    local_descriptors,
    local_stream,
)


class TestLocalDescriptors(LinkedRunnerContract):
    @pytest.fixture
    async def place(self) -> AsyncIterator[Place]:
        place = await local_descriptors()
        yield place
        place.close()


class TestLocalStream(RunnerContract):
    @pytest.fixture
    async def place(self) -> AsyncIterator[Place]:
        place = await local_stream()
        yield place
        place.close()


class TestContainerDescriptors(LinkedRunnerContract):
    @pytest.fixture
    async def place(self, base_image: str) -> AsyncIterator[Place]:
        place = await container_descriptors(base_image)
        yield place
        place.close()


class TestContainerStream(RunnerContract):
    @pytest.fixture
    async def place(self, base_image: str) -> AsyncIterator[Place]:
        place = await container_stream(base_image)
        yield place
        place.close()
