"""Text for people: a table of cells, in which nothing steers a terminal.

Owns the layout and the escaping of what somebody else chose. Must not know what is shown.
"""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """`text` with every control, format (bidi) and invalid character as a backslash escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def cell(value: object) -> str:
    """A value in a table: `-` for nothing, `yes` and `no`, the items of a list behind one another."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return printable(", ".join(map(str, value))) or "-"
    return printable(str(value))


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Its lines, the heading first, which is there without rows too: "none" is seen to be none."""
    cells = [list(titles), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(titles))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
