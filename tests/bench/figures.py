"""What a measurement is: pairs of figures, their medians, and the table that people read.

Owns the arithmetic and the words of the result. Must not know how anything is measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """One line of the table: what was done, `ours` against `theirs`, each a list of figures in `unit`.

    `target` is the ratio to reach, None where there is none; `note` is told beneath the table.
    """

    work: str
    against: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    target: float | None
    note: str = ""

    @property
    def ratio(self) -> float:
        """The median of ours by the median of theirs."""
        return median(self.ours) / median(self.theirs)


def percentile(figures: Sequence[float], share: float) -> float:
    """The figure below which `share` (0 to 1) of them lie; the nearest one that was really seen."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(rows: Sequence[Row]) -> str:
    """The rows for people, as Markdown."""
    lines = [
        "| work | against | ours | theirs | ratio | target | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        target = "" if row.target is None else f"≤ {row.target:g}"
        figures = f"{shown(median(row.ours), row.unit)} | {shown(median(row.theirs), row.unit)}"
        lines.append(
            f"| {row.work} | {row.against} | {figures} | {row.ratio:.2f} | {target} | {len(row.ours)} |"
        )
    notes = [f"{row.work}, {row.against}: {row.note}" for row in rows if row.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def as_json(rows: Sequence[Row]) -> str:
    """The rows for programs: one array of objects, every figure in it."""
    return json.dumps(
        [
            {
                "work": row.work,
                "against": row.against,
                "unit": row.unit,
                "ours": row.ours,
                "theirs": row.theirs,
                "ratio": round(row.ratio, 3),
                "target": row.target,
                "note": row.note,
            }
            for row in rows
        ],
        indent=1,
    )


def shown(figure: float, unit: str) -> str:
    """A figure with its unit; seconds below one as milliseconds."""
    if unit == "s":
        return f"{figure:.2f} s" if figure >= 1 else f"{figure * 1000:.1f} ms"
    return f"{figure:,.0f} {unit}"
