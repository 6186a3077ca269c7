"""When devices are taken, and when enough of them are free together."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.timetable import FOREVER, Claim, Opening, Timetable, earliest, later
from tests.support.stores import NOW

HOUR = timedelta(hours=1)


def claim(begin: float, end: float, owner: int | None = None, lease: int | None = None) -> Claim:
    return Claim(NOW + begin * HOUR, NOW + end * HOUR, owner=owner, lease=lease)


def table(**claims: list[Claim]) -> Timetable:
    return Timetable(
        {device: tuple(sorted(some, key=lambda each: each.begin)) for device, some in claims.items()}
    )


def free(made: Timetable, begin: float, end: float, user_id: int = 1) -> list[str]:
    return made.free(["a", "b"], NOW + begin * HOUR, NOW + end * HOUR, user_id)


def test_a_claim_is_from_its_begin_up_to_its_end() -> None:
    made = table(a=[claim(2, 4)])
    assert free(made, 0, 2) == free(made, 4, 9) == ["a", "b"]
    assert free(made, 1, 2.01) == free(made, 3.99, 9) == free(made, 2.5, 3) == free(made, 0, 9) == ["b"]


def test_a_claim_is_no_obstacle_to_its_owner() -> None:
    made = table(a=[claim(2, 4, owner=7)])
    assert free(made, 0, 9, user_id=7) == ["a", "b"]
    assert free(made, 0, 9, user_id=8) == ["b"]


def test_taking_and_cutting_leave_the_table_as_it_was() -> None:
    made = table(a=[claim(0, 9, lease=1), claim(9, 12, lease=2)])
    more = made.taking(["b"], claim(0, 1))
    assert (free(made, 0, 1), free(more, 0, 1)) == (["b"], [])
    shorter = made.cut([1], NOW + 3 * HOUR)
    assert (free(made, 4, 9), free(shorter, 4, 9)) == (["b"], ["a", "b"])
    assert free(shorter, 4, 10) == ["b"]
    # Nothing gets longer.
    assert made.cut([1], NOW + 20 * HOUR) == made
    assert made.cut([], NOW) is made


def test_the_calendar_ends() -> None:
    assert later(NOW, HOUR) == NOW + HOUR
    assert later(NOW, timedelta(days=3_000_000)) == FOREVER
    assert later(FOREVER, HOUR) == FOREVER


def hours(
    made: Timetable, count: int, length: int, devices: str = "abc", *, after: timedelta = timedelta()
) -> float | None:
    moments = sorted({NOW, *made.ends(devices, NOW)})
    found = earliest(
        made, list(devices), count, length * HOUR, 1, moments, lambda moment: moment >= NOW + after
    )
    return None if found is None else (found.begin - NOW) / HOUR


def test_the_first_moment_at_which_enough_are_free_together() -> None:
    made = table(a=[claim(0, 4)], b=[claim(0, 2), claim(5, 6)])
    assert hours(made, 1, 9) == 0
    assert hours(made, 2, 3) == 2
    assert hours(made, 2, 4) == 4
    assert hours(made, 3, 1) == 4
    assert hours(made, 3, 2) == 6
    assert hours(made, 4, 1) is None
    assert hours(made, 1, 1, after=HOUR) == 2
    assert earliest(made, ["a", "b", "c"], 2, HOUR, 1, [NOW + 2 * HOUR], lambda _: True) == Opening(
        NOW + 2 * HOUR, ("b", "c")
    )


CLAIMS = st.lists(
    st.builds(
        lambda begin, length, owner: claim(begin, begin + length, owner),
        st.integers(-5, 20),
        st.integers(1, 9),
        st.sampled_from([None, 1]),
    ),
    max_size=6,
)


@given(CLAIMS, st.integers(0, 30), st.integers(1, 9), st.sampled_from([1, 2]))
def test_when_one_device_is_vacant(claims: list[Claim], begin: int, length: int, user_id: int) -> None:
    made = table(a=claims)
    start = NOW + begin * HOUR
    found = made.vacant("a", start, length * HOUR, user_id)
    tried = (start + hour * HOUR for hour in range(99))
    assert found == next(at for at in tried if made.free(["a"], at, at + length * HOUR, user_id))


@given(st.fixed_dictionaries(dict.fromkeys("abc", CLAIMS)), st.integers(1, 3), st.integers(1, 9))
def test_no_earlier_moment_would_do(claims: dict[str, list[Claim]], count: int, length: int) -> None:
    """All times are whole hours, so a search hour by hour finds the true first one."""
    made = table(**claims)

    def enough(hour: int) -> bool:
        begin = NOW + hour * HOUR
        return len(made.free("abc", begin, begin + length * HOUR, 1)) >= count

    assert hours(made, count, length) == next(hour for hour in range(99) if enough(hour))
