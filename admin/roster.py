"""A file of people for `user add --from`: CSV, read whole, with everything that is wrong told at once.

Owns the columns and what one file may not say twice. Must not know who is there already: the store does.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.errors import Code, PlatformError
from gateway.folders.shared import check_home
from gateway.keys import parse_keys
from gateway.names import parse_group_name, parse_user_name
from gateway.users import NewUser, SiteAccount

_COLUMNS = ("name", "key", "groups", "uid", "gid", "home")
_FORM = f"name the columns in its first line: {', '.join(_COLUMNS)} (only name must be there)"


@dataclass(frozen=True)
class Fault:
    """What is wrong in a line, counted from 1; `name` as it was written."""

    line: int
    name: str
    error: PlatformError


@dataclass(frozen=True)
class Roster:
    """The people of the lines that can be read, by line, and the faults of the others."""

    people: dict[int, NewUser]
    faults: list[Fault]


def read(data: bytes) -> Roster:
    """A file's people. Raises INVALID when it is no table of people in UTF-8 at all."""
    text = _text(data)
    rows = _rows(text)
    header = next(rows, (0, []))[1]
    columns = [column.strip().lower() for column in header]
    if "name" not in columns or len(set(columns)) != len(columns) or not set(columns) <= set(_COLUMNS):
        raise _refusal(f"This is not a CSV file of people; {_FORM}.")
    found = Roster({}, [])
    for line, fields in rows:
        record = dict(zip(columns, (field.strip() for field in fields), strict=False))
        try:
            if len(fields) > len(columns):
                raise _refusal(
                    "It has more fields than the first line; put one that holds a comma in quotes."
                )
            found.people[line] = _person(record)
        except PlatformError as error:
            found.faults.append(Fault(line, record.get("name", ""), error))
    if not found.people and not found.faults:
        raise _refusal("There is nobody in the file; write one person a line below the first.")
    return _without_repeats(found)


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(
            f"Line {line} is not UTF-8 (is the file Latin-1?); save it as UTF-8, or convert it with: "
            "iconv -f latin1 -t utf-8"
        ) from None
    # Before anything of it could be shown: its further lines look like names.
    if "PRIVATE KEY" in text:
        line = text.count("\n", 0, text.index("PRIVATE KEY")) + 1
        raise _refusal(
            f"Line {line} holds a private key; give the line of the .pub file in its place, and make a new "
            "key if others have seen this file."
        )
    return text


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with its first line. Semicolons are what some offices write for commas."""
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise _refusal(
            f"Line {line} is not CSV ({error}); mend it, or save the table as CSV again."
        ) from None


def _person(record: dict[str, str]) -> NewUser:
    site = SiteAccount(_number(record, "uid"), _number(record, "gid"), record.get("home") or None)
    if site.uid is not None and site.home is not None:
        check_home(site.home, site.uid, record["name"])
    groups = tuple(dict.fromkeys(parse_group_name(group) for group in record.get("groups", "").split()))
    key = record.get("key", "")
    return NewUser(
        name=parse_user_name(record["name"]),
        keys=tuple(parse_keys(key.replace("\r\n", "\n"))) if key else (),
        groups=groups,
        site=site,
    )


def _number(record: dict[str, str], column: str) -> int | None:
    text = record.get(column, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise _refusal(f"The {column} {text!r} is not a number.")
    return int(text)


def _without_repeats(found: Roster) -> Roster:
    """The same, where a line that says again what an earlier one has said is a fault."""
    seen: dict[object, int] = {}
    kept = Roster({}, list(found.faults))
    claims: list[tuple[str, Callable[[NewUser], list[object]]]] = [
        ("name", lambda person: [person.name]),
        ("uid", lambda person: [] if person.site.uid is None else [person.site.uid]),
        ("key", lambda person: [key.blob for key in person.keys]),
    ]
    for line, person in found.people.items():
        repeated = None
        for what, claimed in claims:
            for claim in claimed(person):
                earlier = seen.setdefault((what, claim), line)
                if earlier != line:
                    repeated = repeated or _refusal(f"Line {earlier} has the same {what}.", Code.CONFLICT)
        if repeated is None:
            kept.people[line] = person
        else:
            kept.faults.append(Fault(line, person.name, repeated))
    return kept


def _refusal(sentence: str, code: Code = Code.INVALID) -> PlatformError:
    return PlatformError(code, sentence)
