"""Quotas: defaults follow the machine, whose value is in force, refusals carry the numbers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import quotas
from gateway.errors import Code, PlatformError
from gateway.quotas import Machine
from gateway.workspaces import Limits

GIB = 1 << 30


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (Machine(64, 512 * GIB), Limits(16, 128 * GIB, 64 * GIB, 4096)),
        (Machine(6, 8 * GIB), Limits(1.5, 2 * GIB, GIB, 4096)),
        (Machine(2, 4 * GIB), Limits(1, GIB, GIB // 2, 4096)),
    ],
)
def test_a_container_gets_a_quarter_of_the_machine(machine: Machine, expected: Limits) -> None:
    assert quotas.limits(quotas.effective(machine, {}), machine) == expected


def test_defaults_of_leases_and_gpus() -> None:
    values = quotas.effective(Machine(8, 32 * GIB), {})
    assert (values["gpus"], values["lease"]) == (1, 24 * 3600)


MACHINE = Machine(8, 32 * GIB)
HOURS = st.integers(0, 999_999).map(str)
WINDOWS = st.integers(1, 365).map(lambda days: f"{days}d")
GPU_HOURS = st.one_of(
    st.just("none"), st.builds(lambda hours, window: f"{hours}/{window}", HOURS, WINDOWS)
).map(lambda text: quotas.KEYS["gpu_hours"].parse(text))
LAYERS = st.fixed_dictionaries(
    {}, optional={"gpus": st.integers(0, 9), "pids": st.integers(32, 99), "gpu_hours": GPU_HOURS}
)


@given(LAYERS, st.lists(LAYERS, max_size=4), LAYERS, st.randoms(use_true_random=False))
def test_her_own_value_else_the_most_generous_groups_else_everybodys(
    everybody: dict[str, int], groups: list[dict[str, int]], own: dict[str, int], random: Any
) -> None:
    values = quotas.effective(MACHINE, everybody, groups, own)
    assert values == quotas.effective(MACHINE, everybody, random.sample(groups, len(groups)), own)
    for name in ("gpus", "pids", "gpu_hours"):
        of_groups = [group[name] for group in groups if name in group]
        if name in own:
            assert values[name] == own[name]
        elif of_groups:
            assert values[name] in of_groups
            rank = quotas.KEYS[name].rank
            assert all(rank(values[name]) >= rank(other) for other in of_groups)
        elif name in everybody:
            assert values[name] == everybody[name]
        else:
            assert values[name] == quotas.KEYS[name].default(MACHINE, values)


@given(LAYERS, st.lists(LAYERS, max_size=3), LAYERS)
def test_one_more_group_never_takes_anything_from_somebody_who_is_in_one_that_says(
    everybody: dict[str, int], groups: list[dict[str, int]], more: dict[str, int]
) -> None:
    before = quotas.effective(MACHINE, everybody, groups)
    after = quotas.effective(MACHINE, everybody, [*groups, more])
    for name in ("gpus", "pids", "gpu_hours"):
        if any(name in group for group in groups):
            assert quotas.KEYS[name].rank(after[name]) >= quotas.KEYS[name].rank(before[name])


def test_no_limit_is_more_generous_than_any_and_a_rate_counts_not_a_number() -> None:
    rank = quotas.KEYS["gpu_hours"].rank
    parse = quotas.KEYS["gpu_hours"].parse
    ordered = [parse(text) for text in ("0/1d", "100/30d", "50/7d", "10/1d", "999999/1m", "none")]
    assert sorted(ordered, key=rank) == ordered


def test_shared_memory_is_half_of_the_memory_that_she_has() -> None:
    assert quotas.effective(MACHINE, {"memory": 6 * GIB})["shm"] == 3 * GIB
    assert quotas.effective(MACHINE, {"memory": 6 * GIB}, (), {"shm": GIB})["shm"] == GIB


def test_more_cores_than_the_machine_has_are_all_of_them() -> None:
    assert quotas.limits(quotas.effective(MACHINE, {"cpus": 500_000}), MACHINE).cpus == 8


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20))
def test_what_fits_is_granted_and_nothing_more(most: int, held: int, wanted: int) -> None:
    values = {"gpus": most}
    if held + wanted <= most:
        quotas.check("alice", values, held, wanted)
        return
    with pytest.raises(PlatformError) as caught:
        quotas.check("alice", values, held, wanted)
    assert caught.value.code is Code.QUOTA_EXCEEDED


def test_the_refusal_says_the_numbers_and_what_to_do() -> None:
    with pytest.raises(PlatformError) as caught:
        quotas.check("alice", {"gpus": 1}, 1, 2)
    assert caught.value.message == (
        "alice may hold 1 GPU at once and holds 1, so 2 more cannot be granted; "
        "release a lease, or raise the quota with: gpuadmin quota set alice gpus=3"
    )


@pytest.mark.parametrize(
    ("text", "name", "value", "shown", "plain"),
    [
        ("gpus=0", "gpus", 0, "0", 0),
        ("gpus=9999", "gpus", 9999, "9999", 9999),
        ("lease=36h", "lease", 36 * 3600, "1d 12h", 36 * 3600),
        ("gpu_hours=none", "gpu_hours", -1, "none", None),
        (
            "gpu_hours=100/7d",
            "gpu_hours",
            100_000_604_800,
            "100/7d",
            {"gpu_seconds": 360_000, "window": 604_800},
        ),
        ("cpus=1.5", "cpus", 1500, "1.5", 1.5),
        ("cpus=0.125", "cpus", 125, "0.125", 0.125),
        ("cpus=64", "cpus", 64000, "64", 64.0),
        ("memory=96G", "memory", 96 * GIB, "96G", 96 * GIB),
        ("shm=1M", "shm", 1 << 20, "1M", 1 << 20),
        ("pids=100000", "pids", 100_000, "100000", 100_000),
        ("sessions=1", "sessions", 1, "1", 1),
        ("priority=10", "priority", 10, "10", 10),
        ("idle=90m", "idle", 5400, "1h 30m", 5400),
        ("idle=none", "idle", -1, "none", None),
        ("idle_workspace=3d", "idle_workspace", 259_200, "3d", 259_200),
    ],
)
def test_assignments(text: str, name: str, value: int, shown: str, plain: object) -> None:
    assert quotas.parse_assignment(text) == (name, value)
    assert (quotas.KEYS[name].show(value), quotas.KEYS[name].plain(value)) == (shown, plain)


def test_every_key_can_be_inherited_again() -> None:
    for name in quotas.KEYS:
        assert quotas.parse_assignment(f"{name}=inherit") == (name, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpus",
        "gpus=",
        "gpus=-1",
        "gpus=1.5",
        "gpus=+1",
        "gpus=1_0",
        "gpus=\N{FULLWIDTH DIGIT ONE}",
        "gpus=10000",
        "lease=8",
        "lease=0h",
        "idle=0m",
        "idle=30",
        "idle=never",
        "idle_workspace=-1h",
        "gpu_hours=100",
        "gpu_hours=100/7",
        "gpu_hours=100/0d",
        "gpu_hours=-1/7d",
        "gpu_hours=1.5/7d",
        "gpu_hours=1000000/7d",
        "cpus=0",
        "cpus=0.05",
        "cpus=1.2345",
        "cpus=1,5",
        "cpus=nan",
        "memory=1",
        "memory=63M",
        "memory=-1G",
        "shm=1023K",
        "pids=31",
        "pids=4000001",
        "sessions=0",
        "sessions=10001",
        "priority=1001",
        "disk=63M",
        "disk=100",
        "x=1",
    ],
)
def test_bad_assignments(text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        quotas.parse_assignment(text)
    assert caught.value.code is Code.INVALID


def test_of_several_groups_the_longest_idleness_counts_and_none_is_the_longest() -> None:
    def in_force(*groups: int) -> int:
        return quotas.effective(MACHINE, {"idle": 60}, [{"idle": value} for value in groups])["idle"]

    assert in_force() == 60
    assert in_force(1800, 7200) == 7200
    assert in_force(1800, quotas.UNLIMITED, 10**9) == quotas.UNLIMITED
    assert quotas.effective(MACHINE, {})["idle"] == 1800
    assert quotas.effective(MACHINE, {})["idle_workspace"] == 72 * 3600
