"""What happens to a container before its user comes in, and what she is greeted with."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.disks import Disk
from gateway.entering import Step, greeting, step
from gateway.images import ImageVersion
from gateway.leases import Lease, State
from gateway.users import User
from gateway.workspaces import Container, Limits, Workspace
from tests.support.stores import NOW, gpu

IMAGE = ImageVersion(1, "gpu-gateway/base:12.1", "base", "12.1", "", "sha256:1")
ALICE = Workspace(
    User(1, "alice", 30001, 30001, True, NOW), IMAGE, (), Limits(1, 1 << 30, 1 << 29, 100), Disk(100 << 30)
)


def container(spec_hash: str, running: bool = True) -> Container:
    return Container(1, "c1", spec_hash, running, (), "image")


@pytest.mark.parametrize(
    ("found", "occupied", "expected"),
    [
        (None, False, Step.MAKE),
        (None, True, Step.MAKE),
        (container("wanted"), False, Step.KEEP),
        (container("wanted"), True, Step.KEEP),
        (container("wanted", running=False), False, Step.MAKE),
        (container("old", running=False), True, Step.MAKE),
        (container("old"), False, Step.MAKE),
        (container("old"), True, Step.KEEP_OLD),
    ],
)
def test_steps(found: Container | None, occupied: bool, expected: Step) -> None:
    assert step(found, "wanted", occupied) is expected


def lease(id_: int, hours: int, *devices: str) -> Lease:
    return Lease(id_, 1, "alice", devices, State.ACTIVE, NOW, NOW + timedelta(hours=hours))


def test_a_greeting_says_which_image_and_which_gpus_until_when() -> None:
    inventory = {gpu(index).id: gpu(index) for index in range(2)}
    leases = (lease(1, 9, gpu(1).id), lease(2, 1, gpu(0).id, "GPU-gone"))
    assert greeting(replace(ALICE, leases=leases), inventory) == (
        "alice on gpu-gateway/base:12.1\n"
        "  GPU 0 (NVIDIA H200), GPU-gone until 2026-11-23 16:00 UTC\n"
        "  GPU 1 (NVIDIA H200) until 2026-11-24 00:00 UTC\n"
    )


def test_a_greeting_without_gpus_and_with_something_that_waits() -> None:
    lines = greeting(ALICE, {}, waiting=True).splitlines()
    assert lines[1] == "  no GPU"
    assert "log out everywhere and in again" in lines[2]


def test_a_greeting_in_a_rescue_says_where_her_own_home_is() -> None:
    assert "~/broken" in greeting(replace(ALICE, rescue=True), {})
    assert "~/broken" not in greeting(ALICE, {})


def test_a_greeting_while_work_is_saved_says_that_instead_of_what_waits() -> None:
    lines = greeting(ALICE, {}, waiting=True, parting="Your lease 3 ended.").splitlines()
    assert lines[1:] == ["  no GPU", "  Your lease 3 ended."]


@pytest.mark.parametrize(("id_", "which"), [(1, "A newer version is ready"), (9, "Another version is ready")])
def test_a_greeting_on_another_version_says_which_it_is_and_which_is_ready(id_: int, which: str) -> None:
    runs = ImageVersion(id_, "gpu-gateway/base:11", "base", "11", "", "sha256:9")
    gets = replace(ALICE, image=replace(ALICE.image, id=5))
    lines = greeting(gets, {}, waiting=True, runs=runs).splitlines()
    assert lines[0] == "alice on gpu-gateway/base:11"
    assert lines[2].startswith(f"  {which}, {ALICE.image.ref}: it applies at the next start")
    # What waits is something else when the version is the same.
    (_, _, waits) = greeting(ALICE, {}, waiting=True, runs=ALICE.image).splitlines()
    assert waits.startswith("  A change by your operator")
