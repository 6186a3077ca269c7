"""How answers look: a table for people, one JSON array for programs.

Owns where they go and what a record is. Text that somebody else chose, such as a key's comment, must not
move the cursor of the operator who lists it: gateway.tables escapes it. Must not fetch anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from gateway.tables import printable, table
from gateway.units import iso

Record = Mapping[str, Any]
Column = tuple[str, Callable[[Record], object]]


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
    rows = [[show(record) for _, show in columns] for record in records]
    for line in table([title for title, _ in columns], rows):
        click.echo(line, err=err)
