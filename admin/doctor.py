"""`gpuadmin doctor`: is this machine fit to serve people?

Owns the command line and how findings are shown. Must not look at the machine, nor judge it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime

import click

from admin.call import Call, as_json, pass_call
from admin.checks import CHECKS, examine
from admin.findings import Finding
from gateway.disks import Disk
from gateway.errors import PlatformError
from gateway.tables import printable


@click.command()
@click.option(
    "--allow",
    "allowed",
    metavar="CHECK",
    multiple=True,
    type=click.Choice(list(CHECKS)),
    help="Do not count this check's failure; may be given again.",
)
@as_json
@click.pass_context
@pass_call
def doctor(call: Call, context: click.Context, allowed: tuple[str, ...], as_json: bool) -> None:
    """Examine this machine: the engine, its GPUs, disk, clock, port and versions with known holes.

    Exit status 1 when a check fails that is not allowed to.

    \b
    Example:
      gpuadmin doctor --allow clock
    """
    # Imported here: the engine's client costs more time than most commands take.
    from admin.facts import look

    disks, recorded = _of_the_store(call)
    findings = examine(look(call.config, call.now, disks, recorded))
    if as_json:
        click.echo(
            json.dumps([_record(name, each, name in allowed) for name, each in findings.items()], indent=2)
        )
    else:
        for name, each in findings.items():
            _show(name, each, name in allowed)
    if any(each.status == "fail" and name not in allowed for name, each in findings.items()):
        context.exit(1)


def _of_the_store(call: Call) -> tuple[Collection[Disk], datetime | None]:
    """People's disks and the newest event's time, of a store that can be read: a new machine gets none."""
    with suppress(PlatformError):
        if (call.config.state / "gateway.db").exists():
            return call.store.disks().values(), call.store.last_recorded()
    return (), None


def _record(name: str, finding: Finding, allowed: bool) -> dict[str, object]:
    return {
        "check": name,
        "status": finding.status,
        "allowed": allowed,
        "found": finding.found,
        "fix": finding.fix or None,
    }


def _show(name: str, finding: Finding, allowed: bool) -> None:
    note = " (allowed)" if allowed and finding.status == "fail" else ""
    click.echo(f"{finding.status:<4}  {name:<15}  {printable(finding.found)}{note}")
    if finding.fix:
        click.echo(f"{'':21}  fix: {printable(finding.fix)}")
