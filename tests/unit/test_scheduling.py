"""docs/scheduling.md: its examples are what the queue does, its tables what the simulator prints."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from datetime import timedelta

import pytest

from gateway.quotas import Allowance
from gateway.scheduling.booking import LAB
from gateway.scheduling.waiting import Entitlement, Holding, Request
from tests.conftest import ROOT
from tests.support import arrivals
from tests.support.queues import HOUR, asks, everybody, gpus, holds, planned, starts
from tests.support.simulator import WAYS, Result, table

DOCS = (ROOT / "docs" / "scheduling.md").read_text()


def test_the_example_of_why() -> None:
    held = [holds(9, "bob", ["l0", "l2"], until=2), holds(8, "dan", ["l1"], until=5)]
    waiting = [asks(1, "alice", 3, ago=1 / 3), asks(2, "carol", priority=2), asks(3, "eve", ago=0.1)]
    made = planned(waiting, gpus(4), held, usage={"alice": 12.5, "eve": 3}, policy=LAB)
    alice = next(standing for standing in made.standings if standing.request_id == 1)
    lines = [*(f"  {term}" for term in alice.terms), *(f"  waits: {reason}" for reason in alice.reasons)]
    assert "\n```\n" + "\n".join(lines) + "\n```\n" in DOCS
    assert starts(made) == {2: 0, 3: 2, 1: pytest.approx(8 + 1 / 6)}
    assert "alice at 23:10" in DOCS


def test_the_example_of_a_small_request() -> None:
    held = [holds(9, "eve", ["l0"], until=4)]
    big = asks(1, "alice", 2, ago=9)
    assert starts(planned([big, asks(2, "bob", length=3)], gpus(2), held, policy=LAB)) == {1: 4, 2: 0}
    later = starts(planned([big, asks(2, "bob", length=5)], gpus(2), held, policy=LAB))
    assert later == {1: 4, 2: pytest.approx(12 + 1 / 6)}
    assert "For three hours he begins at once" in DOCS


def test_the_example_of_a_budget() -> None:
    allowance = Allowance(100 * 3600, timedelta(days=7))
    allowances = everybody(8, alice=Entitlement(8, allowance, spent=92 * 3600))
    made = planned([asks(1, "alice", ago=2), asks(2, "alice", length=1)], gpus(4), allowances=allowances)
    assert starts(made) == {1: 0, 2: None}
    assert f"\n  waits: {made.standings[1].reasons[0]}\n" in DOCS


@pytest.mark.parametrize(("quota", "count", "told"), [(1, 2, [12, 11]), (2, 1, [12]), (2, 2, [])])
def test_the_example_of_lent_gpus(quota: int, count: int, told: list[int]) -> None:
    held: list[Holding] = [
        holds(10, "bob", ["l0"], 50, since=3),
        holds(11, "bob", ["l1"], 50, since=2, preemptible=True),
        holds(12, "bob", ["l2"], 50, since=1, preemptible=True),
    ]
    request: Request = asks(1, "alice", count)
    allowances = everybody(2, bob=Entitlement(quota))
    made = planned([request], gpus(3), held, allowances=allowances, policy=LAB)
    assert [notice.lease_id for notice in made.notices] == told
    if told:
        assert made.standings[0].start == request.asked_at + HOUR + LAB.notice + LAB.grace


def test_the_example_of_a_trace_is_one() -> None:
    found = re.search(r"```csv\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    assert len(arrivals.read(io.StringIO(found[1]))) == 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "options", re.findall(r"^\./dev run python -m tests\.support\.simulator(.*)$", DOCS, re.MULTILINE)
)
def test_the_tables_are_what_the_command_prints(options: str) -> None:
    command = [sys.executable, "-m", "tests.support.simulator", *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=True)
    assert f"\n\n{done.stdout}\n" in DOCS
    names = [row.split("|")[1].strip() for row in done.stdout.splitlines()[2:]]
    assert names == list(WAYS)


def test_the_tables_have_the_columns_of_today() -> None:
    head = table(dict.fromkeys(WAYS, Result(*[0.0] * 6))).splitlines()[0]
    assert DOCS.count(f"\n{head}\n") == 2
