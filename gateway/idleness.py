"""Idleness: when something that somebody holds is used by nobody, and what follows from it, step by step.

    in use -> noticed -> warned -> (stopped) held -> released

One rule over a window of looks (gateway.signs). What was not seen is not idle: with less than four fifths of
the window seen nothing ever happens. Owns the rule, its lengths and its table. Must not know SQL, what a look
is made from, nor how anybody is told. Pure; the time is a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from gateway.signs import Look, works

COVERAGE = 0.8
"""The part of a window, or of a step, that must have been seen before anything follows from it."""
SHARE = 0.05
"""Work in less of the looks is none: the 95th percentile of a window decides, not its largest value."""
EXTENSIONS = 2
"""How often she may hold it off before it was used again."""

_STRETCHES = 60
_LONGEST_STRETCH = timedelta(minutes=15)
_LONGEST_STEP = timedelta(minutes=5)
_LONGEST_HOLD = timedelta(minutes=15)
_LATELY = 20
"""The last part of a window, of so many, in which nothing may have worked when something is stopped."""
_LATE = 3
"""Steps after which what was said is too old, as after a night in which no gateway ran."""


@dataclass(frozen=True)
class Stretch:
    """Some time from `at` on: seconds that were seen, those of them with work, and whether she was there."""

    at: datetime
    seen: float = 0.0
    busy: float = 0.0
    person: bool = False


class Verdict(Enum):
    """What a window says."""

    BUSY = "busy"
    IDLE = "idle"
    UNSURE = "unsure"
    """Too little was seen, or something has just worked: nothing follows."""


class Step(StrEnum):
    """Where something stands that is idle; drawn at the top of this module."""

    NOTICED = "noticed"
    WARNED = "warned"
    HELD = "held"


class Act(Enum):
    """What is to be done now."""

    NOTHING = "nothing"
    NOTICE = "notice"
    WARN = "warn"
    STOP = "stop"
    RELEASE = "release"


@dataclass(frozen=True)
class Terms:
    """How long a workspace may be idle: with `gpus` those of her leases are released in the end."""

    window: timedelta
    gpus: bool

    @property
    def step(self) -> timedelta:
        """From the notice to the warning, and from there to the stop."""
        return min(self.window / 6, _LONGEST_STEP)

    @property
    def hold(self) -> timedelta:
        """How long her GPUs wait for her after the stop."""
        return min(self.window / 2, _LONGEST_HOLD)

    @property
    def extension(self) -> timedelta:
        """How far she holds it off at a time."""
        return self.window / 2

    @property
    def stretch(self) -> timedelta:
        """What is summed up into one."""
        return min(self.window / _STRETCHES, _LONGEST_STRETCH)

    def judged(self, contended: bool) -> timedelta:
        """The window that decides: half of it when somebody waits for what she holds.

        Not what follows: once she was told a time, nothing happens before it.
        """
        return self.window / 2 if contended else self.window


@dataclass(frozen=True)
class Idle:
    """A workspace that is idle: since `at` at this step, and held off so often. `gpus`: by which terms."""

    step: Step
    at: datetime
    gpus: bool
    extensions: int = 0

    def stops_at(self, terms: Terms) -> datetime:
        """When its container is stopped, if nothing happens; of one that is, when its GPUs are released."""
        match self.step:
            case Step.NOTICED:
                return self.at + 2 * terms.step
            case Step.WARNED:
                return self.at + terms.step
            case Step.HELD:
                return self.at + terms.hold


@dataclass(frozen=True)
class Seen:
    """The same for people: its container is stopped at `until` or, when it is already, its GPUs released."""

    idle: Idle
    until: datetime


# How long it stands there, what is done then, and where it stands afterwards. Who stops a container says so
# when it has stopped (`stopped`): until then it is warned.
_TABLE: Mapping[Step | None, tuple[str | None, Act, Step | None]] = {
    None: (None, Act.NOTICE, Step.NOTICED),
    Step.NOTICED: ("step", Act.WARN, Step.WARNED),
    Step.WARNED: ("step", Act.STOP, Step.WARNED),
    Step.HELD: ("hold", Act.RELEASE, None),
}
_SAYS = {Step.NOTICED: Act.NOTICE, Step.WARNED: Act.WARN}


def seen(
    trace: Sequence[Stretch], look: Look, lasted: timedelta, terms: Terms, now: datetime
) -> tuple[Stretch, ...]:
    """The trace with one look more, which covers `lasted` until now; what is older than the window goes.

    A look that cannot say whether anything works counts as none, whoever was there.
    """
    working = works(look)
    told = lasted.total_seconds() if working is not None else 0.0
    kept = [each for each in trace if now - terms.window - terms.stretch < each.at <= now]
    last = kept.pop() if kept and now - kept[-1].at < terms.stretch else Stretch(now)
    more = Stretch(
        last.at, last.seen + told, last.busy + (told if working else 0.0), last.person or look.person
    )
    return (*kept, more)


def judge(trace: Iterable[Stretch], window: timedelta, now: datetime) -> Verdict:
    """What the last `window` says."""
    recent = [each for each in trace if now - window <= each.at <= now]
    told = sum(each.seen for each in recent)
    busy = sum(each.busy for each in recent)
    if any(each.person for each in recent) or busy > SHARE * told:
        return Verdict.BUSY
    if told < COVERAGE * window.total_seconds():
        return Verdict.UNSURE
    lately = any(each.busy for each in recent if each.at >= now - window / _LATELY)
    return Verdict.UNSURE if lately else Verdict.IDLE


def advance(
    idle: Idle | None, trace: Sequence[Stretch], running: bool, contended: bool, terms: Terms, now: datetime
) -> tuple[Idle | None, Act]:
    """Where it stands now, and what is to be done for that.

    `running`: its container runs; `contended`: somebody waits for what she holds. Nothing is skipped, and
    nothing done twice: from the same values the same follows, whichever gateway asks.
    """
    if idle is not None and (idle.gpus != terms.gpus or (idle.step is Step.HELD and running)):
        idle = None
    if idle is None or idle.step is not Step.HELD:
        match judge(trace, terms.judged(contended), now):
            case Verdict.BUSY:
                return None, Act.NOTHING
            case Verdict.UNSURE:
                return idle, Act.NOTHING
    return _next(idle, trace, terms, now)


def _next(
    idle: Idle | None, trace: Sequence[Stretch], terms: Terms, now: datetime
) -> tuple[Idle | None, Act]:
    length, act, step = _TABLE[idle.step if idle else None]
    if idle is None or length is None:
        return Idle(Step.NOTICED, now, terms.gpus), act
    due: timedelta = getattr(terms, length)
    stood = now - idle.at
    if stood < due or not _was_seen(trace, idle.at, due, terms.stretch):
        return idle, Act.NOTHING
    if idle.step in _SAYS and stood > _LATE * due:
        return replace(idle, at=now), _SAYS[idle.step]
    if step is None:
        return None, act
    return (idle if step is idle.step else replace(idle, step=step, at=now)), act


def _was_seen(trace: Iterable[Stretch], since: datetime, length: timedelta, stretch: timedelta) -> bool:
    """Whether enough of a step was seen: a gateway that was away let nobody in, and told nobody anything."""
    told = sum(each.seen for each in trace if each.at >= since - stretch)
    return told >= COVERAGE * length.total_seconds()


def stopped(idle: Idle, now: datetime) -> Idle | None:
    """Its container has stopped: its GPUs are held for a while; without any that is the end of it."""
    return replace(idle, step=Step.HELD, at=now) if idle.gpus else None


def held_off(idle: Idle, terms: Terms, now: datetime) -> Idle | None:
    """She wants to keep what is idle: stopped an extension later. None when she has done so too often."""
    if idle.step is Step.HELD or idle.extensions >= EXTENSIONS:
        return None
    return Idle(Step.NOTICED, now + terms.extension - 2 * terms.step, idle.gpus, idle.extensions + 1)
