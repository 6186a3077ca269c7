"""`gpuadmin gpu`: the GPUs of this machine, their state, and who holds them.

Owns the command lines. Must not know NVML.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from admin.call import Call, as_json, pass_call
from admin.inventory import look, look_when_unknown
from admin.output import Record, field, instant, listing, minute, say
from admin.using import Use, Watch
from gateway.devices import Device
from gateway.errors import Code, PlatformError
from gateway.leases import Lease
from gateway.reminders import of_lease
from gateway.tables import printable
from gateway.units import format_instant, format_size

WIDE = 40
"""Characters of a reason that the table shows; gpu show has all."""
XIDS = 5


def _short(record: Record) -> str | None:
    reason: str | None = record["reason"]
    if reason is None and record["unmanaged"] is not None:
        reason = f"unmanaged use: {record['unmanaged']}"
    reason = reason or record["idle"]
    return reason if reason is None or len(reason) <= WIDE else reason[: WIDE - 1] + "…"


def percent(value: int | None) -> str | None:
    """For people."""
    return None if value is None else f"{value}%"


def by_person(processes: Sequence[Record]) -> list[str]:
    """Who uses how much memory of a GPU, for people: `alice 8G`, and `unmanaged 3G` in no workspace."""
    sums: dict[str, int | None] = {}
    for process in processes:
        name = process["user"] or "unmanaged"
        so_far, memory = sums.get(name, 0), process["memory"]
        sums[name] = None if so_far is None or memory is None else so_far + memory
    return [name if memory is None else f"{name} {format_size(memory)}" for name, memory in sums.items()]


COLUMNS = [
    ("GPU", field("label")),
    ("ID", field("id")),
    ("MODEL", field("model")),
    ("MEMORY", lambda record: format_size(record["memory"])),
    ("UTIL", lambda record: percent(record["utilization"])),
    ("STATE", lambda record: "divided" if record["divided"] else record["state"]),
    ("HELD BY", field("user")),
    ("UNTIL", lambda record: minute(record["expires_at"])),
    ("USED BY", lambda record: by_person(record["processes"])),
    ("REASON", _short),
]


@click.group()
def gpu() -> None:
    """Look at GPUs, and take one out of use.

    \b
    Example:
      gpuadmin gpu list
    """


def record(device: Device, lease: Lease | None, use: Use, idle: str | None) -> dict[str, Any]:
    """All that a listing says of a GPU."""
    return {
        "id": device.id,
        "index": device.index,
        "label": device.label,
        "parent": device.part and device.part.parent,
        "profile": device.profile,
        "divided": device.divided and device.reason is None,
        "model": device.model,
        "memory": device.memory,
        "node": device.node,
        "state": device.state.value,
        "reason": device.reason,
        "problem": device.problem,
        "drained": device.drained,
        "unmanaged": device.unmanaged,
        "lease": lease and lease.id,
        "user": lease and lease.user,
        "expires_at": instant(lease.expires_at) if lease else None,
        "idle": idle,
        "utilization": use.utilization,
        "used": use.used,
        "processes": [
            {"pid": each.pid, "name": each.name, "user": each.user, "memory": each.memory}
            for each in use.programs
        ],
    }


def records(call: Call, watch: Watch) -> tuple[list[dict[str, Any]], bool]:
    """Every GPU, by index, and whether the driver answers: what it leaves open is null."""
    devices = call.store.devices()
    uses = watch.look(call.store.users(), devices) if devices else {}
    held, idlers = _holders(call), call.store.idlers()
    found = []
    for device in devices:
        lease, use = held.get(device.id), (uses or {}).get(device.id, Use())
        found.append(record(device, lease, use, of_lease(lease, idlers)))
    return found, uses is not None


def _holders(call: Call) -> dict[str, Lease]:
    return {device: lease for lease in call.store.held_leases() for device in lease.devices}


@gpu.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List the GPUs: the state of each, who holds it until when, and who uses it now.

    \b
    Example:
      gpuadmin gpu list --json
    """
    look(call)
    listing(records(call, Watch())[0], COLUMNS, as_json)


