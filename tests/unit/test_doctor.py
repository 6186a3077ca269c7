"""gpuadmin doctor: what it thinks of recorded machines, and that it looks at real ones."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from admin.checks import CHECKS, GIBI, Facts, examine
from admin.facts import look, port
from admin.holes import holes, parse
from gateway.config import Config, Listen
from tests.conftest import ROOT
from tests.support.nvidia import state

ANSWERS = ROOT / "tests" / "unit" / "engine_answers"
GOOD_RUNC = {"Name": "runc", "Version": "1.4.1"}


def machine(recorded: str = "29.2", **changed: Any) -> Facts:
    """A healthy machine with four GPUs and the engine of that recording, but for what is `changed`."""
    answers = json.loads((ANSWERS / f"{recorded}.json").read_text())
    facts = Facts(
        version=answers["version"],
        info=answers["info"],
        hook="/usr/bin/nvidia-container-runtime-hook",
        toolkit="1.18.1",
        gpus=4,
        nvml_error=None,
        nvml_mismatch=False,
        driver_module="550.54.15",
        space=(500 * GIBI, 1000 * GIBI),
        inodes=(900_000, 1_000_000),
        file_system="btrfs",
        disks_held=True,
        disks_unheld=0,
        disks_promised=0,
        disks_failed=0,
        state="/var/lib/gpu-gateway",
        state_owner=0,
        state_mode=0o750,
        now=datetime(2026, 11, 23, 15, 0, tzinfo=UTC),
        newest=None,
        synchronised=True,
        listen="0.0.0.0:2222",
        port="ours",
        programs={"iptables": True, "ip": True, "ps": True},
    )
    return dataclasses.replace(facts, **changed)


def engine(recorded: str = "29.2", **info: Any) -> dict[str, Any]:
    """The `info` of a recording with other values."""
    held: dict[str, Any] = json.loads((ANSWERS / f"{recorded}.json").read_text())["info"]
    return {**held, **info}


def test_a_healthy_machine_has_no_failure_and_every_complaint_has_a_fix() -> None:
    good = machine(
        version={"Version": "29.5.1", "ApiVersion": "1.52", "Components": [GOOD_RUNC]},
        info=engine(LiveRestoreEnabled=True),
    )
    assert {name: found.status for name, found in examine(good).items()} == dict.fromkeys(CHECKS, "ok")


@pytest.mark.parametrize("recorded", ["20.10", "27", "28.2", "29.2"])
def test_recorded_engines_are_understood(recorded: str) -> None:
    found = examine(machine(recorded))
    assert list(found) == list(CHECKS)
    assert all(bool(each.fix) == (each.status != "ok") for each in found.values())
    assert found["engine"].status == "warn"
    assert "CVE-2026-41567" in found["engine"].found
    assert found["gpu-runtime"].status == ("warn" if recorded == "27" else "ok")
    assert found["cgroups"].status == ("warn" if recorded == "20.10" else "ok")
    assert found["seccomp"].status == "ok"


BAD: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no engine": ("engine", "fail", {"version": None, "info": {}}),
    "an engine before ours": ("engine", "fail", {"version": {"Version": "19.3.1"}}),
    "a runc that lets out": (
        "runc",
        "fail",
        {"version": {"Components": [{"Name": "runc", "Version": "1.1.5"}]}},
    ),
    "Debian's runc": (
        "runc",
        "warn",
        {"version": {"Components": [{"Name": "runc", "Version": "1.1.5+ds1"}]}},
    ),
    "a runc only for others": (
        "runc",
        "warn",
        {"version": {"Components": [{"Name": "runc", "Version": "1.3.5"}]}},
    ),
    "an unknown runc": ("runc", "warn", {"version": {}}),
    "a driver upgraded": ("nvml", "fail", {"gpus": 0, "nvml_error": "x", "nvml_mismatch": True}),
    "a driver that fails": ("nvml", "fail", {"gpus": 0, "nvml_error": "GPU is lost"}),
    "a driver without GPUs": ("nvml", "fail", {"gpus": 0}),
    "no way to give GPUs": ("gpu-runtime", "fail", {"info": engine("27"), "hook": None}),
    "a hook that loses GPUs": ("gpu-runtime", "warn", {"info": engine("27")}),
    "no toolkit": ("toolkit", "warn", {"toolkit": None}),
    "a toolkit that lets out": ("toolkit", "fail", {"toolkit": "1.17.7"}),
    "a toolkit without CDI": ("toolkit", "warn", {"toolkit": "1.17.9"}),
    "every GPU for everybody": ("default-runtime", "warn", {"info": engine(DefaultRuntime="nvidia")}),
    "no cgroups": ("cgroups", "fail", {"info": engine(CgroupDriver="none")}),
    "no seccomp": ("seccomp", "fail", {"info": engine(SecurityOptions=["name=apparmor"])}),
    "containers end with the engine": ("live-restore", "warn", {}),
    "a program missing": ("programs", "fail", {"programs": {"iptables": True, "ip": True, "ps": False}}),
    "a full disk": ("disk", "fail", {"space": (GIBI - 1, 1000 * GIBI)}),
    "a filling disk": ("disk", "warn", {"space": (49 * GIBI, 1000 * GIBI)}),
    "no inodes": ("inodes", "fail", {"inodes": (9_999, 1_000_000)}),
    "few inodes": ("inodes", "warn", {"inodes": (49_999, 1_000_000)}),
    "a btrfs that does not count": ("disk-quota", "warn", {"disks_held": False}),
    "workspaces that are not held": ("disk-quota", "warn", {"disks_unheld": 2}),
    "an ext4 that does not count": ("disk-quota", "warn", {"file_system": "ext4", "disks_held": False}),
    "a file system that cannot": ("disk-quota", "warn", {"file_system": "nfs", "disks_held": False}),
    "images that may outgrow the disk": ("disk-images", "warn", {"disks_promised": 501 * GIBI}),
    "images that failed": ("disk-images", "fail", {"disks_failed": 1}),
    "another's state": ("state", "fail", {"state_owner": 1000}),
    "an open state": ("state", "fail", {"state_mode": 0o755}),
    "a state that a group writes": ("state", "fail", {"state_mode": 0o770}),
    "a clock of 1970": ("clock", "fail", {"now": datetime(1970, 1, 1, tzinfo=UTC)}),
    "a clock that was right and fell back": ("clock", "fail", {"newest": datetime(2099, 1, 1, tzinfo=UTC)}),
    "a free-running clock": ("clock", "warn", {"synchronised": False}),
    "a taken port": ("port", "fail", {"port": "other"}),
    "no such address": ("port", "fail", {"port": "barred"}),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_found_alone_and_with_a_fix(what: str) -> None:
    name, status, changed = BAD[what]
    found = examine(machine(**changed))
    assert found[name].status == status
    assert found[name].fix
    healthy = examine(machine())
    if changed.get("version", 1) is not None and "version" not in changed:
        others = {other: each for other, each in found.items() if each != healthy[other]}
        assert set(others) <= {name, "gpu-runtime", "toolkit"} | (
            {"seccomp", "cgroups"} if "info" in changed else set()
        )


def test_a_file_system_without_inodes_and_a_machine_without_gpus_are_fine() -> None:
    found = examine(machine(inodes=(0, 0), gpus=0, driver_module=None, hook=None, toolkit=None))
    assert {found[name].status for name in ("inodes", "nvml", "gpu-runtime", "toolkit")} == {"ok"}


@pytest.mark.parametrize(
    ("component", "version", "known"),
    [
        ("runc", "1.1.11", 3),
        ("runc", "1.1.12", 2),
        ("runc", "1.2.8", 1),
        ("runc", "1.3.2", 2),
        ("runc", "1.3.6", 0),
        ("runc", "1.4.0", 1),
        ("runc", "1.5", 0),
        ("docker", "29.4.0", 1),
        ("docker", "30.0", 0),
        ("toolkit", "1.16.1", 3),
        ("toolkit", "1.17.8", 0),
    ],
)
def test_each_branch_has_its_own_fix(component: str, version: str, known: int) -> None:
    number = parse(version)
    assert number is not None
    assert len(holes(component, number)) == known


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(
    ("greeting", "seen"),
    [(b"SSH-2.0-OpenSSH_9.9 gpu-gateway\r\n", "ours"), (b"SSH-2.0-OpenSSH_9.2\r\n", "other")],
)
def test_the_port_knows_who_greets(listener: socket.socket, greeting: bytes, seen: str) -> None:
    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(greeting)

    thread = threading.Thread(target=greet)
    thread.start()
    assert port(Listen("127.0.0.1", listener.getsockname()[1])) == seen
    thread.join()


def test_a_port_is_free_or_no_address_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    assert port(Listen("127.0.0.1", number)) == "free"
    assert port(Listen("192.0.2.1", number)) == "barred"


def test_this_machine_can_be_looked_at(tmp_path: Path) -> None:
    facts = look(Config(state=tmp_path), datetime.now(UTC))
    assert facts.version is not None
    assert facts.state_owner == os.getuid()
    assert facts.space[0] > 0
    assert facts.synchronised is not None
    assert list(examine(facts)) == list(CHECKS)


def doctor(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from admin.main import main; main()", "doctor", *words]
    # A port that nobody else's test has, for the default one may be taken.
    (tmp_path / "config.toml").write_text('listen = "127.0.0.1:0"\n')
    own = {"GPU_GATEWAY_STATE": str(tmp_path / "state"), "GPU_GATEWAY_CONFIG": str(tmp_path / "config.toml")}
    return subprocess.run(command, env={**os.environ, **own, **environment}, capture_output=True, text=True)


def test_a_replaced_driver_fails_unless_it_is_allowed(tmp_path: Path, stand_ins: Path) -> None:
    """Over the real client library: NVML's error 18 is told apart from others."""
    state.write(tmp_path / "gpus", state.gpus(2), fails=18)
    broken = {"LD_LIBRARY_PATH": str(stand_ins), "NVML_STAND_IN_STATE": str(tmp_path / "gpus")}
    done = doctor(tmp_path, "--json", **broken)
    assert done.returncode == 1, done
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert rows["nvml"]["status"] == "fail"
    assert "upgraded" in rows["nvml"]["fix"]
    assert rows["nvml"].keys() == {"check", "status", "allowed", "found", "fix"}
    failing = [name for name, row in rows.items() if row["status"] == "fail"]
    allowed = doctor(tmp_path, *(f"--allow={name}" for name in failing), **broken)
    assert allowed.returncode == 0, allowed
    assert "(allowed)" in allowed.stdout


def test_an_engine_that_is_away_is_one_failure(tmp_path: Path) -> None:
    done = doctor(tmp_path, DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert done.returncode == 1
    assert "fail  engine" in done.stdout
    assert "runc" not in done.stdout
    assert "Traceback" not in done.stderr


def test_an_unknown_check_cannot_be_allowed(tmp_path: Path) -> None:
    assert doctor(tmp_path, "--allow", "everything").returncode == 2
