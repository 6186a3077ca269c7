"""The hardening template and the names of things, as pure functions."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gateway.docker.client import quoted
from gateway.docker.containers import ended_by_oom, from_inspect
from gateway.docker.engine import EngineFacts
from gateway.docker.naming import bridge_name, bridge_prefix, gpus_of, workspace_of
from gateway.docker.networks import network_body
from gateway.docker.processes import count_own
from gateway.docker.seccomp import profile
from gateway.docker.spec import create_body
from gateway.workspaces import ContainerSpec, Limits, Mount, spec_hash

ENGINE = EngineFacts("20.10.24", (1, 41), 1, ("runc",), True, frozenset())
SPEC = ContainerSpec(
    workspace_id=7,
    user="alice",
    uid=30007,
    gid=30008,
    groups=(),
    home="/home/alice",
    image="sha256:abc",
    gpus=(),
    limits=Limits(1.5, 1 << 30, 1 << 29, 4096),
    mounts=(Mount("/state/home", "/home/alice", False), Mount("/run/runner.pyz", "/opt/r.pyz", True)),
    env=(("LANG", "C.UTF-8"),),
    subnet="10.213.0.56/29",
    command=("/bin/sh", "-c", "run"),
)


def body(spec: ContainerSpec = SPEC) -> dict[str, object]:
    return create_body(spec, instance="ab12", engine=ENGINE, descriptors=1000)


def host(spec: ContainerSpec = SPEC) -> dict[str, object]:
    found = body(spec)["HostConfig"]
    assert isinstance(found, dict)
    return found


def test_takes_every_right_away() -> None:
    config = host()
    assert config["CapDrop"] == ["ALL"]
    assert "CapAdd" not in config
    assert config["Privileged"] is False
    assert config["ReadonlyRootfs"] is True
    assert config["SecurityOpt"] == ["no-new-privileges:true", "seccomp=" + profile()]
    assert (config["IpcMode"], config["CgroupnsMode"], config["Runtime"]) == ("private", "private", "runc")
    assert config["RestartPolicy"] == {"Name": "no"}
    assert config.keys().isdisjoint({"Devices", "PidMode", "UTSMode", "UsernsMode", "Binds", "GroupAdd"})


def test_bounds_what_it_may_use() -> None:
    config = host()
    assert config["Memory"] == config["MemorySwap"] == 1 << 30
    assert (config["NanoCpus"], config["PidsLimit"], config["ShmSize"]) == (1_500_000_000, 4096, 1 << 29)
    assert config["Ulimits"] == [
        {"Name": "nofile", "Soft": 1000, "Hard": 1000},
        {"Name": "core", "Soft": 0, "Hard": 0},
    ]


def test_shows_the_given_mounts_and_no_others() -> None:
    config = host()
    assert config["Mounts"] == [
        {
            "Type": "bind",
            "Source": source,
            "Target": target,
            "ReadOnly": read_only,
            "BindOptions": {"Propagation": "rprivate"},
        }
        for source, target, read_only in (
            ("/state/home", "/home/alice", False),
            ("/run/runner.pyz", "/opt/r.pyz", True),
        )
    ]
    assert list(config["Tmpfs"]) == ["/run", "/run/user/30007"]  # type: ignore[call-overload]
    assert config["NetworkMode"] == "gpu-gateway-ab12-7"


def test_runs_the_platforms_command_as_the_user() -> None:
    made = body()
    assert (made["User"], made["Entrypoint"], made["Cmd"]) == ("30007:30008", ["/bin/sh"], ["-c", "run"])
    assert made["Healthcheck"] == {"Test": ["NONE"]}
    assert made["Labels"] == {
        "io.gpu-gateway.instance": "ab12",
        "io.gpu-gateway.workspace": "7",
        "io.gpu-gateway.spec": spec_hash(SPEC),
        "io.gpu-gateway.gpus": "",
    }


def test_supplementary_groups_are_the_given_ones_alone() -> None:
    assert "GroupAdd" not in host()
    assert host(dataclasses.replace(SPEC, groups=(5000, 5001)))["GroupAdd"] == ["5000", "5001"]


def test_an_image_that_wants_every_gpu_gets_none() -> None:
    assert body()["Env"] == ["LANG=C.UTF-8", "NVIDIA_VISIBLE_DEVICES=void"]
    assert host()["DeviceRequests"] == []


def test_held_gpus_are_asked_for_by_id() -> None:
    spec = dataclasses.replace(SPEC, gpus=("GPU-a", "GPU-b"))
    assert body(spec)["Env"] == ["LANG=C.UTF-8"]
    (request,) = host(spec)["DeviceRequests"]  # type: ignore[misc]
    assert request["DeviceIDs"] == ["GPU-a", "GPU-b"]  # type: ignore[has-type]


def test_the_users_name_reaches_no_name_of_the_engines() -> None:
    hostile = dataclasses.replace(SPEC, user="x; rm -rf")
    assert "rm -rf" not in json.dumps([body(hostile), network_body(hostile, "ab12")])


@pytest.mark.parametrize(
    ("workspace_id", "name"),
    [(0, "gwab12-0"), (7, "gwab12-7"), (36, "gwab12-10"), (36**8 - 1, "gwab12-zzzzzzzz")],
)
def test_interface_names_fit_the_kernel(workspace_id: int, name: str) -> None:
    assert bridge_name("ab12", workspace_id) == name
    assert name.startswith(bridge_prefix("ab12"))
    assert len(name) <= 15


def test_an_interface_name_that_does_not_fit_is_a_fault() -> None:
    with pytest.raises(ValueError, match="no interface name"):
        bridge_name("ab12", 36**8)


def test_a_network_is_small_and_old_protocol_only() -> None:
    made = network_body(SPEC, "ab12")
    assert made["ipam"]["Config"] == [{"Subnet": "10.213.0.56/29", "Gateway": "10.213.0.57"}]
    assert made["enable_ipv6"] is False
    assert made["options"]["com.docker.network.bridge.name"] == "gwab12-7"


@pytest.mark.parametrize(
    ("labels", "workspace_id"),
    [
        ({"io.gpu-gateway.instance": "ab12", "io.gpu-gateway.workspace": "7"}, 7),
        ({"io.gpu-gateway.instance": "ffff", "io.gpu-gateway.workspace": "7"}, None),
        ({"io.gpu-gateway.instance": "ab12", "io.gpu-gateway.workspace": "\u0667"}, None),
        ({"io.gpu-gateway.instance": "ab12"}, None),
        ({}, None),
    ],
)
def test_only_our_own_labels_count(labels: dict[str, str], workspace_id: int | None) -> None:
    assert workspace_of(labels, "ab12") == workspace_id


def test_device_labels_round() -> None:
    labels = body(dataclasses.replace(SPEC, gpus=("GPU-a", "GPU-b")))["Labels"]
    assert isinstance(labels, dict)
    assert gpus_of(labels) == ("GPU-a", "GPU-b")
    assert gpus_of({}) == ()


@pytest.mark.parametrize(
    ("state", "oom"),
    [
        ({"OOMKilled": True, "ExitCode": 137}, True),
        ({"OOMKilled": True, "ExitCode": 0}, False),
        ({"OOMKilled": False, "ExitCode": 137}, False),
    ],
)
def test_a_child_that_ran_out_of_memory_long_ago_did_not_end_it(state: dict[str, object], oom: bool) -> None:
    assert ended_by_oom(state) is oom


@pytest.mark.parametrize(("status", "code"), [("created", None), ("exited", 3)])
def test_a_container_that_never_ran_has_no_exit_status(status: str, code: int | None) -> None:
    found = from_inspect(
        {
            "Id": "c",
            "Image": "sha256:abc",
            "Config": {"Labels": body()["Labels"]},
            "State": {"Running": False, "Status": status, "ExitCode": code or 0, "OOMKilled": False},
        },
        "ab12",
    )
    assert found is not None
    assert (found.workspace_id, found.running, found.exit_code) == (7, False, code)


def rows(*processes: tuple[int, int, str, int]) -> dict[str, object]:
    return {"Processes": [[str(pid), str(parent), state, str(age)] for pid, parent, state, age in processes]}


PLATFORM = ((10, 1, "Ss", 100), (11, 10, "S", 100), (12, 11, "S", 99))


@pytest.mark.parametrize(
    ("users", "count"),
    [
        ((), 0),
        (((20, 12, "S", 50),), 1),
        # A zombie holds no workspace; an orphan (init's child) and a process from outside do.
        (((20, 12, "Z", 50),), 0),
        (((20, 10, "S", 100), (21, 20, "S", 50), (9, 3, "S", 10)), 3),
    ],
)
def test_counts_the_users_processes(users: tuple[tuple[int, int, str, int], ...], count: int) -> None:
    assert count_own(rows(*PLATFORM, *users), init=10) == count


def test_counts_nothing_in_nothing() -> None:
    assert count_own({"Processes": None}, init=10) == 0


def test_quotes_foreign_text_on_one_printable_line() -> None:
    assert quoted("OCI: \x1b[2Jhook\nfailed\u202e") == "OCI: \\x1b[2Jhook failed\\u202e"
    assert len(quoted("x" * 5000)) < 500


def test_the_profile_allows_no_call_that_needs_a_right_or_is_a_known_door() -> None:
    rules = json.loads(profile())
    allowed = {
        name for rule in rules["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]
    }
    assert rules["defaultAction"] == "SCMP_ACT_ERRNO"
    doors = """
        acct add_key bpf chroot clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen
        fspick init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kexec_load
        kexec_file_load keyctl mount mount_setattr move_mount open_by_handle_at open_tree perf_event_open
        pivot_root quotactl reboot request_key sethostname setns settimeofday swapoff swapon syslog umount2
        userfaultfd vhangup socketcall modify_ldt clone3
    """
    assert allowed.isdisjoint(doors.split())
    assert {"ptrace", "process_vm_readv", "pidfd_getfd", "execve", "openat", "futex"} <= allowed


def test_the_profile_opens_four_families_of_sockets() -> None:
    """Local, IPv4, IPv6, netlink. A kernel without AF_ALG would hide a hole from tests inside."""
    rules = [rule for rule in json.loads(profile())["syscalls"] if "socket" in rule["names"]]
    allowed = [rule["args"] for rule in rules if rule["action"] == "SCMP_ACT_ALLOW"]
    assert all(len(args) == 1 and args[0]["op"] == "SCMP_CMP_EQ" for args in allowed)
    assert [(args[0]["index"], args[0]["value"]) for args in allowed] == [(0, 1), (0, 2), (0, 10), (0, 16)]
