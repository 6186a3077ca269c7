"""What counts as somebody's use of a connection, and how often the broker is told of it."""

from __future__ import annotations

from gateway.activity import LATELY, MUCH, TELL_EVERY, Activity


class Connection:
    """Counts what is told, by a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[float] = []
        self.activity = Activity(lambda: self.told.append(self.now), lambda: self.now)


def test_what_somebody_types_is_told_at_once_and_then_now_and_then() -> None:
    here = Connection()
    for _ in range(300):
        here.activity.acted()
        here.now += 0.1
    assert here.told[0] == 1000.0
    assert 25 <= len(here.told) <= 30
    assert min(b - a for a, b in zip(here.told, here.told[1:], strict=False)) >= TELL_EVERY


def test_keep_alives_and_a_page_that_asks_again_and_again_are_nobody() -> None:
    """What an idle editor's connection sends a minute, and a notebook's page that polls, for a night."""
    for a_minute in (500, 40_000):
        here = Connection()
        for _ in range(12 * 60 * 10):
            here.now += 6
            here.activity.moved(a_minute // 10)
        assert here.told == []


def test_a_copy_is_somebody_however_slow() -> None:
    for a_second in (2 * MUCH / LATELY, 1 << 30):
        here = Connection()
        for _ in range(120):
            here.now += 1
            here.activity.moved(round(a_second))
        assert len(here.told) >= 3


def test_a_copy_after_a_quiet_night_is_seen_within_two_of_its_parts() -> None:
    here = Connection()
    here.activity.moved(10)
    here.now += 40_000
    here.activity.moved(MUCH)
    assert here.told == []
    here.now += 1
    here.activity.moved(MUCH)
    assert here.told == [here.now]
