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
from gateway.journal import explain
from gateway.limiting import Limiting
from gateway.ports import Now
from gateway.settling import Settling
from gateway.store import Wanted

EndSession = Callable[[str, str], bool]


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

    async def grant(self) -> None:
        """Do everything that is wanted now; one that fails or takes long does not keep the others."""
        wishes = await self._desk.ask(lambda store: store.wanted())
        await asyncio.gather(*(self._answer(wanted) for wanted in wishes))

    async def _answer(self, wanted: Wanted) -> None:
        error, code = None, None
        try:
            await self._do(wanted)
        except Exception as failure:
            known = explain(failure)
            error, code = known.message, known.code.value
        now = self._now()
        await self._desk.ask(lambda store: store.done(wanted.id, error, now, code))

    async def _do(self, wanted: Wanted) -> None:
        match wanted.verb:
            case "recreate":
                await self._custody.recreate(int(wanted.subject))
            case "start":
                await self._custody.start(int(wanted.subject))
            case "restart":
                await self._custody.restart(int(wanted.subject))
            case "rescue":
                await self._custody.rescue(int(wanted.subject))
            case "stop":
                await self._custody.stop(int(wanted.subject))
            case "remove-workspace":
                await self._custody.put_away(int(wanted.subject))
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
