"""Quotas: defaults follow the machine, a user's own value wins, refusals carry the numbers."""

from __future__ import annotations

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
    assert quotas.limits(quotas.effective(machine)) == expected


def test_defaults_of_leases_and_gpus() -> None:
    values = quotas.effective(Machine(8, 32 * GIB))
    assert (values["gpus"], values["lease"]) == (1, 24 * 3600)


def test_the_last_layer_that_sets_a_key_wins() -> None:
    machine = Machine(8, 32 * GIB)
    assert quotas.effective(machine, {"gpus": 2}, {})["gpus"] == 2
    assert quotas.effective(machine, {"gpus": 2}, {"gpus": 0})["gpus"] == 0


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


@pytest.mark.parametrize(("text", "value"), [("gpus=0", 0), ("gpus=8", 8), ("gpus=9999", 9999)])
def test_assignments(text: str, value: int) -> None:
    assert quotas.parse_assignment(text) == ("gpus", value)


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
        "cpus=2",
        "x=1",
    ],
)
def test_bad_assignments(text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        quotas.parse_assignment(text)
    assert caught.value.code is Code.INVALID