@gpu.command()
@click.argument("id_", metavar="ID")
@as_json
@pass_call
def show(call: Call, id_: str, as_json: bool) -> None:
    """Show all that is known of one GPU: what it is, its state and why, its last errors, and its holder.

    \b
    Example:
      gpuadmin gpu show GPU-7f6d0f5e-1c4a-4a0e-8a53-0c5b9bb8f0a1
    """
    look(call)
    device = next((each for each in call.store.devices() if each.id == id_), None)
    if device is None:
        raise PlatformError(Code.NOT_FOUND, f"There is no GPU {id_!r}; see: gpuadmin gpu list")
    hardware = device.hardware
    shown = {
        **next(each for each in records(call, Watch())[0] if each["id"] == id_),
        "bus_id": hardware.bus_id,
        "minor": hardware.minor,
        "capability": hardware.capability,
        "numa": hardware.numa,
        "mig": hardware.mig,
        "uuid": device.handle,
        "driver": hardware.driver,
        "links": dict(hardware.links),
        "xids": [{"at": instant(at), "found": text} for at, text in call.store.xids(id_, XIDS)],
    }
    if as_json:
        click.echo(json.dumps([shown], indent=2))
        return
    for name, value in _lines(shown):
        click.echo(f"{name:<12}  {printable(value)}")


def _lines(record: Record) -> Iterator[tuple[str, str]]:
    """What there is to say for people; a GPU leaves some questions unanswered."""
    yield "gpu", f"{record['label']} of {record['node']}"
    yield "id", record["id"]
    if record["profile"]:
        yield (
            "slice",
            f"{record['profile']}, {record['uuid'] if record['state'] != 'lost' else 'not there now'}",
        )
    yield "model", record["model"]
    yield "memory", format_size(record["memory"])
    yield "state", record["state"]
    if record["reason"]:
        yield "reason", record["reason"]
    if record["unmanaged"]:
        yield "unmanaged", record["unmanaged"]
    if record["user"] is not None:
        yield "held by", f"{record['user']} until {minute(record['expires_at'])} (lease {record['lease']})"
    if record["idle"] is not None:
        yield "idle", record["idle"]
    if record["utilization"] is not None:
        yield "utilization", f"{record['utilization']}%"
    for each in record["processes"]:
        memory = "" if each["memory"] is None else f", {format_size(each['memory'])}"
        yield "process", f"{each['pid']} ({each['name'] or '?'} of {each['user'] or 'nobody here'}{memory})"
    for name in ("driver", "capability", "numa"):
        if record[name] is not None:
            yield name, str(record[name])
    if record["mig"] is not None:
        yield "mig", "on" if record["mig"] else "off"
    if record["bus_id"] is not None:
        yield "pci", record["bus_id"]
    if record["minor"] is not None:
        yield "node", f"/dev/nvidia{record['minor']}"
    for other, word in record["links"].items():
        yield "link", f"{word} to {other}"
    for xid in record["xids"]:
        yield "error", f"{minute(xid['at'])}  {xid['found']}"


@gpu.command()
@click.argument("id_", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="Why; shown in gpu list and to who asks for GPUs.")
@pass_call
def drain(call: Call, id_: str, reason: str) -> None:
    """Grant a GPU to nobody from now on; who holds it keeps it until her lease ends.

    \b
    Example:
      gpuadmin gpu drain GPU-7f6d0f5e-1c4a-4a0e-8a53-0c5b9bb8f0a1 --reason "fan"
    """
    look_when_unknown(call)
    changed = call.store.drain(id_, reason, call.actor, call.now)
    holder = _holders(call).get(id_)
    until = f"; {holder.user} holds it until {format_instant(holder.expires_at)}" if holder else ""
    say(f"{'Drained' if changed else 'It is drained already:'} {id_}{until}.")


@gpu.command()
@click.argument("id_", metavar="ID")
@pass_call
def undrain(call: Call, id_: str) -> None:
    """Let a GPU that is drained or quarantined be granted again.

    A quarantine for an Xid ends; one for what the GPU says of itself now, or for who uses it, ends with that.

    \b
    Example:
      gpuadmin gpu undrain GPU-7f6d0f5e-1c4a-4a0e-8a53-0c5b9bb8f0a1
    """
    changed = call.store.drain(id_, None, call.actor, call.now)
    device = next(each for each in call.store.devices() if each.id == id_)
    if device.problem is not None:
        say(f"{id_} is {device.state.value} until that is seen to be over: {device.problem}.")
    else:
        say(f"{id_} can be granted again." if changed else f"{id_} was not drained.")


@gpu.command()
@click.argument("id_", metavar="ID")
@pass_call
def forget(call: Call, id_: str) -> None:
    """Take a GPU or MIG slice that will not come back from every listing, and nobody waits for it any more.

    It must be lost, and nobody may hold it. One that is seen again is as any new one.

    \b
    Example:
      gpuadmin gpu forget GPU-7f6d0f5e-1c4a-4a0e-8a53-0c5b9bb8f0a1/1g.10gb@4
    """
    call.store.forget_device(id_, call.actor, call.now)
    say(f"Forgotten: {id_}.")
