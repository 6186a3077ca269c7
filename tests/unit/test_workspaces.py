"""The template: what a container must be, decided from the records alone."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from gateway.disks import Disk
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.leases import Lease, State
from gateway.users import User
from gateway.workspaces import ContainerSpec, Limits, Mount, Workspace, container_spec, spec_hash

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = User(7, "alice", 30007, 30008, True, NOW)
IMAGE = ImageVersion(1, "gpu-gateway/base:1", "base", "1", "cpu", "sha256:abc")
LIMITS = Limits(2.0, 1 << 30, 1 << 29, 4096)


def lease(number: int, *devices: str) -> Lease:
    return Lease(number, 7, "alice", devices, State.ACTIVE, NOW, NOW)


def spec_of(user: User = ALICE, *leases: Lease) -> ContainerSpec:
    return container_spec(
        Workspace(user, IMAGE, leases, LIMITS, Disk(1 << 30)),
        state="/state",
        runner="/run/runner.pyz",
        gpu="/run/gpu",
        env={"LANG": "C.UTF-8", "HTTPS_PROXY": "http://proxy"},
        subnet="10.213.0.56/29",
        command=("/bin/sh", "-c", "run"),
    )


def test_decides_the_whole_container() -> None:
    own = "/state/workspaces/7"
    assert spec_of(ALICE, lease(1, "GPU-b"), lease(2, "GPU-a")) == ContainerSpec(
        workspace_id=7,
        user="alice",
        uid=30007,
        gid=30008,
        groups=(),
        home="/home/alice",
        image="sha256:abc",
        gpus=("GPU-a", "GPU-b"),
        limits=LIMITS,
        mounts=(
            Mount(f"{own}/home", "/home/alice", False),
            Mount(f"{own}/workspace", "/workspace", False),
            Mount(f"{own}/tmp", "/tmp", False),
            Mount(f"{own}/vartmp", "/var/tmp", False),
            Mount(f"{own}/etc/passwd", "/etc/passwd", True),
            Mount(f"{own}/etc/group", "/etc/group", True),
            Mount("/run/runner.pyz", "/opt/gpu-gateway/runner.pyz", True),
            Mount(f"{own}/socket", "/opt/gpu-gateway/socket", True),
            Mount("/run/gpu", "/usr/local/bin/gpu", True),
        ),
        env=(("HTTPS_PROXY", "http://proxy"), ("LANG", "C.UTF-8")),
        subnet="10.213.0.56/29",
        command=("/bin/sh", "-c", "run"),
    )


def test_mounts_a_home_of_the_site() -> None:
    spec = spec_of(dataclasses.replace(ALICE, home="/nfs/alice"))
    assert spec.mounts[0] == Mount("/nfs/alice", "/home/alice", False)


@pytest.mark.parametrize("ids", [{"uid": 0}, {"gid": 0}, {"uid": -1}])
def test_never_makes_a_container_of_roots(ids: dict[str, int]) -> None:
    with pytest.raises(PlatformError) as caught:
        spec_of(dataclasses.replace(ALICE, **ids))
    assert caught.value.code is Code.INVALID


def test_equal_specs_have_equal_names_and_every_field_counts() -> None:
    spec = spec_of()
    assert spec_hash(spec) == spec_hash(spec_of())
    other = {
        "workspace_id": 8,
        "user": "bob",
        "uid": 1,
        "gid": 1,
        "groups": (5000,),
        "home": "/h",
        "image": "sha256:def",
        "gpus": ("GPU-a",),
        "limits": Limits(2.0, 1 << 30, 1 << 28, 4096),
        "mounts": spec.mounts[1:],
        "env": (),
        "subnet": "10.213.0.64/29",
        "command": ("/bin/sh",),
        "handles": (("GPU-a/1g.10gb@0", "MIG-a"),),
    }
    assert other.keys() == {field.name for field in dataclasses.fields(ContainerSpec)}
    names = {spec_hash(dataclasses.replace(spec, **{key: value})) for key, value in other.items()}
    assert len(names | {spec_hash(spec)}) == len(other) + 1


def test_limits_that_change_while_it_runs_make_no_other_container() -> None:
    spec = spec_of()
    for limits in (
        Limits(4.0, 1 << 30, 1 << 29, 4096),
        Limits(2.0, 1 << 31, 1 << 29, 4096),
        Limits(2.0, 1 << 30, 1 << 29, 9),
    ):
        assert spec_hash(dataclasses.replace(spec, limits=limits)) == spec_hash(spec)


def test_a_changed_template_is_another_container(monkeypatch: pytest.MonkeyPatch) -> None:
    before = spec_hash(spec_of())
    monkeypatch.setattr("gateway.workspaces.TEMPLATE", 10_000)
    assert spec_hash(spec_of()) != before
