"""What running containers consume, and whose they are.

Owns which containers are looked at: they are found in the kernel's control groups, and the engine is asked
only when they are others than before. Must not know what it is looked at for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from gateway.cgroups import Consumption, ControlGroups
from gateway.workspaces import Container


class Gauges:
    """The gauges of one machine. `running` are the users whose containers are believed to run."""

    def __init__(
        self,
        running: Callable[[], Collection[int]],
        containers: Callable[[], Awaitable[Sequence[Container]]],
        groups: ControlGroups,
    ) -> None:
        self._running = running
        self._containers = containers
        self._groups = groups
        self._users: dict[str, int] | None = None

    @property
    def running(self) -> set[int]:
        """The users whose containers ran when this was read last, by the engine's word."""
        return set((self._users or {}).values())

    async def read(self) -> dict[str, tuple[int, Consumption]]:
        """Each running container's user and what it consumes, by its id. Raises what the engine raises."""
        users = self._users or {}
        consumed = await asyncio.to_thread(self._groups.consumption, set(users))
        # Another container of the same user has another id, and its group is another one. Those that run when
        # the gateway starts are known to nobody yet.
        others = len(consumed) < len(users) or set(self._running()) != set(users.values())
        if self._users is None or others:
            found = await self._containers()
            users = {each.container_id: each.workspace_id for each in found if each.running}
            self._users = users
            consumed = await asyncio.to_thread(self._groups.consumption, set(users))
        return {id_: (users[id_], each) for id_, each in consumed.items()}
