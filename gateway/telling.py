"""How answers to `gpu` read: tables and sentences for people, one JSON array for programs.

Owns the words and the records. Of others it tells their name and the end of their leases, no more. Must not
know who asks how.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from gateway import quotas, reminders, usage
from gateway.devices import Device, Health, in_order
from gateway.idleness import Seen
from gateway.leases import Lease, State
from gateway.restarts import NOTICE, Restart
from gateway.scheduling.standing import Standing
from gateway.scheduling.waiting import Request
from gateway.tables import printable, table
from gateway.units import format_duration, format_instant, format_size, iso

Record = Mapping[str, Any]

_MOVED = timedelta(minutes=10)


def status(
    user_id: int,
    leases: Sequence[Lease],
    requests: Sequence[tuple[Request, Standing]],
    devices: Sequence[Device],
    now: datetime,
    restart: Restart | None = None,
    idle: Seen | None = None,
) -> list[Record]:
    """What she holds, the kind "lease", what she waits for, "request", each GPU of the machine, "gpu", and
    first of all when her container restarts to show what she holds, if it does, "restart", and what follows
    when it is "idle".

    `leases` are all that hold devices, `requests` hers alone.
    """
    holders = {id_: lease for lease in leases for id_ in lease.devices}
    mine = [_lease(lease, devices, now) for lease in leases if lease.user_id == user_id]
    return [
        *([] if restart is None else [_restart(restart, devices)]),
        *([] if idle is None else [reminders.record(idle)]),
        *mine,
        *(_request(*each) for each in requests),
        *(_gpu(device, holders.get(device.id)) for device in devices),
    ]


def status_in_words(user: str, records: Sequence[Record]) -> str:
    """The same as two tables, with a line for each reason to wait between them."""
    mine = [record for record in records if record["kind"] == "lease"]
    gpus = [record for record in records if record["kind"] == "gpu"]
    free = sum(record["state"] == "free" for record in gpus)
    lines = ["You hold no GPU; ask for one with: gpu request 1"]
    if mine:
        lines = table(("LEASE", "GPUS", "STATE", "UNTIL", "LEFT"), [_shown(record) for record in mine])
    for record in records:
        lines += _waiting(record) if record["kind"] == "request" else []
        lines += [_coming(record)] if record["kind"] == "restart" else []
        lines += [record["text"]] if record["kind"] == "idle" else []
    slices = sum(record["profile"] is not None for record in gpus)
    parts = f" and {slices} MIG {'slice' if slices == 1 else 'slices'}" if slices else ""
    lines += ["", f"The machine has {_count(len(gpus) - slices)}{parts}, {free} free."]
    titles = ("GPU", "MODEL", "MEMORY", "STATE", "HELD BY", "UNTIL", "REASON")
    lines += table(titles, [_machine(record, user) for record in gpus])
    return _text(lines)


def history(
    leases: Sequence[Lease], devices: Sequence[Device], since: datetime, now: datetime
) -> list[Record]:
    """Her leases, and what they held since then."""
    return [
        _lease(lease, devices, now)
        | {
            "released_at": None if lease.released_at is None else iso(lease.released_at),
            "gpu_seconds": usage.gpu_seconds(lease, since, now),
        }
        for lease in leases
    ]


def history_in_words(records: Sequence[Record]) -> str:
    """The same as a table, with the sum."""
    titles = ("LEASE", "GPUS", "STATE", "FROM", "UNTIL", "GPU-HOURS", "REASON")
    rows = [
        (
            record["id"],
            record["labels"],
            record["state"],
            _minute(record["granted_at"]),
            _minute(record["released_at"] or record["expires_at"]),
            usage.hours(record["gpu_seconds"]),
            record["reason"],
        )
        for record in records
    ]
    total = usage.hours(sum(record["gpu_seconds"] for record in records))
    return _text([*table(titles, rows), "", f"{total} GPU-hours in the last 30 days."])


def as_json(records: Sequence[Record]) -> str:
    """One array."""
    return json.dumps(records, indent=2) + "\n"


def granted(lease: Lease, devices: Sequence[Device], running: bool) -> str:
    """What she got, and when it is hers to use. `running`: her container runs, without these devices."""
    when = "They are" if len(lease.devices) > 1 else "It is"
    applies = f"{when} in your container from your next login."
    if running:
        applies = (
            "Your container restarts to show that: when nobody is in it and nothing of yours runs there, or "
            f"{format_duration(NOTICE)} from now. At once: gpu apply. Not yet: gpu later"
        )
    held = f"Lease {lease.id}: you hold {_names(lease, devices)} until {format_instant(lease.expires_at)}."
    return _text([held, applies])


def extended(lease: Lease, before: datetime) -> str:
    """When it ends now."""
    ends, ended = format_instant(lease.expires_at), format_instant(before)
    return _text([f"Lease {lease.id} ends {ends}, not {ended}."])


RESTARTS = "Your container restarts now, once programs that save their work have done so; log in again.\n"
"""The answer to who wants that."""


def put_off(restart: Restart, before: datetime) -> str:
    """When her container restarts now."""
    due, was = format_instant(restart.due_at), format_instant(before)
    return _text([f"Your container restarts at {due}, not at {was}."])


def given_back(
    leases: Sequence[Lease], requests: Sequence[int], devices: Sequence[Device], shown: bool
) -> str:
    """What she holds, and waits for, no more. `shown`: her container may show it."""
    lines = [f"Lease {lease.id} is given back: {_names(lease, devices)}." for lease in leases]
    lines += [f"Request {id_} is withdrawn." for id_ in requests]
    if shown:
        lines.append("Your container is stopped for that; log in again for one without.")
    return _text(lines)


def place(standing: Standing) -> str:
    """Where her request stands, for somebody who watches."""
    what = f"Request {standing.request_id} is number {standing.place} in the queue; {_begins(standing.start)}"
    return _text([line("; ".join((what, *standing.reasons)))])


def is_news(told: Standing, standing: Standing) -> bool:
    """Whether a place is worth another line."""
    if told.place != standing.place or (told.start is None) != (standing.start is None):
        return True
    return told.start is not None and standing.start is not None and abs(told.start - standing.start) > _MOVED


def line(text: str) -> str:
    """One line, whoever chose words of it."""
    return printable(" ".join(text.split()))


def _lease(lease: Lease, devices: Sequence[Device], now: datetime) -> dict[str, Any]:
    held = in_order(device for device in devices if device.id in lease.devices)
    return {
        "kind": "lease",
        "id": lease.id,
        "user": lease.user,
        "devices": list(lease.devices),
        "indexes": [device.index for device in held],
        "labels": [device.label for device in held],
        "profile": lease.profile,
        "state": lease.state.value,
        "granted_at": iso(lease.granted_at),
        "expires_at": iso(lease.expires_at),
        "remaining": max(0, int((lease.expires_at - now).total_seconds())) if lease.live else 0,
        "reason": lease.reason,
    }


def _request(request: Request, standing: Standing) -> dict[str, Any]:
    return {
        "kind": "request",
        "id": request.id,
        "user": request.user,
        "gpus": request.count,
        "state": State.QUEUED.value,
        "asked_at": iso(request.asked_at),
        "length": int(request.length.total_seconds()),
        "model": request.model,
        "profile": request.profile,
        "place": standing.place,
        "begins_at": None if standing.start is None else iso(standing.start),
        "terms": list(standing.terms),
        "reasons": list(standing.reasons),
    }


def _restart(restart: Restart, devices: Sequence[Device]) -> dict[str, Any]:
    shown = in_order(device for device in devices if device.id in restart.devices)
    return {
        "kind": "restart",
        "devices": list(restart.devices),
        "indexes": [device.index for device in shown],
        "labels": [device.label for device in shown],
        "due_at": iso(restart.due_at),
        "latest": iso(restart.latest),
    }


def _coming(record: Record) -> str:
    names = " and ".join(f"GPU {label}" for label in record["labels"]) or "no GPU"
    return f"Your container restarts at {_minute(record['due_at'])} to show {names}; see: gpu later --help"


def _waiting(record: Record) -> list[str]:
    length = format_duration(timedelta(seconds=record["length"]))
    begins = None if record["begins_at"] is None else datetime.fromisoformat(record["begins_at"])
    place = f"number {record['place']} in the queue; {_begins(begins)}"
    wanted = quotas.gpus(record["gpus"], record["profile"])
    first = f"Request {record['id']}: {wanted} for {length}, {place}."
    return [
        first,
        *(f"  {line(term)}" for term in record["terms"]),
        *(f"  waits: {line(why)}" for why in record["reasons"]),
    ]


def _begins(start: datetime | None) -> str:
    if start is None:
        return "nothing that is known would let it begin"
    return f"it may begin {format_instant(start)}"


def _gpu(device: Device, lease: Lease | None) -> dict[str, Any]:
    state = "free" if lease is None else "held"
    if device.divided:
        state = "divided"
    if device.problem is not None:
        state = "out of order"
    elif lease is None and device.state is Health.DRAINED:
        state = device.state.value
    return {
        "kind": "gpu",
        "id": device.id,
        "index": device.index,
        "label": device.label,
        "profile": device.profile,
        "model": device.model,
        "memory": device.memory,
        "node": device.node,
        "state": state,
        "user": None if lease is None else lease.user,
        "expires_at": None if lease is None else iso(lease.expires_at),
        "reason": device.reason,
    }


def _shown(record: Record) -> Sequence[object]:
    left = format_duration(timedelta(seconds=record["remaining"]))
    return record["id"], record["labels"], record["state"], _minute(record["expires_at"]), left


def _machine(record: Record, user: str) -> Sequence[object]:
    holder = "you" if record["user"] == user else record["user"]
    size = format_size(record["memory"])
    until = _minute(record["expires_at"])
    return record["label"], record["model"], size, record["state"], holder, until, record["reason"]


def _names(lease: Lease, devices: Sequence[Device]) -> str:
    known = {device.id: f"{device.name} ({device.model})" for device in devices}
    return printable(", ".join(known.get(id_, id_) for id_ in lease.devices))


def _count(number: int) -> str:
    return "1 GPU" if number == 1 else f"{number} GPUs"


def _minute(text: str | None) -> str:
    return "" if text is None else f"{text[:10]} {text[11:16]}Z"


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
