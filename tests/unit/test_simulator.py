"""Weeks of a lab in seconds: what each part of the queue's policy is good for, and what the traces look like.

The thresholds lie between what the product does and what it does without the part in question.
"""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from gateway.scheduling.ordering import PATIENCE
from gateway.scheduling.waiting import Request, Reservation
from tests.support import arrivals
from tests.support.arrivals import DAY, HOUR, Arrival
from tests.support.lab import Lab, Quota, Run
from tests.support.queues import PEOPLE, gpus, user_id
from tests.support.simulator import (
    FIFO,
    START,
    Result,
    fair_shares,
    measure,
    ours,
    run,
    static,
    waited,
)

TRACE = arrivals.lab(4, days=5, rush=2.5)


@pytest.fixture(scope="module")
def product() -> Result:
    return measure(run(TRACE, ours()), TRACE)


@pytest.fixture(scope="module")
def fifo() -> Result:
    return measure(run(TRACE, FIFO), TRACE)


def test_people_get_even_shares_because_usage_counts(product: Result, fifo: Result) -> None:
    """0.93 of 1 against 0.57; 0.78 without the usage in the order."""
    assert product.shares > 0.9 > 0.6 > fifo.shares


def test_who_asks_for_little_hardly_waits_because_usage_counts(product: Result, fifo: Result) -> None:
    """4 hours against 103; 28 without the usage in the order."""
    assert product.small_wait < fifo.small_wait / 10


def test_waits_are_shorter_because_of_backfill(product: Result, fifo: Result) -> None:
    """54 hours against 103; 67 without backfill."""
    assert product.wait < 0.6 * fifo.wait


def test_more_is_held_because_of_backfill(product: Result, fifo: Result) -> None:
    """87 % against 75 %; 80 % without backfill."""
    assert product.utilisation > fifo.utilisation + 0.08


def mean_wait(runs: list[Run], user: str) -> float:
    mine = [waited(each) for each in runs if each.request.user == user]
    return sum(mine) / len(mine)


def test_priority_shortens_waits() -> None:
    """Two people ask alike, and more than one GPU can do; without the priority both wait alike."""
    trace = [
        Arrival(day * DAY + hour * HOUR, user, 1, 10 * HOUR, 10 * HOUR, priority)
        for day in range(3)
        for hour, user, priority in ((0, "ada", 0), (1, "bela", 1), (2, "ada", 0), (3, "bela", 1))
    ]
    runs = run(trace, ours(), gpus=1)
    assert mean_wait(runs, "bela") < mean_wait(runs, "ada") / 2


def test_nobody_waits_for_ever_because_patience_ends() -> None:
    """Somebody with priority asks for more than there is, for weeks; the other's turn comes all the same."""
    urgent = [Arrival(hour * HOUR, "ada", 1, 8 * HOUR, 8 * HOUR, 5) for hour in range(0, 20 * 24, 6)]
    trace = sorted([*urgent, Arrival(HOUR, "bela", 1, HOUR, HOUR)], key=lambda one: one.at)
    patience = PATIENCE / timedelta(hours=1)
    assert patience <= mean_wait(run(trace, ours(), gpus=1), "bela") <= patience + 9


def test_equals_are_served_as_they_came() -> None:
    # One and the same person: only the time of her asking tells the requests apart, not their numbers.
    lab = Lab(gpus(1), {1: Quota(1)}, START, ours())
    hour = timedelta(hours=1)
    lab.ask(Request(9, 1, "alice", 1, hour, START))
    for number, minutes in ((3, 1), (2, 2), (1, 3)):
        lab.advance(START + timedelta(minutes=minutes))
        lab.ask(Request(number, 1, "alice", 1, hour, lab.now))
    lab.advance(START + timedelta(days=1))
    assert [each.request.id for each in lab.ended] == [9, 3, 2, 1]


def a_queue() -> Lab:
    """One GPU that bob holds for eight hours, and alice who has waited with some priority since."""
    lab = Lab(gpus(1), {user_id(name): Quota(1) for name in PEOPLE}, START, ours())
    for number, name in enumerate(("bob", "alice"), 1):
        lab.ask(Request(number, user_id(name), name, 1, timedelta(hours=8), START, priority=number))
    return lab


def test_a_reservation_goes_before_the_queue() -> None:
    lab = a_queue()
    begin = START + timedelta(hours=9)
    lab.reservations.append(
        Reservation(1, user_id("carol"), "carol", ("l0",), begin, begin + timedelta(hours=4))
    )
    lab.settle()
    lab.advance(begin - timedelta(minutes=30))
    # For longer than the reservation lasts: only who is first may begin, for alice would come at its end.
    lab.ask(Request(3, user_id("carol"), "carol", 1, timedelta(hours=6), lab.now))
    lab.advance(START + timedelta(days=2))
    assert [each.request.user for each in lab.ended] == ["bob", "carol", "alice"]


def test_preemptible_use_comes_after_all_within_a_quota_and_gives_way() -> None:
    lab = a_queue()
    lab.ask(Request(3, user_id("dan"), "dan", 1, timedelta(hours=24), START - PATIENCE, 9, preemptible=True))
    lab.advance(START + timedelta(hours=20))
    assert [each.request.user for each in lab.running.values()] == ["dan"]
    lab.quotas[user_id("dan")] = Quota(0)
    lab.ask(Request(4, user_id("eve"), "eve", 1, timedelta(hours=1), lab.now))
    lab.advance(START + timedelta(days=2))
    assert [each.request.user for each in lab.ended] == ["bob", "alice", "dan", "eve"]
    dan, eve = lab.ended[2:]
    assert dan.stop == START + timedelta(hours=21)
    assert eve.begin == dan.stop


def test_who_has_gpus_of_her_own_waits_for_nobody_else() -> None:
    trace = [Arrival(0, "ada", 4, 6 * HOUR, 4 * HOUR), Arrival(0, "bela", 1, HOUR, HOUR)]
    first, second = sorted(static(trace, gpus=4), key=lambda each: each.request.user)
    assert (len(first.devices), first.stop - first.begin) == (2, timedelta(hours=8))
    assert second.begin == first.begin == START


def test_an_even_deal_gives_nobody_more_than_she_wants() -> None:
    assert fair_shares({"a": 1, "b": 5, "c": 9}, 9) == {"a": 1, "b": 4, "c": 4}
    assert fair_shares({"a": 1, "b": 2}, 9) == {"a": 1, "b": 2}


def test_a_trace_is_written_and_read_and_the_same_seed_gives_the_same() -> None:
    text = io.StringIO()
    arrivals.write(TRACE, text)
    text.seek(0)
    assert arrivals.read(text) == TRACE == arrivals.lab(4, days=5, rush=2.5)
    assert arrivals.lab(5, days=5, rush=2.5) != TRACE


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("when,who\n", "the first line must be at,user,gpus,length,runs,priority"),
        ("", "the first line must be at,user,gpus,length,runs,priority"),
        (
            "at,user,gpus,length,runs,priority\n0,ada,1,x,9,0\n",
            "line 2 has no whole number where one belongs",
        ),
        ("at,user,gpus,length,runs,priority\n0,ada,1\n", "line 2 has no whole number where one belongs"),
        (
            "at,user,gpus,length,runs,priority\n0,ada,0,9,9,0\n",
            "line 2 has no user, a time before 0, or nothing asked for",
        ),
    ],
)
def test_a_trace_that_says_nothing_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        arrivals.read(io.StringIO(text))
