"""Runs the contract of listeners on this machine and in a container, with descriptors and over a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

pytest.register_assert_rewrite("tests.contract.listener_contract")

from tests.contract.listener_contract import LinkedListenerContract, ListenerContract  # noqa: E402 - rewritten first
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


class TestLocalDescriptors(LinkedListenerContract):
    @pytest.fixture
    async def place(self) -> AsyncIterator[Place]:
        place = await local_descriptors()
        yield place
        place.close()


class TestLocalStream(ListenerContract):
    @pytest.fixture
    async def place(self) -> AsyncIterator[Place]:
        place = await local_stream()
        yield place
        place.close()


class TestContainerDescriptors(LinkedListenerContract):
    @pytest.fixture
    async def place(self, box: RunnerBox) -> AsyncIterator[Place]:
        place = await container_descriptors(box)
        yield place
        place.close()


class TestContainerStream(ListenerContract):
    @pytest.fixture
    async def place(self, box: RunnerBox) -> AsyncIterator[Place]:
        place = await container_stream(box)
        yield place
        place.close()
