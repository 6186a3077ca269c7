"""A report as a picture (SVG 1.1): who held which GPU when, and under each how busy it was.

Owns the drawing. Every text that somebody chose is escaped, and nothing in it refers to anything outside.
Must not know where the figures come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

from gateway.history import NOTHING, SPAN, Tally, Window
from gateway.leases import Lease
from gateway.tables import printable
from gateway.units import format_instant

WIDTH, LEFT, RIGHT, TOP = 1200, 190, 20, 64
BAR, HEAT, ROW = 24, 14, 52
MOST_CELLS = 240
"""Cells of the heat map in a row."""
TICKS = 8
_LETTER = 6.5
"""About the width of a letter of the bars: text that does not fit is left to the tooltip."""
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.title{font-size:16px;font-weight:bold}"
    ".held{font-size:11px;fill:#fff}.faint{fill:#777;font-size:11px}.none{fill:#f0f0f0}.line{stroke:#ddd}"
)


@dataclass(frozen=True)
class _Axis:
    """Time from left to right."""

    since: datetime
    until: datetime

    def x(self, at: datetime) -> float:
        inside = min(max(at, self.since), self.until)
        return LEFT + (WIDTH - LEFT - RIGHT) * ((inside - self.since) / (self.until - self.since))


def cells(windows: Sequence[Window], since: datetime, until: datetime) -> dict[str, list[Tally]]:
    """The utilization of each GPU in equal parts of the time, each at least as long as a window.

    Each window that began in the time is in one part, whoever held the GPU.
    """
    count = min(MOST_CELLS, max(1, (until - since) // SPAN))
    found: dict[str, list[Tally]] = {}
    for window in windows:
        if since <= window.at < until:
            place = (window.at - since) * count // (until - since)
            for use in window.gpus:
                row = found.setdefault(use.device, [NOTHING] * count)
                row[place] += use.utilization
    return found


def timeline(
    labels: Mapping[str, str],
    leases: Sequence[Lease],
    windows: Sequence[Window],
    since: datetime,
    until: datetime,
) -> str:
    """The picture, as a whole file. `labels` are the names of the GPUs to show, by their ids.

    `until` is after `since`.
    """
    axis = _Axis(since, until)
    heat = cells(windows, since, until)
    height = TOP + ROW * len(labels) + 50
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        _text(LEFT, 24, f"GPUs from {format_instant(since)} to {format_instant(until)}", "title"),
        *_ticks(axis, height - 44),
    ]
    for row, (device, label) in enumerate(labels.items()):
        y = TOP + ROW * row
        lines.append(_text(10, y + 17, label))
        lines += [_held(axis, lease, y) for lease in leases if device in lease.devices]
        lines += _heat(axis, heat.get(device, []), y + BAR + 2)
    lines += _legend(height - 16)
    return "\n".join([*lines, "</svg>"]) + "\n"


def color(user_id: int) -> str:
    """A user's: far from those of the ids beside it, and dark enough for white letters."""
    return f"hsl({user_id * 137 % 360},55%,42%)"


def _held(axis: _Axis, lease: Lease, y: float) -> str:
    # One in grace still holds, though its time is over.
    end = lease.released_at or max(lease.expires_at, axis.until)
    left, right = axis.x(lease.granted_at), axis.x(end)
    if end <= axis.since or lease.granted_at >= axis.until or right <= left:
        return ""
    tip = f"{lease.user}, lease {lease.id}: {format_instant(lease.granted_at)} to {format_instant(end)}"
    name = printable(lease.user) if len(lease.user) * _LETTER < right - left - 8 else ""
    return (
        f'<g><title>{_escaped(tip)}</title><rect x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}"'
        f' height="{BAR}" rx="3" fill="{color(lease.user_id)}"/>{_text(left + 5, y + 16, name, "held")}</g>'
    )


def _heat(axis: _Axis, row: Sequence[Tally], y: float) -> Iterator[str]:
    yield f'<rect class="none" x="{LEFT}" y="{y}" width="{WIDTH - LEFT - RIGHT}" height="{HEAT}"/>'
    if not row:
        return
    step: timedelta = (axis.until - axis.since) / len(row)
    for place, tally in enumerate(row):
        if tally.mean is None:
            continue
        left, right = axis.x(axis.since + place * step), axis.x(axis.since + (place + 1) * step)
        tip = f"{format_instant(axis.since + place * step)}: {tally.mean:.0f}%, at most {tally.peak}%"
        yield (
            f'<rect x="{left:.1f}" y="{y}" width="{right - left:.1f}" height="{HEAT}"'
            f' fill="{_warmth(tally.mean)}"><title>{_escaped(tip)}</title></rect>'
        )


def _warmth(percent: float) -> str:
    """From a pale blue for nothing to a dark one for all of it: one hue, which everybody can tell apart."""
    part = min(max(percent, 0), 100) / 100
    return f"hsl(212,{40 + 40 * part:.0f}%,{93 - 68 * part:.0f}%)"


def _ticks(axis: _Axis, bottom: float) -> Iterator[str]:
    step = (axis.until - axis.since) / TICKS
    for number in range(TICKS):
        at = axis.since + number * step
        x = axis.x(at)
        yield f'<line class="line" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, TOP - 14, at.strftime("%m-%d %H:%M"), "faint")


def _legend(y: float) -> Iterator[str]:
    yield _text(10, y, "Above: who held it. Below: how busy it was, from", "faint")
    for number in range(11):
        place = f'x="{290 + 14 * number}" y="{y - 11}" width="14" height="14"'
        yield f'<rect {place} fill="{_warmth(number * 10)}"/>'
    yield _text(452, y, "0 to 100 %; grey where nobody looked or the GPU does not tell.", "faint")


def _text(x: float, y: float, text: str, style: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y}"{named}>{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """XML has no way to write most control characters, so they are escaped as in tables."""
    return escape(printable(text))
