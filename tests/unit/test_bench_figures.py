"""The arithmetic of the measurements, and the table."""

from __future__ import annotations

import json

import pytest

from tests.bench.figures import Row, as_json, percentile, shown, table
from tests.bench.timing import in_turn

ROW = Row("`ssh host true`", "sshd", "s", (0.05, 0.3, 0.1), (0.2, 0.4, 0.1), 0.5, "one was lost")


def test_the_ratio_is_that_of_the_medians() -> None:
    assert ROW.ratio == pytest.approx(0.5)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_a_percentile_is_a_figure_that_was_seen(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


@pytest.mark.parametrize(
    ("figure", "unit", "text"),
    [(0.0123, "s", "12.3 ms"), (1.5, "s", "1.50 s"), (1234.4, "KiB", "1,234 KiB")],
)
def test_figures_are_shown_with_their_unit(figure: float, unit: str, text: str) -> None:
    assert shown(figure, unit) == text


def test_the_table_has_a_line_a_row_and_the_notes_beneath() -> None:
    lines = table([ROW]).splitlines()
    assert lines[2] == "| `ssh host true` | sshd | 100.0 ms | 200.0 ms | 0.50 | ≤ 0.5 | 3 |"
    assert lines[-1] == "`ssh host true`, sshd: one was lost"


def test_programs_get_every_figure() -> None:
    (row,) = json.loads(as_json([ROW]))
    assert (row["ours"], row["theirs"], row["ratio"]) == ([0.05, 0.3, 0.1], [0.2, 0.4, 0.1], 0.5)


def test_pairs_run_in_turn_and_the_first_is_not_counted() -> None:
    ran: list[str] = []
    ours, theirs = in_turn(
        lambda: ran.append("ours"), lambda: ran.append("theirs"), 3, before=lambda: ran.append("before")
    )
    assert (len(ours), len(theirs)) == (3, 3)
    assert "".join(word[0] for word in ran) == "tbo" + "bot" + "tbo" + "bot"
