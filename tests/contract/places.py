"""The four places in which a runner's contracts run; a suite is a contract and one of these.

Owns the fixture `place`; `box`, the container, is conftest's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.runner_box import RunnerBox
from tests.support.runner_places import (
    Place,
    container_descriptors,
    container_stream,
    local_descriptors,
    local_stream,
)


class LocalDescriptors:
    """On this machine, descriptors passed."""

    @pytest.fixture
    async def place(self) -> AsyncIterator[Place]:
        place = await local_descriptors()
        yield place
        place.close()


class LocalStream:
    """On this machine, over one byte stream."""

    @pytest.fixture
    async def place(self) -> AsyncIterator[Place]:
        place = await local_stream()
        yield place
        place.close()


class ContainerDescriptors:
    """In a container, descriptors passed."""

    @pytest.fixture
    async def place(self, box: RunnerBox) -> AsyncIterator[Place]:
        place = await container_descriptors(box)
        yield place
        place.close()


class ContainerStream:
    """In a container, over one byte stream."""

    @pytest.fixture
    async def place(self, box: RunnerBox) -> AsyncIterator[Place]:
        place = await container_stream(box)
        yield place
        place.close()
