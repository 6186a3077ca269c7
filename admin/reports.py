"""`gpuadmin report`: what people held and used.

Owns the command line and the forms. Must not count anything.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from admin.call import Call, as_json, pass_call
from admin.output import Column, Record, field, instant, listing, progress
from gateway import pictures, reporting, usage
from gateway.errors import Code, PlatformError
from gateway.leases import Lease
from gateway.reporting import Share
from gateway.units import parse_duration, parse_instant

DEFAULT = "7d"
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Before any lease; an earlier time is cut to it, since far ones cannot be reckoned with."""


def _hours(record: Record) -> str | None:
    seconds = record["used_gpu_seconds"]
    return None if seconds is None else usage.hours(seconds)


def _percent(name: str) -> Column:
    def show(record: Record) -> str | None:
        return None if record[name] is None else f"{record[name]:.0%}"

    return name.upper(), show


COLUMNS: list[Column] = [
    ("GPU-HOURS", lambda record: usage.hours(record["gpu_seconds"])),
    ("LEASES", field("leases")),
    ("USED", _hours),
    _percent("busy"),
    _percent("seen"),
]


@click.command()
@click.option("--since", "length", metavar="DURATION", help=f"How far back, {DEFAULT} if nothing is said.")
@click.option("--from", "begin", metavar="TIME", help="From when, instead of --since: 2026-12-01T09:00.")
@click.option("--to", "end", metavar="TIME", help="Until when; now if nothing is said.")
@click.option(
    "--group-by",
    type=click.Choice(["user", "group"]),
    default="user",
    show_default=True,
    help="Whose hours a line has.",
)
@as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw a picture as well."
)
@pass_call
def report(
    call: Call,
    length: str | None,
    begin: str | None,
    end: str | None,
    group_by: str,
    as_json: bool,
    as_csv: bool,
    svg: Path | None,
) -> None:
    """Show the GPU-hours that each user or group held and used.

    A GPU is held from its grant until it is free, used or not. USED is weighted by utilization and known for
    the last 30 days; BUSY is the part of the looks in which anything computed, SEEN the part of what was held
    that was looked at.

    \b
    Example:
      gpuadmin report --since 30d
      gpuadmin report --from 2026-12-01 --to 2027-01-01 --group-by group --csv
      gpuadmin report --svg gpus.svg
    """
    if as_json and as_csv:
        raise click.UsageError("Either --json or --csv.")
    since, until = _time(call.now, length, begin, end)
    leases = call.store.leases(EARLIEST)
    windows = call.store.history(since, until)
    shares = reporting.by_user(leases, windows, since, until)
    span = {"since": instant(since), "until": instant(until)}
    if group_by == "group":
        records = [{"group": name, **_record(share), **span} for name, share in _by_group(call, shares)]
    else:
        names = {lease.user_id: lease.user for lease in leases}
        records = [
            {"user": names[id_], "user_id": id_, **_record(share), **span} for id_, share in shares.items()
        ]
    if svg is not None:
        labels = _labels(call, leases, since, until)
        _draw(svg, pictures.timeline(labels, leases, windows, since, until))
    title: Column = (group_by.upper(), field(group_by))
    if as_csv:
        click.echo(_csv([group_by, *_record(Share()), *span], records), nl=False)
    else:
        listing(records, [title, *COLUMNS], as_json)


def _time(now: datetime, length: str | None, begin: str | None, end: str | None) -> tuple[datetime, datetime]:
    """From when until when, which is not after now. Raises INVALID."""
    until = now if end is None else min(now, parse_instant(end))
    if length is not None and begin is not None:
        raise click.UsageError("Either --since or --from.")
    if begin is None:
        since = max(until, EARLIEST) - parse_duration(length or DEFAULT)
    else:
        since = max(parse_instant(begin), EARLIEST)
    if since >= until:
        raise PlatformError(
            Code.INVALID, f"The report would end before it begins ({instant(since)}); give an earlier --from."
        )
    return since, until


def _record(share: Share) -> dict[str, float | None]:
    used = share.used_seconds
    return {
        "gpu_seconds": share.gpu_seconds,
        "leases": share.leases,
        "used_gpu_seconds": None if used is None else round(used),
        "busy": share.busy_share,
        "seen": share.coverage,
        "cpu_seconds": share.cpu // 1_000_000,
    }


def _by_group(call: Call, shares: dict[int, Share]) -> list[tuple[str | None, Share]]:
    ids = {user.name: user.id for user in call.store.users()}
    groups = {
        group.name: [ids[name] for name in group.members if name in ids] for group in call.store.groups()
    }
    return list(reporting.by_group(shares, groups).items())


def _labels(call: Call, leases: Sequence[Lease], since: datetime, until: datetime) -> dict[str, str]:
    """The GPUs that are there, by index, and those that were held and are gone."""
    labels = {device.id: f"{device.name} {device.model}"[:22] for device in call.store.devices()}
    for lease in leases:
        if usage.gpu_seconds(lease, since, until):
            labels.update({device: device[:22] for device in lease.devices if device not in labels})
    return labels


def _csv(names: list[str], records: Sequence[Record]) -> str:
    """RFC 4180; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _draw(file: Path, picture: str) -> None:
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise PlatformError(
            Code.CONFLICT, f"{file} cannot be written ({error.strerror}); give another --svg."
        ) from error
    progress(f"Drew {file}.")
