"""`gpuadmin install`: makes this machine start the gateway as a service.

Owns which files and accounts that takes, and the words that undo it. What is there already and right is left
alone, so that it may run again after each upgrade. Must not start anything.
"""

from __future__ import annotations

import grp
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

import gateway
from admin.output import say
from gateway import config
from gateway.errors import Code, PlatformError
from gateway.privileges import ACCOUNT
from gateway.sqlite.directory import OPERATORS

CHECKOUT = Path(gateway.__file__).parent.parent
PROGRAMS = ("gpu-gateway", "gpuadmin")
CONFIG = Path("etc/gpu-gateway/config.toml")
UNIT = Path("etc/systemd/system/gpu-gateway.service")
ROTATION = Path("etc/logrotate.d/gpu-gateway")
COMMANDS = Path("usr/local/bin")

UNDO = f"""\
To undo it:
  systemctl disable --now gpu-gateway
  rm /{UNIT} /{ROTATION} {" ".join(f"/{COMMANDS}/{name}" for name in PROGRAMS)}
  rm -r /{CONFIG.parent}
  systemctl daemon-reload
  userdel {ACCOUNT}; groupdel {OPERATORS}
Containers, networks and firewall rules are removed with
  {sys.executable} -m gateway.docker.sweep --instance INSTANCE
where INSTANCE is the four digits in the names of the containers. People's files, keys and leases stay."""


@dataclass(frozen=True)
class Target:
    """Where to install: a root directory, the folder of our programs, and the state as seen from inside."""

    root: Path
    programs: Path
    state: Path

    @property
    def live(self) -> bool:
        """Whether it is this very machine, and not an image of one."""
        return self.root == Path("/")


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("/"),
    help="Install into the machine whose root directory this is, such as an image that is being made.",
)
def install(root: Path) -> None:
    """Write the config file, accounts, service and log rotation; print what was done and how to undo it.

    Nothing is started; systemctl enable --now gpu-gateway does that. Run it again after an upgrade: a config
    file that is there is left as it is.

    \b
    Example:
      gpuadmin install
    """
    if os.geteuid() != 0:
        raise PlatformError(Code.DENIED, "Installing needs root; use: sudo gpuadmin install")
    target = _target(root.resolve())
    try:
        for line in _install(target):
            say(line)
    except BrokenPipeError:
        # Whoever read what we say has gone; the root command knows what to do.
        raise
    except OSError as error:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"{error.filename} cannot be written ({error.strerror}); mend that and run this again.",
        ) from None
    click.echo(UNDO)
    say("Next: gpuadmin doctor && systemctl enable --now gpu-gateway")


def _target(root: Path) -> Target:
    programs = Path(sys.executable).parent
    refuse_foreign(CHECKOUT, programs.resolve(), Path(gateway.__file__).parent)
    missing = [name for name in PROGRAMS if not (programs / name).exists()]
    if missing:
        raise PlatformError(
            Code.UNAVAILABLE, f"{programs} has no {missing[0]}; run: ./dev run gpuadmin doctor"
        )
    there = root / CONFIG
    state = config.load(there, environ={}).state if there.exists() else config.STATE
    return Target(root, programs, state)


def refuse_foreign(*folders: Path) -> None:
    """Raise PlatformError(DENIED) unless root alone decides what is in each of these folders."""
    for path in folders:
        seen = path.stat()
        if seen.st_uid != 0 or seen.st_mode & stat.S_IWOTH:
            raise PlatformError(
                Code.DENIED,
                f"{path} does not belong to root alone, and root would run what is in it; move the checkout "
                f"to /opt and make it root's with: chown -R root:root {CHECKOUT}",
            )


def _install(target: Target) -> Iterator[str]:
    yield _group(target, OPERATORS, "whose members use gpuadmin while the gateway runs")
    yield _group(target, ACCOUNT, "of the workers")
    yield _account(target)
    yield _directory(target, CONFIG.parent, 0o755)
    yield _file(target, CONFIG, "config.toml", 0o640, keep=True)
    state = Path(str(target.state).lstrip("/"))
    yield _directory(target, state, 0o750)
    for path in (CONFIG, state):
        os.chown(target.root / path, 0, _number(target, OPERATORS))
    yield _file(target, UNIT, "gpu-gateway.service", 0o644)
    yield _file(target, ROTATION, "logrotate", 0o644)
    for name in PROGRAMS:
        yield _link(target, COMMANDS / name, target.programs / name)
    if target.live and Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        yield "told systemd"


def _group(target: Target, name: str, what: str) -> str:
    if _entry(target, "group", name):
        return f"kept the group {name}"
    _run("groupadd", "--system", *_prefix(target), name)
    return f"made the group {name}, {what}"


def _account(target: Target) -> str:
    if _entry(target, "passwd", ACCOUNT):
        return f"kept the account {ACCOUNT}"
    home = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    _run("useradd", "--system", *_prefix(target), "--gid", ACCOUNT, *home, ACCOUNT)
    return f"made the account {ACCOUNT}, which the workers run as"


def _entry(target: Target, database: str, name: str) -> bool:
    """Whether there is such an account or group; on this machine also in its directory service."""
    if target.live:
        asked = subprocess.run(["getent", database, name], stdout=subprocess.DEVNULL, check=False)
        return asked.returncode == 0
    lines = (target.root / "etc" / database).read_text().splitlines()
    return any(line.startswith(f"{name}:") for line in lines)


def _number(target: Target, group: str) -> int:
    """The gid of a group that is there."""
    if target.live:
        return grp.getgrnam(group).gr_gid
    lines = (target.root / "etc" / "group").read_text().splitlines()
    return next(int(line.split(":")[2]) for line in lines if line.startswith(f"{group}:"))


def _prefix(target: Target) -> list[str]:
    return [] if target.live else ["--prefix", str(target.root)]


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PlatformError(
            Code.UNAVAILABLE, f"There is no {command[0]}; install Debian's package passwd."
        ) from None
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise PlatformError(Code.UNAVAILABLE, f"{command[0]} failed: {reason[0]}")


def _directory(target: Target, path: Path, mode: int) -> str:
    there = target.root / path
    if there.is_dir():
        return f"kept /{path}"
    there.mkdir(parents=True)
    there.chmod(mode)
    return f"made /{path}"


def _file(target: Target, path: Path, template: str, mode: int, keep: bool = False) -> str:
    there = target.root / path
    if keep and there.exists():
        return f"kept /{path}"
    text = (CHECKOUT / "deploy" / template).read_text()
    words = {"@PROGRAM@": target.programs / "gpu-gateway", "@STATE@": target.state, "@CHECKOUT@": CHECKOUT}
    for word, value in words.items():
        text = text.replace(word, str(value))
    if there.exists() and there.read_text() == text:
        return f"kept /{path}"
    verb = "replaced" if there.exists() else "wrote"
    there.parent.mkdir(parents=True, exist_ok=True)
    fresh = there.with_name(f".{there.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(there)
    return f"{verb} /{path}"


def _link(target: Target, path: Path, program: Path) -> str:
    there = target.root / path
    if there.is_symlink() and os.readlink(there) == str(program):
        return f"kept /{path}"
    if there.exists() and not there.is_symlink():
        return f"left /{path} alone, which is not ours; call {program} by its whole path"
    there.parent.mkdir(parents=True, exist_ok=True)
    there.unlink(missing_ok=True)
    there.symlink_to(program)
    return f"linked /{path} to {program}"
