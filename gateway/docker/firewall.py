"""Sets the firewall rules of this installation's workspaces, and takes them away.

Owns running iptables. What the rules are is decided in `rules`. Rules vanish (firewalld reloads, a
restarted engine), so `ensure` is called before every start; where it fails no container starts.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

from gateway.docker import rules
from gateway.docker.client import quoted
from gateway.errors import Code, PlatformError

_SECONDS = 10.0
# The engine moves its own jumps whenever it makes a network, between our look and our change.
_TRIES = 8
# The engine reads the second where the first names only systemd-resolved's stub, as libnetwork does.
_RESOLV_CONF = Path("/etc/resolv.conf")
_RESOLV_CONF_BEHIND_STUB = Path("/run/systemd/resolve/resolv.conf")


class Firewall:
    """The rules of one installation (`instance`), whose workspaces' subnets all lie in `pool`. Blocking."""

    def __init__(self, instance: str, pool: str) -> None:
        self._instance = instance
        self._pool = pool
        self._lock = threading.Lock()

    def ensure(self) -> None:
        """Make the rules what they must be; a few milliseconds when they are.

        Raises UNAVAILABLE when they cannot be set: the caller must not start a container then.
        """
        with self._lock:
            for tool, table in self._tables():
                for left in reversed(range(_TRIES)):
                    if _set(tool, table, last=left == 0):
                        break

    def _tables(self) -> list[tuple[str, rules.Table]]:
        tables = {
            "iptables": rules.ipv4(self._instance, self._pool, _nameservers()),
            "ip6tables": rules.ipv6(self._instance),
        }
        return [(tool, tables[tool]) for tool in _tools()]


def _set(tool: str, table: rules.Table, last: bool) -> bool:
    """Look, and change what differs; False when somebody else changed the rules in between."""
    present = _run([tool, "-w", "5", "-S"])
    if rules.is_set(table, present):
        return True
    try:
        _restore(tool, rules.restore_text(table, present))
    except PlatformError:
        if last:
            raise
        return False
    return True


def remove_rules(instance: str) -> None:
    """Take away what `ensure` set; absent is success. Raises UNAVAILABLE when iptables fails."""
    for tool in _tools():
        present = _run([tool, "-w", "5", "-S"])
        _restore(tool, rules.removal_text(instance, present))


def _tools() -> list[str]:
    # A kernel without IPv6 has nothing to close, and its ip6tables only errors.
    six = Path("/proc/net/if_inet6").exists() and shutil.which("ip6tables")
    return ["iptables", "ip6tables"] if six else ["iptables"]


def _nameservers() -> list[str]:
    """The nameservers that the engine's resolver will ask; none when the host names none."""
    found: list[str] = []
    for path in (_RESOLV_CONF, _RESOLV_CONF_BEHIND_STUB):
        try:
            found += rules.nameservers(path.read_text("utf-8", "replace"))
        except OSError:
            continue
    return list(dict.fromkeys(found))


def _restore(tool: str, text: str) -> None:
    _run([f"{tool}-restore", "-w", "5", "--noflush"], text)


def _run(command: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _cannot(str(error)) from error
    if done.returncode:
        raise _cannot(done.stderr)
    return done.stdout


def _cannot(why: str) -> PlatformError:
    return PlatformError(
        Code.UNAVAILABLE,
        "the firewall that keeps workspaces apart cannot be set, so none is started "
        f"({quoted(why)}); ask your operator to install iptables and run the gateway as root",
    )
