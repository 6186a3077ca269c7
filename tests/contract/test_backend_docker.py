"""The Docker backend keeps every promise of the port, over the machine's real engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.backend_contract import BackendContract
from tests.support.docker_world import DockerWorld, docker


@pytest.fixture
async def world(base_image: str, tmp_path: Path) -> AsyncIterator[DockerWorld]:
    """An engine with nothing of this test's in it, before and after."""
    image = docker("image", "inspect", "-f", "{{.Id}}", base_image).stdout.strip()
    made = DockerWorld(image, tmp_path)
    yield made
    await made.close()


class TestDockerBackend(BackendContract):
    """The suite over the engine."""
