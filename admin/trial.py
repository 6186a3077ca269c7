"""A throw-away workspace: an image, run by a gateway of its own, for a user whom nobody else knows.

Owns that user, her key and her ssh, and that all of it is gone afterwards. Must not know what is tried.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from admin import trying
from admin.acting import broker_runs
from admin.call import Call
from gateway.config import Config, this_machine
from gateway.devices import DeviceRequest
from gateway.docker.images import HeldImage
from gateway.errors import Code, PlatformError
from gateway.keys import parse_keys
from gateway.quotas import Owner
from gateway.sqlite.store import Store
from gateway.users import SiteAccount

_FOLDER = "trials"
_USER = "check"
_ACTOR = "image check"
_LOOK_EVERY = 0.1
_STARTED_WITHIN = 300.0
_ENDED_WITHIN = 120.0
_LATE = 124


@dataclass(frozen=True)
class Said:
    """What a program in the workspace said, and its exit status; 124 when it did not end in time."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Trial:
    """The workspace, while its gateway runs."""

    config: Config
    port: int
    gpus: int

    def run(self, command: str, program: bytes = b"", seconds: float = _STARTED_WITHIN) -> Said:
        """Run `command` as an ssh client would, with `program` on its stdin."""
        home = self.config.state
        options = [f"-oUserKnownHostsFile={home / 'known'}", "-oStrictHostKeyChecking=accept-new"]
        options += ["-oBatchMode=yes", "-oIdentitiesOnly=yes", "-oIdentityAgent=none", "-oLogLevel=ERROR"]
        words = ["ssh", "-F", "none", "-T", "-p", str(self.port), "-i", str(home / "id"), *options]
        try:
            ended = subprocess.run(
                [*words, f"{_USER}@127.0.0.1", command], input=program, capture_output=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return Said(_LATE, "", f"it did not end within {seconds:.0f} seconds")
        said, complained = (text.decode(errors="replace") for text in (ended.stdout, ended.stderr))
        return Said(ended.returncode, said, complained)

    def recreate(self) -> None:
        """Remove the container; the next program runs in a new one. Raises what went wrong."""
        with closing(_store(self.config)) as store:
            wanted = store.recreate_workspace(_USER, _ACTOR, datetime.now(UTC))
            deadline = time.monotonic() + _STARTED_WITHIN
            while (answer := store.answer(wanted)) is None:
                if time.monotonic() > deadline:
                    raise PlatformError(Code.UNAVAILABLE, "The container did not end; see gpuadmin doctor.")
                time.sleep(_LOOK_EVERY)
        if answer.error is not None:
            raise PlatformError(Code.UNAVAILABLE, answer.error)


@contextmanager
def trial(call: Call, image: HeldImage, gpus: Sequence[str] = ()) -> Iterator[Trial]:
    """A workspace of `image` with these GPUs, which no other gateway may be giving away meanwhile.

    Raises DENIED unless root calls, and UNAVAILABLE with the gateway's last words when it does not start.
    """
    if os.geteuid() != 0:
        raise PlatformError(
            Code.DENIED, "Only root can try an image, since a gateway is started for it; use sudo."
        )
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        raise PlatformError(
            Code.UNAVAILABLE, "The program ssh is missing; install the package openssh-client."
        )
    folders = call.config.state / _FOLDER
    _clear_old(call.config, folders)
    folders.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=folders))
    config = trying.settings(call.config, folder, trying.a_pool(), tuple(gpus))
    with _ours(folder):
        try:
            _people(config, image, gpus)
            with _gateway(call, config) as port:
                yield Trial(config, port, len(gpus))
        finally:
            trying.clear(config)
            # Another check may be going on beside this one.
            with suppress(OSError):
                folders.rmdir()


def command_line(program: str, environment: Mapping[str, str]) -> str:
    """The shell's words that run a program of this file name from stdin."""
    told = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    return f"{told} exec {'python3 -' if program.endswith('.py') else '/bin/sh -s'}".strip()


def _store(config: Config) -> Store:
    return Store.open(config.state, this_machine(), config.uids)


def _people(config: Config, image: HeldImage, gpus: Sequence[str]) -> None:
    """Make the database: one image, one user with a key and all of the machine."""
    key = config.state / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
    now, machine = datetime.now(UTC), this_machine()
    with closing(_store(config)) as store:
        store.add_image("check", image.version, image.flavour, image.ref, image.digest, _ACTOR, now)
        keys = parse_keys(key.with_suffix(".pub").read_text())
        store.add_user(_USER, keys, SiteAccount(), _ACTOR, now)
        quotas: dict[str, int | None] = {"cpus": machine.cores * 1000, "gpus": len(gpus)}
        store.set_quotas(Owner(user=_USER), quotas, _ACTOR, now)


def grant(found: Trial, gpus: Sequence[str]) -> None:
    """Give the workspace its GPUs once its gateway has seen them. Raises what a grant raises."""
    deadline = time.monotonic() + _STARTED_WITHIN
    with closing(_store(found.config)) as store:
        while not {device.id for device in store.devices()} >= set(gpus):
            if time.monotonic() > deadline:
                raise PlatformError(Code.UNAVAILABLE, "The GPUs do not show up; see gpuadmin gpu list.")
            time.sleep(_LOOK_EVERY)
        store.grant(_USER, DeviceRequest(len(gpus), tuple(gpus), None), None, _ACTOR, datetime.now(UTC))


@contextmanager
def _gateway(call: Call, config: Config) -> Iterator[int]:
    """Run the gateway during the block; its port. The end of its stdin ends it."""
    words = [sys.executable, "-m", "admin.trying", "--state", str(config.state), "--pool", str(config.pool)]
    words += [word for gpu in config.manage or () for word in ("--gpu", gpu)]
    if call.config_file is not None:
        words += ["--config", str(call.config_file)]
    log = config.state / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port:
            lines = log.read_text(errors="replace").splitlines() or ["it said nothing"]
            raise PlatformError(Code.UNAVAILABLE, f"The gateway for the check does not start: {lines[-1]}")
        yield int(port)
    finally:
        process.stdin.close()
        try:
            process.wait(_ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def _ours(folder: Path) -> Iterator[bool]:
    """Have a trial's folder to ourselves during the block; False when the check that it belongs to lives."""
    try:
        # Not the folder itself, which the store locks while it opens the database.
        descriptor = os.open(folder / "check.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        # Another check has just ended, and its folder with it.
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _clear_old(config: Config, folders: Path) -> None:
    """Clear what a check left that was killed together with its gateway."""
    for left in folders.glob("*"):
        with _ours(left) as ours:
            if ours and not broker_runs(left):
                trying.clear(trying.settings(config, left, trying.a_pool(), ()))
