"""Fixtures of the contract suites: a real engine with nothing of a test's left in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.docker_world import DockerWorld, image_id
from tests.support.runner_box import RunnerBox


@pytest.fixture
async def docker_world(base_image: str, tmp_path: Path) -> AsyncIterator[DockerWorld]:
    """A backend over the machine's engine, of an instance of its own that is swept afterwards."""
    made = DockerWorld(image_id(base_image), tmp_path)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def box(base_image: str) -> Iterator[RunnerBox]:
    """One container for all of a runner's cases: each case is another broker, which the same runner dials."""
    made = RunnerBox(base_image)
    yield made
    made.close()
