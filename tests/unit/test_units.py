"""Durations, sizes and instants: what people type is read exactly, or refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import units
from gateway.errors import Code, PlatformError


@pytest.mark.parametrize(
    ("text", "minutes"), [("1m", 1), ("30m", 30), ("8h", 480), ("7d", 10080), ("90m", 90)]
)
def test_durations(text: str, minutes: int) -> None:
    assert units.parse_duration(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "h",
        "0h",
        "-1h",
        "1.5h",
        "8H",
        "8 h",
        "8h ",
        "8h\n",
        "1w",
        "3651d",
        "999999999d",
        "٨h",
        "1h30m",
    ],
)
def test_bad_durations(text: str) -> None:
    with pytest.raises(PlatformError, match="30m, 8h or 7d") as caught:
        units.parse_duration(text)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize(
    ("text", "size"), [("1K", 1024), ("512M", 512 << 20), ("100G", 100 << 30), ("2T", 2 << 40)]
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "100", "G", "0G", "-1G", "1.5G", "1g", "1GB", "1 G", "9999999T", "\N{FULLWIDTH DIGIT ONE}G"]
)
def test_bad_sizes(text: str) -> None:
    with pytest.raises(PlatformError, match="K, M, G or T") as caught:
        units.parse_size(text)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(0), "0m"),
        (timedelta(seconds=-5), "0m"),
        (timedelta(seconds=59), "0m"),
        (timedelta(minutes=5), "5m"),
        (timedelta(hours=8), "8h"),
        (timedelta(hours=7, minutes=59), "7h 59m"),
        (timedelta(days=1), "1d"),
        (timedelta(days=1, hours=3, minutes=7), "1d 3h"),
        (timedelta(days=1, minutes=7), "1d"),
    ],
)
def test_durations_for_people(length: timedelta, text: str) -> None:
    assert units.format_duration(length) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1023, "1023"), (1024, "1K"), (80 << 30, "80G"), (3 << 39, "1.5T")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert units.format_size(size) == text


@given(st.integers(1, 3650), st.sampled_from("mhd"))
def test_a_typed_duration_reads_back_as_typed_or_shorter(count: int, unit: str) -> None:
    length = units.parse_duration(f"{count}{unit}")
    words = units.format_duration(length).split()
    assert sum((units.parse_duration(word) for word in words), timedelta()) <= length


def test_instants_are_utc_and_say_so() -> None:
    at = datetime(2026, 11, 23, 23, 30, 59, 999999, tzinfo=timezone(timedelta(hours=8)))
    assert units.iso(at) == "2026-11-23T15:30:59Z"
    assert units.format_instant(at) == "2026-11-23 15:30 UTC"
    assert units.iso(at.astimezone(UTC)) == units.iso(at)
