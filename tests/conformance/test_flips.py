"""The suite sees it when the gateway answers otherwise: one line of it is changed, one case fails."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.case import Case, Side
from tests.conformance.changed import changed
from tests.conformance.conftest import side_of_a_gateway
from tests.conformance.test_conformance import CASES
from tests.stories.conftest import a_house, ended


@dataclass(frozen=True)
class Flip:
    """In `file`, `old` becomes `new`; at least the case named `case` must tell."""

    case: str
    file: str
    old: str
    new: str


FLIPS = [
    Flip(
        "1 exit statuses", "ssh/session.py", "self._channel.exit(ended.status if", "self._channel.exit(0 if"
    ),
    Flip("2 a program that is killed", "ssh/session.py", "if ended.signal is not None:", "if False:"),
    Flip("3 stdout and stderr apart", "ssh/session.py", "self._channel, STDERR, ", "self._channel, None, "),
    Flip(
        "4 the end of input is not the end",
        "ssh/pump.py",
        "            if not self._waiting:\n                self._at_end()",
        "            return",
    ),
    Flip("8 a reader that has seen enough", "ssh/options.py", '"OpenSSH_9.9 gpu-gateway"', '"gpugw_1"'),
    Flip(
        "14 a command that is not UTF-8",
        "ssh/channels.py",
        "self.command = packet.get_string()",
        'self.command = packet.get_string().decode("utf-8", "replace").encode()',
    ),
    Flip("15 a shell without a terminal", "runner/inside/program.py", '["-" + name]', "[name]"),
    Flip("22 which variables arrive", "ssh/channels.py", "LANG|LC_", "LANG|XX_"),
    Flip("39 this machine's own loopback is not reached", "runner/refusals.py", "Connection refused", "No"),
    Flip(
        "41 a server that speaks first loses no byte",
        "ssh/pump.py",
        "os.read(self._fd, CHUNK)",
        "os.read(self._fd, CHUNK)[1:]",
    ),
    Flip(
        "21 a terminal is hung up, two levels deep",
        "runner/inside/executions.py",
        "self._terminal.hang_up()",
        "pass",
    ),
    Flip("a ~/.hushlogin", "runner/inside/executions.py", '".hushlogin"', '".nothing"'),
]


@pytest.fixture
def flipped(
    request: pytest.FixtureRequest, tmp_path: Path, base_image: str, oracle_side: Side
) -> Iterator[Side]:
    """A gateway of a copy of the product in which one line is another."""
    flip: Flip = request.param
    house = a_house(base_image)
    house.launcher = changed(tmp_path, {flip.file: (flip.old, flip.new)})
    try:
        yield side_of_a_gateway(house, oracle_side.sshd)
    finally:
        ended(house)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("flipped", "flip"), [(flip, flip) for flip in FLIPS], indirect=["flipped"], ids=lambda each: each.case
)
def test_a_flipped_answer_is_seen(flip: Flip, flipped: Side, oracle_side: Side) -> None:
    case: Case = next(case for case in CASES if case.name == flip.case)
    try:
        ours = flipped.answer(case)
    except (AssertionError, OSError, subprocess.SubprocessError):
        return
    theirs = oracle_side.answer(case)
    assert not (re.search(case.ours, ours) if case.ours else ours == theirs)
