"""A whole gateway for the stories: its process, its operator, its people with OpenSSH's own clients.

Everything is real: `gpu-gateway serve` as root, a Docker engine, `gpuadmin` as a program, ssh. Owns what
it starts, and removes all of it.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.config import this_machine
from gateway.docker.sweep import remove_all
from gateway.sqlite.store import Store
from gateway.users import UidRange

SECONDS = 60.0

_SSH_CONFIG = """\
Host gw
  HostName {host}
  Port {port}
  User {user}
  IdentityFile {key}
  IdentitiesOnly yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile {known}
  LogLevel ERROR
  BatchMode yes
"""


def ssh_config(host: str, port: int, user: str, folder: Path) -> str:
    """The config in which a server is `gw`, for a user whose key and known hosts lie in `folder`."""
    key, known = folder / "id", folder / "known_hosts"
    return _SSH_CONFIG.format(host=host, port=port, user=user, key=key, known=known)


def wait_for(true: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The first true value of `true()`; an AssertionError that says `what` never came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = true()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds} seconds")


@dataclass
class Person:
    """Somebody with a key and OpenSSH's clients. `gw` is the gateway's name in her ssh config."""

    name: str
    folder: Path
    house: House

    @property
    def config(self) -> Path:
        """Her ssh config, for the port that the gateway listens on now."""
        path = self.folder / f"config-{self.house.port}"
        if not path.exists():
            path.write_text(ssh_config("127.0.0.1", self.house.port, self.name, self.folder))
        return path

    @property
    def public_key(self) -> Path:
        """Her key's .pub file."""
        return self.folder / "id.pub"

    def ssh(
        self, *words: str | bytes, stdin: bytes = b"", options: Sequence[str] = (), seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[bytes]:
        """`ssh gw WORDS` with `stdin`, ended after `seconds`."""
        return subprocess.run(
            ["ssh", "-F", self.config, *options, "gw", *words],
            input=stdin,
            capture_output=True,
            timeout=seconds,
        )

    def start(self, *words: str, options: Sequence[str] = (), **popen: Any) -> subprocess.Popen[bytes]:
        """The same, left running, with pipes on all three streams."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(["ssh", "-F", self.config, *options, "gw", *words], **{**pipes, **popen})


@dataclass
class House:
    """One gateway on its own state directory and address pool. `environment` reaches its programs.

    `settings` is the rest of its config file.
    `launcher` is a command that becomes the gateway, such as one that takes rights away first.
    """

    folder: Path
    image: str
    pool: str
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    workers: int = 2
    launcher: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    people: dict[str, Person] = field(default_factory=dict)
    settings: str = ""

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        self.log = self.folder / "gateway.log"
        (self.folder / "config.toml").write_text(
            f'[network]\npool = "{self.pool}"\n[metrics]\nlisten = "off"\n{self.settings}'
        )
        self.environment = {
            **self.environment,
            "GPU_GATEWAY_STATE": str(self.state),
            "GPU_GATEWAY_CONFIG": str(self.folder / "config.toml"),
        }
        with self.store() as store:
            self.instance = store.instance()
            store.add_image(
                name="base",
                version="test",
                flavour="",
                ref=self.image,
                digest=self._image_id(),
                actor="test",
                now=datetime.now(UTC),
            )

    def store(self) -> Any:
        """The store, to be used in a `with` block."""
        from contextlib import closing

        return closing(Store.open(self.state, this_machine(), UidRange()))

    def start(self) -> None:
        """Start the gateway and wait until it takes connections, at the port that it had before."""
        lines = len(self.events())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.launcher,
                    sys.executable,
                    "-m",
                    "gateway.main",
                    "serve",
                    f"--listen=127.0.0.1:{self.port}",
                    f"--workers={self.workers}",
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        ready = wait_for(lambda: self._ready(lines), "a ready gateway")
        self.port = int(ready["listen"].rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the gateway with a signal and wait for its end."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def close(self) -> None:
        """End the gateway and remove everything that it made outside its folder."""
        self.stop()
        remove_all(self.instance, self.environment.get("DOCKER_HOST"))

    def events(self) -> list[dict[str, Any]]:
        """What the gateway logged; lines that are not its own JSON, or not whole yet, are left out."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def admin(
        self, *words: str, stdin: str = "", status: int | None = 0, seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """`gpuadmin WORDS`; `status` is asserted unless it is None."""
        ended = subprocess.run(
            [sys.executable, "-c", "from admin.main import main; main()", *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert status is None or ended.returncode == status, (words, ended)
        return ended

    def listed(self, *words: str) -> list[dict[str, Any]]:
        """What a listing's --json shows."""
        found: list[dict[str, Any]] = json.loads(self.admin(*words, "--json").stdout)
        return found

    def person(self, name: str) -> Person:
        """Somebody with a key, whom the gateway does not know."""
        folder = self.folder / f"person-{name}-{secrets.token_hex(2)}"
        folder.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id"], check=True)
        return Person(name, folder, self)

    def add(self, name: str) -> Person:
        """A user with her key, whom a running gateway has heard of."""
        person = self.people[name] = self.person(name)
        before = len(self.events())
        self.admin("user", "add", name, "--key", str(person.public_key))
        if self.process is not None:
            wait_for(lambda: self.heard_of(name, before), f"{name} in the gateway")
        return person

    def heard_of(self, name: str, before: int) -> bool:
        """Whether the gateway took in a change of this user after its log had `before` events."""
        events = [event for event in self.events()[before:] if event["event"] == "accounts"]
        return any(name in event["changed"] + event["gone"] for event in events)

    def docker(self, *words: str) -> str:
        """What `docker WORDS` prints, of the engine of this gateway."""
        return subprocess.run(
            ["docker", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        ).stdout.strip()

    def containers(self) -> list[str]:
        """Ids of this gateway's running containers."""
        label = f"label=io.gpu-gateway.instance={self.instance}"
        return self.docker("ps", "-q", "--no-trunc", "--filter", label).split()

    def processes(self) -> list[int]:
        """The pids of the broker and its workers, the broker's first."""
        assert self.process is not None
        return [self.process.pid, *self.workers_pids()]

    def workers_pids(self) -> list[int]:
        """The pids of the worker processes."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [
            int(pid) for pid in children if b"gateway.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def _ready(self, after: int) -> dict[str, Any] | None:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-2000:]
        return next((event for event in self.events()[after:] if event["event"] == "ready"), None)

    def _image_id(self) -> str:
        return self.docker("image", "inspect", "-f", "{{.Id}}", self.image)
