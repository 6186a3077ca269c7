"""What the broker process does by itself, again and again.

Owns the rhythm: who may log in is pushed to the workers when the store has changed, what operators
want is done, leases end in time, the inventory and the list of sessions are kept. A failure is
logged and tried again at the next turn. Must not decide: the broker and the reception do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.alarms import Alarms
from gateway.connections import Connections
from gateway.errors import PlatformError
from gateway.inventory import Inventory
from gateway.journal import explain, note
from gateway.reception import Reception
from gateway.users import Account
from gateway.watching import Watching
from gateway.wiring import Parts
from gateway.workers import Workers

LOOK_EVERY = 0.1
"""Seconds between looks at the store, which cost microseconds when nothing has changed."""
LEASES_EVERY = 1.0
JUDGE_EVERY = 1.0
"""Seconds between looks for connections whose key has expired."""
INVENTORY_EVERY = 5.0
RESTARTS_EVERY = 2.0
"""Seconds between looks whether containers show what is held: one that differs and is left costs a ps."""
EXAMINE_EVERY = 60.0
"""Seconds between looks into containers: each runs a small program there."""
PURGE_EVERY = 3600.0
LIMITS_EVERY = 60.0
"""Seconds between looks at disks, and for limits that could not be changed before: more was in use."""
ADOPT_EVERY = 60.0
"""Seconds between looks for containers that must not run, such as one that an absent engine kept."""
AGAIN_AFTER = 5.0


class Overseer:
    """The periodic work of one gateway."""

    def __init__(
        self, parts: Parts, connections: Connections, reception: Reception, workers: Workers
    ) -> None:
        self._parts = parts
        self._desk = parts.desk
        self._connections = connections
        self._reception = reception
        self._workers = workers
        self._wishes = parts.wishes(reception.end)
        self._inventory = Inventory(parts)
        self._alarms = Alarms(parts)
        parts.idling.look = Watching(parts, reception.active).look
        self._version = -1
        reception.admission.changed = self._accounts

    async def begin(self) -> None:
        """What must have happened before anybody is let in."""
        await self._accounts()
        await self._attempt(self._inventory.look_at_gpus)

    async def run(self) -> None:
        """Do all of it until cancelled."""
        async with asyncio.TaskGroup() as group:

            async def begin_wishes() -> None:
                await self._wishes.begin(group)

            group.create_task(self._adopt())
            group.create_task(self._every(LOOK_EVERY, self._look))
            group.create_task(self._every(LOOK_EVERY, self._show))
            group.create_task(self._every(LOOK_EVERY, begin_wishes))
            group.create_task(self._every(JUDGE_EVERY, self._judge))
            group.create_task(self._every(LEASES_EVERY, self._parts.settling.settle_leases))
            group.create_task(self._every(LEASES_EVERY, self._parts.granting.attend))
            group.create_task(self._every(INVENTORY_EVERY, self._inventory.look_at_gpus))
            group.create_task(self._every(LEASES_EVERY, self._parts.replacing.replace_lost))
            group.create_task(self._every(RESTARTS_EVERY, self._parts.restarting.look))
            group.create_task(self._look_for_idlers())
            group.create_task(self._every(EXAMINE_EVERY, self._parts.examining.examine))
            group.create_task(self._alarms.run())
            group.create_task(self._every(LIMITS_EVERY, self._parts.limiting.limit_all))
            group.create_task(self._every(LIMITS_EVERY, self._parts.rationing.look))
            group.create_task(self._every(PURGE_EVERY, self._parts.custody.purge))
            group.create_task(self._oversee())

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._attempt(work)
            await asyncio.sleep(seconds)

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except PlatformError as error:
            note("work_failed", work=work.__name__, reason=error.message)
            return False
        except Exception as error:
            explain(error)
            return False
        return True

    async def _adopt(self) -> None:
        while True:
            adopted = await self._attempt(self._parts.broker.adopt)
            adopted = await self._attempt(self._parts.custody.resume) and adopted
            await asyncio.sleep(ADOPT_EVERY if adopted else AGAIN_AFTER)

    async def _look_for_idlers(self) -> None:
        idling = self._parts.idling
        while True:
            await self._attempt(idling.attend)
            await asyncio.sleep(idling.every)

    async def _oversee(self) -> None:
        while True:
            await self._attempt(self._parts.broker.oversee)
            await asyncio.sleep(AGAIN_AFTER)

    async def _look(self) -> None:
        version = await self._desk.ask(lambda store: store.data_version())
        if version != self._version:
            await self._accounts()
            self._reception.judge()
            self._version = version

    async def _accounts(self) -> None:
        trust = await self._desk.ask(lambda store: store.trust())
        if trust != self._reception.trust:
            self._reception.trust = trust
            self._workers.push_trust()
            note("authorities", fingerprints=sorted(trust.authorities.values()))
        known = self._reception.accounts
        found: dict[str, Account] = {
            account.name: account for account in await self._desk.ask(lambda store: store.accounts())
        }
        self._reception.accounts = found
        changed = [account for name, account in found.items() if known.get(name) != account]
        gone = [name for name in known if name not in found]
        self._workers.push(changed, gone)
        if changed or gone:
            note("accounts", changed=[account.name for account in changed], gone=gone)

    async def _judge(self) -> None:
        self._reception.judge()

    async def _show(self) -> None:
        shown = self._connections.shown()
        running = self._parts.broker.running()
        await self._desk.ask(lambda store: store.show_connections(shown))
        await self._desk.ask(lambda store: store.show_running(running))
