"""How answers look: a table for people, one JSON array for programs.

Owns layout, and the escaping of text that somebody else chose: a key's comment or a command line must
not move the cursor of the operator who lists it. Must not fetch anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from gateway.units import iso

Record = Mapping[str, Any]
Column = tuple[str, Callable[[Record], object]]


def printable(text: str) -> str:
    """`text` with every control, format (bidi) and invalid character as a backslash escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def say(sentence: str) -> None:
    """One line for the operator on stdout."""
    click.echo(printable(sentence))


def progress(sentence: str) -> None:
    """One line on stderr while something takes its time."""
    click.echo(printable(sentence), err=True)


def instant(at: datetime | None) -> str | None:
    """An instant in a record: text for programs, or null."""
    return None if at is None else iso(at)


def minute(text: object) -> str:
    """A record's instant for people: `2026-11-23 15:00Z`."""
    return "" if text is None else f"{str(text)[:10]} {str(text)[11:16]}Z"


def field(name: str) -> Callable[[Record], object]:
    """The column that shows a record's field as it is."""
    return lambda record: record[name]


def listing(
    records: Sequence[Record], columns: Sequence[Column], as_json: bool, *, err: bool = False
) -> None:
    """Print records. A table has a heading even when it is empty, so that "none" is seen to be none.

    `err`: on stderr, for a table of what is wrong.
    """
    if as_json:
        click.echo(json.dumps([dict(record) for record in records], indent=2))
        return
    cells = [[_cell(show(record)) for _, show in columns] for record in records]
    titles = [title for title, _ in columns]
    widths = [max(len(row[index]) for row in [titles, *cells]) for index in range(len(titles))]
    for row in [titles, *cells]:
        click.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), err=err
        )


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return printable(", ".join(map(str, value))) or "-"
    return printable(str(value))
