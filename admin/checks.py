"""What `gpuadmin doctor` thinks of a machine: each check a pure function of recorded facts.

Owns the judgement and the fix that it names. Must not look at anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from admin import holding, holes
from admin.findings import Finding
from gateway.clock import EARLIEST, STEP

MEBI = 1 << 20
GIBI = 1 << 30
OLDEST_DOCKER = (20, 10, 0)
CDI_BY_DEFAULT = (1, 18, 0)


@dataclass(frozen=True)
class Facts:
    """One look at a machine. None means that it is not there; sizes are bytes."""

    version: Mapping[str, Any] | None
    info: Mapping[str, Any]
    hook: str | None
    toolkit: str | None
    gpus: int
    nvml_error: str | None
    nvml_mismatch: bool
    driver_module: str | None
    space: tuple[int, int]
    inodes: tuple[int, int]
    file_system: str
    disks_held: bool
    disks_unheld: int
    disks_promised: int
    disks_failed: int
    state: str
    state_owner: int | None
    state_mode: int
    now: datetime
    newest: datetime | None
    synchronised: bool | None
    listen: str
    port: Literal["free", "ours", "other", "barred"]
    programs: Mapping[str, bool]


def _engine(facts: Facts) -> Finding:
    if facts.version is None:
        return Finding(
            "fail",
            "no Docker engine answers",
            "systemctl start docker; see journalctl -u docker, DOCKER_HOST",
        )
    text = str(facts.version.get("Version", ""))
    number = holes.parse(text)
    if number is None or number < OLDEST_DOCKER:
        return Finding("fail", f"Docker {text!r}", "install Docker 20.10 or newer; 29.5.1 has no known hole")
    return _holes("docker", f"Docker {text}", text)


def _runc(facts: Facts) -> Finding:
    parts = (facts.version or {}).get("Components") or ()
    text = next((str(part.get("Version")) for part in parts if part.get("Name") == "runc"), "")
    if holes.parse(text) is None:
        return Finding("warn", "the engine does not say which runc it uses", "look at: runc --version")
    return _holes("runc", f"runc {text}", text)


def _toolkit(facts: Facts) -> Finding:
    if facts.toolkit is None:
        if not facts.gpus:
            return Finding("ok", "not needed without GPUs")
        return Finding(
            "warn", "no nvidia-container-toolkit found", "install nvidia-container-toolkit 1.18 or newer"
        )
    found = _holes("toolkit", f"nvidia-container-toolkit {facts.toolkit}", facts.toolkit)
    number = holes.parse(facts.toolkit)
    if found.status == "ok" and number is not None and number < CDI_BY_DEFAULT:
        return Finding(
            "warn", found.found, "upgrade to 1.18, which keeps its CDI description of the GPUs current"
        )
    return found


def _holes(component: str, found: str, text: str) -> Finding:
    number = holes.parse(text)
    known = holes.holes(component, number) if number else []
    if not known:
        return Finding("ok", found)
    names = "; ".join(f"{hole.name}: {hole.what}" for hole in known)
    newest = ".".join(map(str, max(max(hole.fixed) for hole in known)))
    fix = f"upgrade to {newest} or newer"
    if holes.patched_elsewhere(text):
        fix += f"; a distribution's build may have the fixes: apt changelog {_PACKAGES[component]}"
        return Finding("warn", f"{found} ({names})", fix)
    return Finding("fail" if any(hole.reachable for hole in known) else "warn", f"{found} ({names})", fix)


_PACKAGES = {"docker": "docker.io", "runc": "runc", "toolkit": "nvidia-container-toolkit"}


def _cdi(facts: Facts) -> bool:
    found = facts.info.get("DiscoveredDevices") or ()
    return any(str(device.get("ID", "")).startswith("nvidia.com/gpu=") for device in found)


def _gpu_runtime(facts: Facts) -> Finding:
    if not facts.gpus:
        return Finding("ok", "not needed without GPUs")
    if _cdi(facts):
        return Finding("ok", "CDI")
    if facts.hook is None:
        return Finding(
            "fail",
            "the engine can give no GPU: neither CDI devices nor NVIDIA's hook",
            "install nvidia-container-toolkit and restart docker",
        )
    if facts.info.get("CgroupDriver") == "systemd":
        return Finding(
            "warn",
            f"the hook {facts.hook}, with the cgroup driver systemd: a `systemctl daemon-reload` takes the "
            "GPUs from running containers",
            'use CDI (Docker 28.2 and toolkit 1.18), or "exec-opts": ["native.cgroupdriver=cgroupfs"] in '
            "/etc/docker/daemon.json",
        )
    return Finding("ok", f"the hook {facts.hook}")


def _default_runtime(facts: Facts) -> Finding:
    runtime = str(facts.info.get("DefaultRuntime", "runc"))
    if runtime != "nvidia":
        return Finding("ok", runtime)
    return Finding(
        "warn",
        "the engine's default runtime is nvidia: containers that others start get every GPU without asking",
        'remove "default-runtime" from /etc/docker/daemon.json; the gateway does not need it',
    )


def _nvml(facts: Facts) -> Finding:
    if facts.nvml_mismatch:
        return Finding(
            "fail",
            f"NVIDIA's library is not of the loaded driver ({facts.driver_module or 'unknown'})",
            "the driver was upgraded under a running one: reboot, or reload the nvidia modules",
        )
    if facts.nvml_error is not None:
        return Finding(
            "fail", facts.nvml_error, "see what nvidia-smi and dmesg say; load or restart the driver"
        )
    if not facts.gpus:
        if facts.driver_module is not None:
            return Finding("fail", "the driver is loaded and shows no GPU", "see what nvidia-smi says")
        return Finding("ok", "no GPU in this machine")
    return Finding("ok", f"{facts.gpus} GPUs")


def _cgroups(facts: Facts) -> Finding:
    driver, number = facts.info.get("CgroupDriver", "unknown"), str(facts.info.get("CgroupVersion", "1"))
    found = f"version {number}, driver {driver}"
    if driver == "none":
        return Finding("fail", found, "the engine cannot limit containers: run it as root")
    if number != "2":
        return Finding("warn", found, "boot with systemd.unified_cgroup_hierarchy=1: version 1 is going away")
    return Finding("ok", found)


def _seccomp(facts: Facts) -> Finding:
    options = [str(option) for option in facts.info.get("SecurityOptions") or ()]
    if any(option.startswith("name=seccomp") for option in options):
        return Finding("ok", "on")
    return Finding("fail", "the engine has no seccomp", "use a kernel and an engine built with seccomp")


def _live_restore(facts: Facts) -> Finding:
    if facts.info.get("LiveRestoreEnabled"):
        return Finding("ok", "on")
    return Finding(
        "warn",
        "off: every container ends when the engine is restarted or upgraded",
        '"live-restore": true in /etc/docker/daemon.json, then systemctl reload docker',
    )


def _disk(facts: Facts) -> Finding:
    free, total = facts.space
    found = f"{free // GIBI} GiB of {total // GIBI} GiB free under {facts.state}"
    if free < GIBI:
        return Finding(
            "fail", f"{free // MEBI} MiB free under {facts.state}", "free space: nobody can log in anew"
        )
    if free < 10 * GIBI or free * 20 < total:
        return Finding("warn", found, "free space, or give people smaller homes")
    return Finding("ok", found)


def _inodes(facts: Facts) -> Finding:
    free, total = facts.inodes
    # Some file systems (btrfs) count none and report 0.
    if total == 0:
        return Finding("ok", "without a limit")
    found = f"{free} of {total} free"
    if free * 100 < total:
        return Finding("fail", found, "delete small files: a package cache or a dataset of single images")
    return Finding("warn", found, "find who holds many files") if free * 20 < total else Finding("ok", found)


def _state(facts: Facts) -> Finding:
    if facts.state_owner is None:
        return Finding("ok", f"{facts.state} is made at the first start")
    found = f"{facts.state} is {facts.state_mode:04o} of uid {facts.state_owner}"
    if facts.state_owner != 0:
        return Finding("fail", found, f"chown root {facts.state}: its owner can read and replace every key")
    if facts.state_mode & 0o027:
        return Finding("fail", found, f"chmod 0750 {facts.state}: others must not see or change it")
    return Finding("ok", found)


def _clock(facts: Facts) -> Finding:
    found = facts.now.strftime("%Y-%m-%d %H:%M UTC")
    if facts.now.year < EARLIEST:
        return Finding("fail", found, "set the clock: leases end by it")
    if facts.newest is not None and facts.newest - facts.now >= STEP:
        then = facts.newest.strftime("%Y-%m-%d %H:%M UTC")
        return Finding("fail", f"{found}, but the newest record is of {then}", "set the clock that is behind")
    if facts.synchronised is not True:
        return Finding(
            "warn", f"{found}, not synchronised", "run chrony or systemd-timesyncd: leases end by it"
        )
    return Finding("ok", f"{found}, synchronised")


def _port(facts: Facts) -> Finding:
    match facts.port:
        case "free":
            return Finding("ok", f"{facts.listen} is free")
        case "ours":
            return Finding("ok", f"the gateway answers on {facts.listen}")
        case "barred":
            return Finding(
                "fail", f"{facts.listen} cannot be had", "set `listen` to an address of this machine"
            )
        case "other":
            return Finding(
                "fail",
                f"another program listens on {facts.listen}",
                "move it, or set `listen` in config.toml; docs/operations.md has three ways to port 22",
            )


_NEEDED = "iptables iproute2 procps e2fsprogs util-linux mount"


def _programs(facts: Facts) -> Finding:
    missing = sorted(name for name, present in facts.programs.items() if not present)
    if missing:
        return Finding("fail", f"missing: {', '.join(missing)}", f"apt-get install {_NEEDED}")
    return Finding("ok", ", ".join(sorted(facts.programs)))


OF_THE_ENGINE = ("runc", "gpu-runtime", "default-runtime", "cgroups", "seccomp", "live-restore")
"""Checks that say nothing while no engine answers."""

CHECKS: Mapping[str, Callable[[Facts], Finding]] = {
    "engine": _engine,
    "runc": _runc,
    "nvml": _nvml,
    "gpu-runtime": _gpu_runtime,
    "toolkit": _toolkit,
    "default-runtime": _default_runtime,
    "cgroups": _cgroups,
    "seccomp": _seccomp,
    "live-restore": _live_restore,
    "programs": _programs,
    "disk": _disk,
    "inodes": _inodes,
    "disk-quota": lambda facts: holding.disk_quota(
        facts.file_system, facts.disks_held, facts.disks_unheld, facts.state
    ),
    "disk-images": lambda facts: holding.disk_images(
        facts.disks_promised, facts.space[0], facts.disks_failed
    ),
    "state": _state,
    "clock": _clock,
    "port": _port,
}


def examine(facts: Facts) -> dict[str, Finding]:
    """Every check that these facts can answer, in order."""
    skipped = OF_THE_ENGINE if facts.version is None else ()
    return {name: check(facts) for name, check in CHECKS.items() if name not in skipped}
