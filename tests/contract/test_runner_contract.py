"""Runs the runner's contract on this machine and in a container, with descriptors and over a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import uvloop

pytest.register_assert_rewrite("tests.contract.runner_contract")

from tests.contract.runner_contract import LinkedRunnerContract, RunnerContract  # noqa: E402 - rewritten first
from tests.support.runner_box import RunnerBox  # noqa: E402
from tests.support.runner_places import (  # noqa: E402
    Place,
    container_descriptors,
    container_stream,
    local_descriptors,
    local_stream,
)


@pytest.fixture(scope="module")
def box(base_image: str) -> Iterator[RunnerBox]:
    """One container for all cases: each case is another broker, which the same runner dials."""
    made = RunnerBox(base_image)
    yield made
    made.close()


@pytest.mark.parametrize("opened", [local_descriptors, local_stream])
def test_the_workers_side_runs_on_uvloop(opened: Callable[[], Awaitable[Place]]) -> None:
    async def all_kinds() -> None:
        place = await opened()
        try:
            client = await place.client()
            contract = RunnerContract()
            await contract.test_a_mebibyte_comes_back(client)
            await contract.test_terminal(client)
            await contract.test_dial(client)
            await contract.test_no_descriptor_is_left_here(client)
        finally:
            place.close()

    uvloop.run(all_kinds())


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
    async def place(self, box: RunnerBox) -> AsyncIterator[Place]:
        place = await container_descriptors(box)
        yield place
        place.close()


class TestContainerStream(RunnerContract):
    @pytest.fixture
    async def place(self, box: RunnerBox) -> AsyncIterator[Place]:
        place = await container_stream(box)
        yield place
        place.close()
