"""Limits of containers that run, and of disks: brought up to what the quotas say, without ending anything.

Owns when that is asked for. What cannot be changed while a container runs is part of its spec, and waits
for the next one. Must not know quotas or Docker.
"""

from __future__ import annotations

import asyncio

from gateway.desk import Desk
from gateway.errors import Code, PlatformError
from gateway.ports import Backend
from gateway.rationing import Rationing


class Limiting:
    """The use case."""

    def __init__(self, desk: Desk, backend: Backend, rationing: Rationing) -> None:
        self._desk = desk
        self._backend = backend
        self._rationing = rationing

    async def limit_all(self) -> None:
        """Give every disk and every running container the limits that its user has now.

        What has them is left alone. One that does not obey keeps no other; its error is raised in the end.
        """
        work = (self._rationing.limit_all(), self._limit_containers())
        for failure in filter(None, await asyncio.gather(*work, return_exceptions=True)):
            raise failure

    async def _limit_containers(self) -> None:
        running = [each.workspace_id for each in await self._backend.list() if each.running]
        outcomes = await asyncio.gather(*map(self._limit, running), return_exceptions=True)
        for failure in filter(None, outcomes):
            raise failure

    async def _limit(self, workspace_id: int) -> None:
        try:
            workspace = await self._desk.ask(lambda store: store.workspace(workspace_id))
        except PlatformError as error:
            if error.code is Code.NOT_FOUND:
                # Her user is gone, or the image: the container is on its way out.
                return
            raise
        await self._backend.limit(workspace_id, workspace.limits)
