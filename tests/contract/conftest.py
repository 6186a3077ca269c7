"""Fixtures of the contract suites: a real engine with nothing of a test's left in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.docker_world import DockerWorld, image_id


@pytest.fixture
async def docker_world(base_image: str, tmp_path: Path) -> AsyncIterator[DockerWorld]:
    """A backend over the machine's engine, of an instance of its own that is swept afterwards."""
    made = DockerWorld(image_id(base_image), tmp_path)
    yield made
    await made.close()
