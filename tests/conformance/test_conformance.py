"""The gateway answers as OpenSSH's sshd does, case by case, both live."""

from __future__ import annotations

import re
from difflib import unified_diff

import pytest

from tests.conformance import (
    connections,
    editors,
    failures,
    forwards,
    losses,
    reverse,
    sessions,
    terminals,
    transfers,
)
from tests.conformance.case import Case
from tests.conformance.conftest import Answers

CASES = [
    *sessions.CASES,
    *terminals.CASES,
    *transfers.CASES,
    *forwards.CASES,
    *connections.CASES,
    *editors.CASES,
    *failures.CASES,
    *losses.CASES,
    *reverse.CASES,
]


def _parameter(case: Case) -> object:
    return pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else [])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [_parameter(case) for case in CASES])
def test_as_sshd(case: Case, answers: Answers) -> None:
    compare(case, *answers(case))


def compare(case: Case, theirs: str, ours: str) -> None:
    """Fails where the two servers' answers differ, and where sshd's shows nothing."""
    assert re.search(case.shows, theirs), f"sshd itself did not show {case.shows!r}: {theirs}"
    if case.ours:
        assert re.search(case.ours, ours), f"{case.why}, so {case.ours!r} was expected: {ours}"
        assert ours != theirs, f"the two do not differ any more, although {case.why}"
    elif ours != theirs:
        lines = (said.splitlines() for said in (theirs, ours))
        pytest.fail("\n".join(unified_diff(*lines, "sshd", "gateway", lineterm="")), pytrace=False)


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
