"""What operators want, done.

Owns the answer that each one gets: done, or one sentence. Must not know who waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.broker import Broker
from gateway.custody import Custody
from gateway.desk import Desk
from gateway.errors import Code, PlatformError
from gateway.journal import explain, note
from gateway.limiting import Limiting
from gateway.ports import Now
from gateway.settling import Settling
from gateway.store import Wanted

EndSession = Callable[[str, str], bool]

# Her programs get no time to save their work.
_NOW = "-now"


class Wishes:
    """Does what is wanted. `end_session(id, reason)` is False when there is no such connection or channel."""

    def __init__(
        self,
        desk: Desk,
        broker: Broker,
        settling: Settling,
        custody: Custody,
        limiting: Limiting,
        end_session: EndSession,
        now: Now,
    ) -> None:
        self._desk = desk
        self._broker = broker
        self._settling = settling
        self._custody = custody
        self._limiting = limiting
        self._end_session = end_session
        self._now = now
        self._under_way: set[int] = set()

    async def grant(self) -> None:
        """Do everything that is wanted now; one that fails or takes long does not keep the others."""
        async with asyncio.TaskGroup() as group:
            await self.begin(group)

    async def begin(self, group: asyncio.TaskGroup) -> None:
        """The same in tasks of `group`, without waiting for any; what is under way is not begun again."""
        for wanted in await self._desk.ask(lambda store: store.wanted()):
            if wanted.id not in self._under_way:
                self._under_way.add(wanted.id)
                group.create_task(self._answer(wanted))

    async def _answer(self, wanted: Wanted) -> None:
        """Do it and say how it ended; when that cannot be recorded, the next look does it again."""
        error, code = None, None
        try:
            await self._do(wanted)
        except Exception as failure:
            known = explain(failure)
            error, code = known.message, known.code.value
        try:
            now = self._now()
            await self._desk.ask(lambda store: store.done(wanted.id, error, now, code))
        except PlatformError as failure:
            note("work_failed", work="wish", reason=failure.message)
        finally:
            self._under_way.discard(wanted.id)

    async def _do(self, wanted: Wanted) -> None:
        match wanted.verb:
            case "recreate" | "recreate-now":
                await self._custody.recreate(int(wanted.subject), at_once=wanted.verb.endswith(_NOW))
            case "start":
                await self._custody.start(int(wanted.subject))
            case "restart":
                await self._custody.restart(int(wanted.subject))
            case "rescue":
                await self._custody.rescue(int(wanted.subject))
            case "stop" | "stop-now":
                await self._custody.stop(int(wanted.subject), at_once=wanted.verb.endswith(_NOW))
            case "remove-workspace" | "remove-workspace-now":
                await self._custody.put_away(int(wanted.subject), at_once=wanted.verb.endswith(_NOW))
            case "hand-over":
                giver, taker = map(int, wanted.subject.split())
                await self._custody.hand_over(giver, taker)
            case "end-leases":
                await self._settling.settle_soon(int(wanted.subject))
            case "end-leases-now":
                await self._settling.settle(int(wanted.subject), at_once=True)
                await self._forget_removed(int(wanted.subject))
            case "limits":
                await self._limiting.limit_all()
            case "kill":
                if not self._end_session(wanted.subject, "An operator ended this session."):
                    raise PlatformError(
                        Code.NOT_FOUND, f"There is no session {wanted.subject}; see `gpuadmin session list`."
                    )
            case _:
                raise PlatformError(Code.INVALID, f"This gateway cannot {wanted.verb}; upgrade it.")

    async def _forget_removed(self, user_id: int) -> None:
        users = await self._desk.ask(lambda store: store.users())
        if user_id not in {user.id for user in users}:
            await self._broker.forget(user_id)
