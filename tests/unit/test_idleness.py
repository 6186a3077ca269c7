"""What is idle, and what follows from it: by tables, and for whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.devices import Occupation, Process, Reading
from gateway.health import BASELINE
from gateway.idleness import (
    COVERAGE,
    EXTENSIONS,
    SHARE,
    Act,
    Idle,
    Step,
    Stretch,
    Terms,
    Verdict,
    advance,
    held_off,
    judge,
    seen,
    stopped,
)
from gateway.signs import GpuSign, Look, signs, works
from tests.support.stores import NOW

MINUTE = timedelta(minutes=1)
EVERY = timedelta(seconds=10)
TERMS = Terms(30 * MINUTE, gpus=True)
GIB = 1 << 30

QUIET = GpuSign("X", 0, 0, 0)
NOTHING = Look(person=False, running=True, cpu=0.0, io=0.0, gpus=(QUIET,))
WORKS = replace(NOTHING, cpu=1.0)


@pytest.mark.parametrize(
    ("what", "look", "working"),
    [
        ("loading data", replace(NOTHING, cpu=3.0, gpus=(GpuSign("X", 0, GIB, 1),)), True),
        ("reading slowly, much", replace(NOTHING, cpu=0.01, io=8e6), True),
        ("tmux alone", NOTHING, False),
        ("ghost", replace(NOTHING, gpus=(GpuSign("X", 100, 0, 0),)), False),
        ("ghost with what a driver keeps", replace(NOTHING, gpus=(GpuSign("X", 100, BASELINE, 0),)), False),
        ("load of a process out of sight", replace(NOTHING, gpus=(GpuSign("X", 100, GIB, 0),)), True),
        ("idle notebook", replace(NOTHING, cpu=0.02, gpus=(GpuSign("X", 0, 40 * GIB, 1),)), False),
        ("editor's server", replace(NOTHING, cpu=0.05, io=1000.0), False),
        ("training", replace(NOTHING, cpu=0.05, gpus=(GpuSign("X", 97, 40 * GIB, 1),)), True),
        ("one of two works", replace(NOTHING, gpus=(QUIET, GpuSign("Y", 97, GIB, 1))), True),
        ("a slice that does not tell", replace(NOTHING, gpus=(GpuSign("X", None, GIB, 1),)), None),
        ("a slice with nothing on it", replace(NOTHING, gpus=(GpuSign("X", None, 0, 0),)), False),
        ("a GPU that does not answer", replace(NOTHING, gpus=(QUIET, GpuSign("Y"))), None),
        ("the same, beside one that works", replace(WORKS, gpus=(GpuSign("Y"),)), True),
        ("a container that cannot be read", replace(NOTHING, cpu=None), None),
        ("no account of disks", replace(NOTHING, io=None), False),
        ("a stopped container", replace(NOTHING, running=False), False),
    ],
)
def test_what_works(what: str, look: Look, working: bool | None) -> None:
    assert works(look) is working


def test_two_questions_about_the_same_gpus_are_one_sign() -> None:
    readings = [Reading("X", 0, 0, "", utilization=7, used=5), Reading("Y", 1, 1, "", used=5)]
    occupations = [Occupation("X", 3, (Process(1, 3),)), Occupation("Y", None), Occupation("Z", 4)]
    assert signs(readings, occupations) == {
        "X": GpuSign("X", 7, 3, 1),
        "Y": GpuSign("Y", None, None, 0),
        "Z": GpuSign("Z", None, 4, 0),
    }


def trace(*parts: tuple[int, Look | None], terms: Terms = TERMS) -> tuple[tuple[Stretch, ...], datetime]:
    """What is known after looks every 10 seconds, so many minutes each; None for none. And when that is."""
    found: tuple[Stretch, ...] = ()
    now = NOW
    for minutes, look in parts:
        for _ in range(minutes * 6):
            now += EVERY
            if look is not None:
                found = seen(found, look, EVERY, terms, now)
    return found, now


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([(30, NOTHING)], Verdict.IDLE),
        ([(23, NOTHING)], Verdict.UNSURE),
        ([(5, None), (25, NOTHING)], Verdict.IDLE),
        ([(13, NOTHING), (5, None), (12, NOTHING)], Verdict.IDLE),
        ([(12, NOTHING), (7, None), (11, NOTHING)], Verdict.UNSURE),
        ([(30, WORKS), (30, NOTHING)], Verdict.IDLE),
        ([(1, WORKS), (28, NOTHING)], Verdict.IDLE),
        ([(2, WORKS), (28, NOTHING)], Verdict.BUSY),
        # Shorter than what protects, and just now.
        ([(29, NOTHING), (1, WORKS)], Verdict.UNSURE),
        ([(1, replace(NOTHING, person=True)), (28, NOTHING)], Verdict.BUSY),
        ([(1, replace(NOTHING, person=True)), (31, NOTHING)], Verdict.IDLE),
        # Nobody can say what it did; that she was there is known all the same.
        ([(30, replace(NOTHING, cpu=None))], Verdict.UNSURE),
        ([(30, replace(NOTHING, cpu=None, person=True))], Verdict.BUSY),
    ],
)
def test_what_a_window_says(parts: list[tuple[int, Look | None]], verdict: Verdict) -> None:
    assert judge(*_swap(trace(*parts))) is verdict


def _swap(found: tuple[tuple[Stretch, ...], datetime]) -> tuple[tuple[Stretch, ...], timedelta, datetime]:
    return found[0], TERMS.window, found[1]


IDLE, _ = trace((40, NOTHING))
THEN = NOW + 40 * MINUTE


def stands(step: Step, ago: timedelta, extensions: int = 0) -> Idle:
    return Idle(step, THEN - ago, True, extensions)


@pytest.mark.parametrize(
    ("idle", "running", "then", "act"),
    [
        (None, True, stands(Step.NOTICED, 0 * MINUTE), Act.NOTICE),
        (stands(Step.NOTICED, 4 * MINUTE), True, stands(Step.NOTICED, 4 * MINUTE), Act.NOTHING),
        (stands(Step.NOTICED, 5 * MINUTE), True, stands(Step.WARNED, 0 * MINUTE), Act.WARN),
        (stands(Step.WARNED, 4 * MINUTE), True, stands(Step.WARNED, 4 * MINUTE), Act.NOTHING),
        (stands(Step.WARNED, 5 * MINUTE, 1), True, stands(Step.WARNED, 5 * MINUTE, 1), Act.STOP),
        (stands(Step.HELD, 14 * MINUTE), False, stands(Step.HELD, 14 * MINUTE), Act.NOTHING),
        (stands(Step.HELD, 15 * MINUTE), False, None, Act.RELEASE),
        # Said so long ago that it is said again.
        (stands(Step.NOTICED, 16 * MINUTE), True, stands(Step.NOTICED, 0 * MINUTE), Act.NOTICE),
        (stands(Step.WARNED, 16 * MINUTE, 2), True, stands(Step.WARNED, 0 * MINUTE, 2), Act.WARN),
        # Held off: what comes next lies ahead.
        (stands(Step.NOTICED, -3 * MINUTE), True, stands(Step.NOTICED, -3 * MINUTE), Act.NOTHING),
        # Of a time in which she had no GPU.
        (
            replace(stands(Step.WARNED, 9 * MINUTE), gpus=False),
            True,
            stands(Step.NOTICED, 0 * MINUTE),
            Act.NOTICE,
        ),
    ],
)
def test_the_table(idle: Idle | None, running: bool, then: Idle | None, act: Act) -> None:
    assert advance(idle, IDLE, running, False, TERMS, THEN) == (then, act)


@pytest.mark.parametrize("step", [Step.NOTICED, Step.WARNED])
def test_work_and_a_person_take_it_back_and_what_is_unsure_keeps_it(step: Step) -> None:
    idle = stands(step, 5 * MINUTE, 1)
    for look, then in ((WORKS, None), (replace(NOTHING, person=True), None)):
        busy, now = trace((40, look))
        assert advance(idle, busy, True, False, TERMS, now) == (then, Act.NOTHING)
    little, now = trace((30, None), (10, NOTHING))
    assert advance(idle, little, True, False, TERMS, now) == (idle, Act.NOTHING)


def test_who_comes_back_while_her_gpus_are_held_has_them() -> None:
    person, now = trace((40, NOTHING), (1, replace(NOTHING, person=True)))
    assert advance(stands(Step.HELD, MINUTE), person, True, False, TERMS, now) == (None, Act.NOTHING)


def test_a_gateway_that_was_away_while_gpus_were_held_lets_her_come_first() -> None:
    idle = stands(Step.HELD, 20 * MINUTE)
    little, now = trace((30, None), (10, replace(NOTHING, running=False)))
    assert advance(idle, little, False, False, TERMS, now) == (idle, Act.NOTHING)


def test_somebody_who_waits_makes_half_the_window_enough_and_no_step_shorter() -> None:
    half, now = trace((16, NOTHING))
    assert advance(None, half, True, False, TERMS, now) == (None, Act.NOTHING)
    idle, act = advance(None, half, True, True, TERMS, now)
    assert (idle, act) == (Idle(Step.NOTICED, now, True), Act.NOTICE)
    assert idle is not None
    assert idle.stops_at(TERMS) == now + 10 * MINUTE


def test_it_is_held_off_by_half_the_window_and_twice() -> None:
    idle: Idle | None = Idle(Step.WARNED, THEN, True)
    for number in range(EXTENSIONS):
        assert idle is not None
        idle = held_off(idle, TERMS, THEN)
        assert idle is not None
        assert (idle.step, idle.extensions) == (Step.NOTICED, number + 1)
        assert idle.stops_at(TERMS) == THEN + 15 * MINUTE
    assert idle is not None
    assert held_off(idle, TERMS, THEN) is None
    assert held_off(Idle(Step.HELD, THEN, True), TERMS, THEN) is None


def test_what_holds_no_gpu_is_over_when_it_has_stopped() -> None:
    assert stopped(Idle(Step.WARNED, NOW, gpus=False), NOW) is None
    assert stopped(Idle(Step.WARNED, NOW, True, 1), THEN) == Idle(Step.HELD, THEN, True, 1)


@dataclass
class Gateway:
    """What a gateway does by the rule: it looks, follows, and may die at any moment."""

    terms: Terms = TERMS
    now: datetime = NOW
    idle: Idle | None = None
    trace: tuple[Stretch, ...] = ()
    kept: tuple[Stretch, ...] = ()
    running: bool = True
    did: tuple[tuple[datetime, Act], ...] = ()

    def look(self, look: Look, contended: bool = False) -> Act:
        """One look, and what follows; what is over of the trace is kept as it is done."""
        self.now += EVERY
        look = replace(look, running=self.running)
        self.trace = seen(self.trace, look, EVERY, self.terms, self.now)
        self.kept = self.trace[:-1]
        self.idle, act = advance(self.idle, self.trace, self.running, contended, self.terms, self.now)
        if act is Act.STOP:
            assert self.idle is not None
            self.running, self.idle = False, stopped(self.idle, self.now)
        if act is not Act.NOTHING:
            self.did += ((self.now, act),)
        return act

    def die(self, away: timedelta = timedelta()) -> None:
        """Another one begins with what is in the database, so much later."""
        self.trace, self.now = self.kept, self.now + away


def test_what_is_idle_is_stopped_and_released_in_time() -> None:
    gateway = Gateway()
    while gateway.look(NOTHING) is not Act.RELEASE:
        assert gateway.now - NOW < 60 * MINUTE
    acts = [act for _, act in gateway.did]
    assert acts == [Act.NOTICE, Act.WARN, Act.STOP, Act.RELEASE]
    times = [at - NOW for at, _ in gateway.did]
    for time, minutes in zip(times, (24, 29, 34, 49), strict=True):
        assert timedelta() <= time - minutes * MINUTE < 2 * MINUTE


def test_a_burst_every_five_minutes_protects_nothing() -> None:
    """What keeps the largest value of a window at 100 %, and its mean above 0, is seen through."""
    gateway, turn = Gateway(), 0
    while (
        gateway.look(replace(NOTHING, gpus=(GpuSign("X", 0 if turn % 30 else 100, GIB, 1),))) is not Act.STOP
    ):
        turn += 1
        assert gateway.now - NOW < 60 * MINUTE


def test_work_for_two_of_thirty_minutes_protects() -> None:
    gateway = Gateway()
    for turn in range(1800):
        gateway.look(WORKS if turn % 180 < 12 else NOTHING)
    assert Act.STOP not in {act for _, act in gateway.did}


@pytest.mark.parametrize("dies_at", range(0, 300, 7))
def test_a_gateway_that_dies_at_any_look_changes_nothing_but_a_moment(dies_at: int) -> None:
    gateway = Gateway()
    for turn in range(330):
        if turn == dies_at:
            gateway.die()
        gateway.look(NOTHING)
    acts = [act for _, act in gateway.did]
    assert acts[:4] == [Act.NOTICE, Act.WARN, Act.STOP, Act.RELEASE]
    assert gateway.did[3][0] - NOW < 51 * MINUTE


LOOKS = st.builds(
    Look,
    person=st.sampled_from([False] * 30 + [True]),
    running=st.just(True),
    cpu=st.sampled_from([0.0] * 20 + [1.0, None]),
    io=st.sampled_from([0.0, None]),
    gpus=st.sampled_from([(QUIET,)] * 10 + [(GpuSign("X", 100, 0, 0),), (GpuSign("X", 0, GIB, 1),)]),
)
PHASES = st.lists(st.tuples(st.integers(1, 240), LOOKS, st.booleans()), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(PHASES, st.sets(st.integers(0, 700), max_size=3), st.integers(0, 3600))
def test_whatever_happens_nobody_is_stopped_who_works_is_there_or_was_not_warned(
    phases: list[tuple[int, Look, bool]], dies_at: set[int], away: int
) -> None:
    """Everything is followed with a ledger of single looks, which knows no stretches and no table."""
    gateway, ledger = Gateway(), list[tuple[datetime, Look]]()
    turn = 0
    for length, look, contended in phases:
        for _ in range(length):
            turn += 1
            if turn in dies_at:
                gateway.die(timedelta(seconds=away))
            act = gateway.look(look, contended)
            ledger.append((gateway.now, look))
            if act is Act.STOP:
                _assert_idle(gateway, ledger, contended)
            if act is Act.RELEASE:
                _assert_held(gateway)
            if not gateway.running:
                # She comes back with whatever is next; a log-in is something that she does.
                gateway.running = look.person
    for (before, first), (at, second) in pairwise(gateway.did):
        assert second is not Act.WARN or first in (Act.NOTICE, Act.WARN)
        assert second is not Act.STOP or (first is Act.WARN and at - before >= TERMS.step)


def _assert_idle(gateway: Gateway, ledger: list[tuple[datetime, Look]], contended: bool) -> None:
    window = TERMS.judged(contended) - TERMS.stretch
    recent = [look for at, look in ledger if at > gateway.now - window]
    told = [working for look in recent if (working := works(look)) is not None]
    assert not any(look.person for look in recent)
    assert len(told) * EVERY >= COVERAGE * window - 2 * TERMS.stretch
    assert sum(told) <= SHARE * len(told) + TERMS.stretch / EVERY
    assert not any(works(look) for look in recent[-5:])


def _assert_held(gateway: Gateway) -> None:
    (at, act), (now, _) = gateway.did[-2:]
    assert act is Act.STOP
    assert now - at >= TERMS.hold
