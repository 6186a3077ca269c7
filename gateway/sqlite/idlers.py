"""Idleness in the database: who is idle, what was seen of whom, and for how long each may be.

Owns these rows. Must not know the rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gateway import quotas
from gateway.errors import Code, PlatformError
from gateway.idleness import EXTENSIONS, Idle, Seen, Step, Stretch, Terms, held_off
from gateway.idlers import Patience, Place
from gateway.scheduling.waiting import suits
from gateway.sqlite.database import Value
from gateway.sqlite.holders import Holders
from gateway.sqlite.rows import Facts, instant, stamp
from gateway.units import format_instant

_ACTOR = "gateway"


class Idlers(Holders):
    """See gateway.idlers.IdleStore."""

    def patience(self) -> Mapping[int, Patience]:
        """See IdleStore."""
        with self._db.read():
            ids = [row["id"] for row in self._db.rows("select id from user where removed_at is null")]
            gpus, workspaces = (self._values_of(key, ids) for key in ("idle", "idle_workspace"))
        return {
            id_: Patience(_terms(gpus[id_], gpus=True), _terms(workspaces[id_], gpus=False)) for id_ in ids
        }

    def contended(self) -> set[int]:
        """See IdleStore."""
        if not self._somebody_waits():
            return set()
        with self._db.read():
            devices = {device.id: device for device in self.devices()}
            requests = self._requests()
            return {
                lease.user_id
                for lease in self.held_leases()
                for request in requests
                if request.user_id != lease.user_id
                and any(suits(request, devices[id_]) for id_ in lease.devices)
            }

    def idle(self) -> Mapping[int, Idle]:
        """See IdleStore."""
        return {
            row["id"]: Idle(Step(row["step"]), instant(row["at"]), bool(row["gpus"]), row["extensions"])
            for row in self._db.rows("select * from idle")
        }

    def idlers(self) -> Mapping[int, Seen]:
        """See IdleStore."""
        with self._db.read():
            found, allowed = self.idle(), self.patience()
        seen = {}
        for id_, idle in found.items():
            terms = allowed[id_].terms(idle.gpus) if id_ in allowed else None
            if terms is not None:
                seen[id_] = Seen(idle, idle.stops_at(terms))
        return seen

    def set_idle(self, user_id: int, idle: Idle | None, now: datetime) -> None:
        """See IdleStore."""
        with self._db.write():
            self._set_idle(user_id, idle, _ACTOR, now)

    def hold_off(self, user_id: int, now: datetime) -> Seen | None:
        """See IdleStore."""
        with self._db.write():
            seen = self.idlers().get(user_id)
            terms = None if seen is None else self.patience()[user_id].terms(seen.idle.gpus)
            if seen is None or terms is None or seen.idle.step is Step.HELD:
                return None
            later = held_off(seen.idle, terms, now)
            if later is None:
                raise PlatformError(
                    Code.CONFLICT,
                    f"You held it off {EXTENSIONS} times: your container is stopped "
                    f"{format_instant(seen.until)} unless something works there",
                )
            self._set_idle(user_id, later, self.person(user_id).name, now)
            return Seen(later, later.stops_at(terms))

    def traces(self) -> Mapping[Place, Sequence[Stretch]]:
        """See IdleStore."""
        found: dict[Place, list[Stretch]] = defaultdict(list)
        for row in self._db.rows("select * from stretch order by at"):
            found[row["user_id"], bool(row["gpus"])].append(
                Stretch(instant(row["at"]), row["seen"], row["busy"], bool(row["person"]))
            )
        return found

    def keep_traces(self, more: Mapping[Place, Sequence[Stretch]], now: datetime) -> None:
        """See IdleStore."""
        with self._db.write():
            self._db.table("stretch").insert_all(
                {
                    "user_id": user_id,
                    "gpus": int(gpus),
                    "at": stamp(each.at),
                    "seen": each.seen,
                    "busy": each.busy,
                    "person": int(each.person),
                }
                for (user_id, gpus), stretches in more.items()
                for each in stretches
            )
            allowed = self.patience()
            for row in self._db.rows("select distinct user_id, gpus from stretch"):
                one = allowed.get(row["user_id"])
                terms = None if one is None else one.terms(bool(row["gpus"]))
                oldest = now if terms is None else now - terms.window - terms.stretch
                self._db.change(
                    "delete from stretch where user_id = ? and gpus = ? and at < ?",
                    row["user_id"],
                    row["gpus"],
                    stamp(oldest),
                )

    def _set_idle(self, user_id: int, idle: Idle | None, actor: str, now: datetime) -> None:
        before = self.idle().get(user_id)
        if before == idle:
            return
        self._db.change("delete from idle where id = ?", user_id)
        if idle is not None:
            row: dict[str, Value] = {
                "id": user_id,
                "step": idle.step.value,
                "at": stamp(idle.at),
                "gpus": int(idle.gpus),
                "extensions": idle.extensions,
            }
            self._db.insert("idle", row)
        name = self.person(user_id).name
        self._event(now, actor, "idle", name, _facts(before), _facts(idle))


def _terms(seconds: int, *, gpus: bool) -> Terms | None:
    return None if seconds == quotas.UNLIMITED else Terms(timedelta(seconds=seconds), gpus)


def _facts(idle: Idle | None) -> Facts:
    return {"state": "in use" if idle is None else idle.step.value}
