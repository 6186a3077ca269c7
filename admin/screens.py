"""`gpuadmin top`'s screen: lines that fit, of GPUs and the programs on them.

Owns the words, the bars and their colors. Pure: must not know the terminal, the clock or where records come
from, whose keys are those of `gpuadmin gpu list --json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from admin.output import Record
from gateway.tables import printable
from gateway.units import format_duration, format_instant, format_size

Span = tuple[str, str]
"""Text, and the style it has: a name of STYLES, or none."""
Line = list[Span]

STYLES = {"good": "32", "warm": "33", "bad": "31", "faint": "2", "strong": "1"}
"""SGR parameters (ECMA-48, section 8.3.117)."""
BAR = 20
MODEL = 22
_WARM, _GOOD = 10, 40
"""Per cent: below the first a held GPU is as good as idle."""


def screen(
    records: Sequence[Record], now: datetime, columns: int, rows: int, blocks: bool, answers: bool
) -> list[Line]:
    """What fits on `columns` by `rows` cells, at most that many lines.

    `blocks`: the terminal has the characters for bars. `answers`: the driver does.
    """
    lines = [_heading(records, now, answers), []]
    for record in records:
        lines += [_gpu(record, now, blocks), *_programs(record)]
    if len(lines) > rows:
        hidden = len(lines) - rows + 1
        lines = [*lines[: max(0, rows - 1)], [(f"... {hidden} more lines; enlarge the window", "faint")]]
    return [clip(line, columns) for line in lines[:rows]]


def clip(line: Line, columns: int) -> Line:
    """As much of a line as fits, each of its characters being one cell wide."""
    left, clipped = columns, []
    for text, style in line:
        if left > 0:
            clipped.append((text[:left], style))
        left -= len(text)
    return clipped


def paint(line: Line, colored: bool) -> str:
    """The line with its styles, or its text alone."""
    return "".join(
        f"\x1b[{STYLES[style]}m{text}\x1b[m" if colored and style and text else text for text, style in line
    )


def _heading(records: Sequence[Record], now: datetime, answers: bool) -> Line:
    held = sum(record["user"] is not None for record in records)
    idle = sum(_idle(record) for record in records)
    said = f"{len(records)} GPU{'' if len(records) == 1 else 's'}, {held} held"
    return [
        ("gpu-gateway  ", "strong"),
        (said, ""),
        *([(f", {idle} of these idle", "warm")] if idle else []),
        *([] if answers else [("  NVIDIA's driver does not answer", "bad")]),
        (f"  {format_instant(now)}  q ends this", "faint"),
    ]


def _idle(record: Record) -> bool:
    utilization = record["utilization"]
    return record["user"] is not None and utilization is not None and utilization < _WARM


def _gpu(record: Record, now: datetime, blocks: bool) -> Line:
    utilization, used, memory = record["utilization"], record["used"], record["memory"]
    style = "faint" if record["user"] is None else "good"
    if record["user"] is not None and utilization is not None and utilization < _GOOD:
        style = "warm"
    share = None if used is None or not memory else 100 * used // memory
    size = f"{'?' if used is None else format_size(used)}/{format_size(memory)}"
    return [
        (f"{record['index']:>2} {_plain(record['model'])[:MODEL]:<{MODEL}} ", "strong"),
        (_bar(utilization, blocks), style),
        (f" {'-' if utilization is None else f'{utilization}%':>4}  ", ""),
        (_bar(share, blocks, BAR // 2), "faint"),
        (f" {size:>12}  ", ""),
        *_holder(record, now),
    ]


def _holder(record: Record, now: datetime) -> Iterator[Span]:
    if record["user"] is not None:
        left = datetime.fromisoformat(record["expires_at"]) - now
        yield f"{_plain(record['user'])} ", "strong"
        yield f"{format_duration(left)} left", "faint"
    elif record["state"] == "healthy":
        yield "free", "good"
    if record["state"] != "healthy":
        reason = f": {record['reason']}" if record["reason"] else ""
        yield f" {record['state']}{_plain(reason)}", "bad"


def _programs(record: Record) -> Iterator[Line]:
    for each in sorted(record["processes"], key=lambda each: (-(each["memory"] or 0), each["pid"])):
        memory = "?" if each["memory"] is None else format_size(each["memory"])
        who = each["user"] or "unmanaged"
        yield [
            (f"   {memory:>8} {each['pid']:>8} ", "faint"),
            (f"{_plain(who)} ", "" if each["user"] else "bad"),
            (_plain(each["name"] or "?"), "faint"),
        ]


def _bar(percent: int | None, blocks: bool, width: int = BAR) -> str:
    full, empty = ("█", "░") if blocks else ("#", ".")
    if percent is None:
        return " " * width
    filled = round(min(max(percent, 0), 100) * width / 100)
    return full * filled + empty * (width - filled)


def _plain(text: str) -> str:
    """Somebody else's text in characters that are one cell wide in every terminal."""
    return printable(text).encode("ascii", "replace").decode()
