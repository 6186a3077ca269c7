"""docs/gpu.md: each command line in it is understood, and the table shows what the program prints."""

from __future__ import annotations

import re
import subprocess
from datetime import timedelta

import pytest

from gateway import answering, asking, telling
from gateway.devices import Device
from gateway.leases import Lease, State
from gateway.units import parse_duration
from tests.conftest import ROOT
from tests.support.stores import NOW

TEXT = (ROOT / "docs" / "gpu.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
CALLS = sorted({call.strip() for block in BLOCKS for call in re.findall(r"\bgpu [a-z][^#|;&\n]*", block)})


@pytest.mark.parametrize("call", CALLS)
def test_each_command_is_understood(call: str) -> None:
    words = asking.words_of(call.encode())
    assert words is not None
    asking.parse(words)


def test_each_command_is_there() -> None:
    """`gpu jupyter`, which the gateway does not answer itself, with what it prints."""
    assert {call.split()[1] for call in CALLS} == set(asking.HELP) - {"jupyter"}
    assert "$ gpu jupyter\n" in TEXT


@pytest.mark.parametrize("block", BLOCKS)
def test_a_shell_understands_every_block(block: str) -> None:
    done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_table_is_what_is_printed() -> None:
    shown = re.search(r"\$ gpu status\n(.*?)```", TEXT, re.DOTALL)
    assert shown is not None
    now = NOW.replace(year=2026, month=11, day=24, hour=0, minute=19)
    devices = [
        Device(
            f"GPU-{index}",
            index,
            "NVIDIA H100 80GB HBM3",
            80 << 30,
            problem="GPU is lost" if index == 3 else None,
        )
        for index in range(4)
    ]
    leases = [
        Lease(16, 2, "bob", ("GPU-0",), State.ACTIVE, now, now + timedelta(hours=12, minutes=11)),
        Lease(17, 1, "alice", ("GPU-2",), State.ACTIVE, now, now + parse_duration("461m")),
    ]
    assert telling.status_in_words("alice", telling.status(1, leases, [], devices, now)) == shown[1]


def test_the_exit_statuses_are_those_that_there_are() -> None:
    statuses = {int(status) for status in re.findall(r"^\| ([0-9]+) \|", TEXT, re.MULTILINE)}
    assert statuses == {0, *answering.STATUS.values()}
