"""Reports: sums of what was held and used, and a picture that is well-formed whatever people are called."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import pictures, reporting, usage
from gateway.history import EVERY, ContainerUse, GpuUse, Tally, Window
from gateway.leases import Lease, State
from gateway.reporting import Share
from tests.support.stores import NOW

HOUR = timedelta(hours=1)
SINCE = NOW - 24 * HOUR
SVG = "{http://www.w3.org/2000/svg}"


def lease(id_: int, user_id: int, begin: float, end: float, *devices: str, user: str = "") -> Lease:
    """One from `begin` to `end`, in hours from NOW; one that ends later is not over."""
    over = end <= 0
    state = State.RELEASED if over else State.ACTIVE
    at, until = NOW + begin * HOUR, NOW + end * HOUR
    name = user or f"user{user_id}"
    return Lease(id_, user_id, name, devices or ("X",), state, at, until, until if over else None)


USES = st.builds(
    lambda device, lease, values: GpuUse(
        device,
        lease,
        len(values) + 1,
        sum(value > 0 for value in values),
        Tally(len(values), sum(values), max(values, default=0)),
    ),
    st.sampled_from("XYZ"),
    st.none() | st.integers(1, 4),
    st.lists(st.integers(0, 100), max_size=9),
)
WINDOWS = st.lists(
    st.builds(
        lambda minutes, uses, cpu: Window(
            NOW - timedelta(minutes=minutes), 300, 10, tuple(uses), (ContainerUse(1, 1, cpu),)
        ),
        # Also from after now: the clock was set back since.
        st.integers(-3000, 3000),
        st.lists(USES, max_size=4),
        st.integers(0, 10**9),
    ),
    max_size=12,
)
LEASES = [lease(1, 1, -30, -3), lease(2, 1, -2, 5, "Y"), lease(3, 2, -40, -30), lease(4, 2, -5, 1, "Z", "X")]


def test_of_a_slice_that_was_seen_half_the_time_half_is_seen() -> None:
    """It counts a seventh of a GPU, and is looked at as often as a whole one."""
    slice_ = replace(lease(1, 1, -7, 0, "S"), profile="1g.10gb")
    looks = 7 * HOUR // EVERY // 2
    share = reporting.by_user([slice_], [Window(SINCE, 300, 10, (GpuUse("S", 1, looks),))], SINCE, NOW)[1]
    assert (share.gpu_seconds, share.coverage, share.used_seconds) == (3600, 0.5, None)


@given(WINDOWS)
def test_no_sample_of_a_lease_is_lost_whenever_the_clock_says_it_was_taken(windows: list[Window]) -> None:
    """Leases move when a clock is set, windows do not: all that was seen is still its holder's."""
    shares = reporting.by_user(LEASES, windows, SINCE, NOW)
    mine = [use for window in windows for use in window.gpus if use.lease is not None]
    assert sum(share.samples for share in shares.values()) == sum(use.samples for use in mine)
    assert sum(share.busy for share in shares.values()) == sum(use.busy for use in mine)
    assert sum(share.utilization.total for share in shares.values()) == sum(
        use.utilization.total for use in mine
    )
    held = sum(usage.gpu_seconds(each, SINCE, NOW) for each in LEASES)
    assert sum(share.gpu_seconds for share in shares.values()) == held
    for share in shares.values():
        assert share.coverage is None or 0 <= share.coverage <= 1
        assert share.busy_share is None or 0 <= share.busy_share <= 1
        assert (share.used_seconds or 0) <= share.samples * EVERY.total_seconds()


@given(WINDOWS)
def test_each_look_is_in_one_cell_of_the_picture(windows: list[Window]) -> None:
    found = pictures.cells(windows, SINCE, NOW)
    inside = [use for window in windows if SINCE <= window.at < NOW for use in window.gpus]
    for device in "XYZ":
        expected = sum((use.utilization for use in inside if use.device == device), Tally())
        assert sum(found.get(device, []), Tally()) == expected


def test_the_most_held_come_first_and_groups_have_their_members() -> None:
    shares = reporting.by_user(LEASES, [], SINCE, NOW)
    assert {id_: (share.gpu_seconds, share.leases) for id_, share in shares.items()} == {
        1: (23 * 3600, 2),
        2: (10 * 3600, 1),
    }
    groups = reporting.by_group(shares, {"vision": [1, 2], "speech": [2], "empty": [3]})
    assert [(name, share.gpu_seconds // 3600) for name, share in groups.items()] == [
        ("vision", 33),
        ("speech", 10),
    ]
    assert list(reporting.by_group(shares, {"speech": [2]})) == [None, "speech"]


def test_what_nobody_saw_is_not_0() -> None:
    assert (Share().used_seconds, Share().busy_share, Share().coverage) == (None, None, None)
    assert Share(device_seconds=3600, samples=999).coverage == 1.0


NAME = "a<b>&\"'\x1b[2J\x00\u202e"


def test_the_picture_is_well_formed_and_shows_what_is_there() -> None:
    use = GpuUse("X", 1, 10, 5, Tally(10, 500, 100))
    silent = GpuUse("Y", 2, 10)
    windows = [Window(NOW - 2 * HOUR, 300, 10, (use, silent))]
    leases = [*LEASES, lease(5, 7, -20, -10, "Y", user=NAME)]
    picture = pictures.timeline({"X": f"GPU 0 {NAME}", "Y": "GPU 1"}, leases, windows, SINCE, NOW)
    root = ET.fromstring(picture)
    tips = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert len([tip for tip in tips if "lease" in tip]) == 4
    assert [tip for tip in tips if tip.endswith("50%, at most 100%")] != []
    assert len([tip for tip in tips if "at most" in tip]) == 1
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "GPU 0 a<b>&\"'\\x1b[2J\\x00\\u202e" in texts
    assert "user1" in texts
    assert not [text for text in texts + tips if not text.isprintable()]
    # Nothing is fetched and nothing runs: no element or attribute could.
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "style", "rect", "text", "line", "g", "title")
    }
    assert "url(" not in picture
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


@pytest.mark.parametrize("length", [timedelta(seconds=1), timedelta(minutes=7), timedelta(days=3000)])
def test_any_time_can_be_drawn(length: timedelta) -> None:
    windows = [Window(NOW - length / 2, 300, 10, (GpuUse("X", 1, 1, 1, Tally(1, 100, 100)),))]
    leases = [replace(each, granted_at=NOW - length) for each in LEASES]
    ET.fromstring(pictures.timeline({"X": "GPU 0"}, leases, windows, NOW - length, NOW))
    ET.fromstring(pictures.timeline({}, [], [], NOW - length, NOW))
