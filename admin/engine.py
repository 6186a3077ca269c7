"""The engine, asked without the rest of the platform: what a listing shows while no gateway runs.

Owns that one question. Must not change anything, nor import what serves people (gateway.wiring): that takes
as long again as the answer.
"""

from __future__ import annotations

import asyncio

from gateway.config import Config
from gateway.docker.backend import DockerBackend


def running(config: Config, instance: str) -> set[int]:
    """The ids of the users whose containers run. Raises UNAVAILABLE when the engine does not answer."""
    return asyncio.run(_running(DockerBackend(instance, str(config.pool))))


async def _running(backend: DockerBackend) -> set[int]:
    try:
        return {container.workspace_id for container in await backend.list() if container.running}
    finally:
        await backend.close()
