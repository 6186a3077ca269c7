"""The log: whatever somebody else chose, a line is printable ASCII and one event."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import journal

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=())) | st.just(
    "\x7f\x1b[2J\n\u2028\u202e\udc80"
)


@given(ANY_TEXT, st.binary())
def test_every_foreign_byte_is_escaped(text: str, data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr(journal.sys.stderr, "write", written.append)
        journal.note("test", text=text, data=data, inside=[text, {"key": text}])
    (line,) = written
    assert line.endswith("\n")
    assert all(" " <= character <= "~" for character in line[:-1])
    read = json.loads(line)
    assert (read["text"], read["inside"]) == (text, [text, {"key": text}])
    assert read["event"] == "test"


def test_a_librarys_warning_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    handler = journal._Lines()
    record = logging.LogRecord("asyncssh", logging.WARNING, "", 0, "bad \x1b %s", ("\n{}",), None)
    handler.emit(record)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["text"] == "bad \x1b \n{}"


def test_a_listener_hears_during_its_block_alone() -> None:
    told: list[object] = []
    with journal.heard(lambda event, fields: told.append((event, dict(fields)))):
        journal.note("one", user=1)
    journal.note("two")
    assert told == [("one", {"user": 1})]
