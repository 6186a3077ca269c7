"""What a run of the suite could leave on a machine: containers, networks, mounts, rules, processes.

Owns looking; the fixture `leaves_nothing` compares. Where other people work at the same time their
traces would be taken for ours, so it compares in CI only.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_OURS = ("gateway.main", "gateway.worker", "gpu-gateway", "dockerd --host unix:///run/dkr", "runner.pyz")


def traces() -> set[str]:
    """Everything of these kinds that is there now, a line each."""
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}
    # ip-netns(8) makes the directory of the names a mount, once for all.
    found = {f"mount {place}" for place in mounts - {"/run/netns"}}
    found |= {f"interface {path.name}" for path in Path("/sys/class/net").iterdir()}
    for kind, command in (
        ("container", ["docker", "ps", "-aq"]),
        ("network", ["docker", "network", "ls", "-q"]),
        ("rule", ["iptables", "-S"]),
        ("rule6", ["ip6tables", "-S"]),
        ("nat rule", ["iptables", "-t", "nat", "-S"]),
        ("namespace", ["ip", "netns", "list"]),
    ):
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        found |= {f"{kind} {line}" for line in shown.stdout.splitlines()}
    return found | {f"process {line}" for line in _processes()}


def _processes() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if any(ours in line for ours in _OURS):
            lines.append(f"{path.parent.name} {line}")
    return lines
