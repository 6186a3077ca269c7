"""`./dev bench`: the gateway against OpenSSH's sshd in a container of the same image, side by side.

Owns the order of the rows and what is printed. Nothing here fails for being slow.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from tests.bench.commands import bulk, clear, cold, execution, files, login
from tests.bench.crowds import keystrokes, logins, memory
from tests.bench.figures import Row, as_json, table
from tests.bench.forwards import forwards
from tests.bench.sides import PINNED, Sides, both
from tests.bench.workers import workers

ROWS: dict[str, Callable[[Sides], list[Row]]] = {
    "login": login,
    "exec": execution,
    "cold": cold,
    "bulk": bulk,
    "files": files,
    "forward": forwards,
    "logins": logins,
    "memory": memory,
    "keystroke": keystrokes,
    "workers": workers,
}
ONCE = frozenset({"cold", "memory"})
"""What no cipher changes."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description="Times the gateway against OpenSSH's sshd in a container of the same image, in turn.",
        epilog="For instance: ./dev bench login exec",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {' '.join(ROWS)}; all when none is named")
    parser.add_argument("--json", action="store_true", help="every single figure, for programs")
    asked = parser.parse_args()
    unknown = [name for name in asked.rows if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; choose of {' '.join(ROWS)}")
    # A measurement that is ended early removes its containers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with both() as sides:
        rows = _measured(sides, asked.rows or list(ROWS))
    if asked.json:
        sys.stdout.write(as_json(rows) + "\n")
    else:
        sys.stdout.write(f"{_machine()}\n\n{table(rows)}\n")


def _measured(sides: Sides, names: list[str]) -> list[Row]:
    """Each row with the client's defaults, then with key exchange and cipher pinned equal."""
    rows: list[Row] = []
    for name in names:
        sys.stderr.write(f"bench: {name}\n")
        rows += ROWS[name](sides)
        if name not in ONCE:
            pinned = ROWS[name](replace(sides, options=PINNED))
            rows += [replace(row, work=f"{row.work}, pinned", target=None) for row in pinned]
        clear(sides)
    return rows


def _machine() -> str:
    """What the figures were taken on."""
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "?")
    return (
        f"{os.cpu_count()} cores ({model}), Linux {platform.release()}, Python {platform.python_version()};"
        " clients and servers share the machine."
    )


main()
