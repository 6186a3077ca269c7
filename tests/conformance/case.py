"""One case: what a client does, as data, and how two servers' answers are compared.

Owns the transcript. Must not know where the servers come from.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 100.0
"""A case's own deadline, within the test's."""

# The key exchange that both sides would not choose takes most of the time of a short case, on sshd's side.
_QUICK = "-o KexAlgorithms=curve25519-sha256"

_PRELUDE = """\
until_ok() { for _ in $(seq 300); do "$@" && return; sleep 0.1; done; echo "gave up: $*"; return 1; }
free_port() { python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'; }
outside() { touch now; until_ok test -e done; }
listens() { grep -qi ":$(printf %04X "$1") 00000000:0000 0A" /proc/net/tcp; }
"""


@dataclass(frozen=True)
class Case:
    """A row of the suite.

    `script` is bash, run in an empty folder where `ssh`, `scp` and `sftp` know the host `gw`; or `play` is
    the same in Python. `shows` is a pattern that the oracle's transcript must match: what shows nothing
    proves nothing. `hides` are patterns that are blotted out on both sides. Where the two must differ,
    `ours` is the pattern that the gateway's transcript matches, and `why` says why. A case that changes
    what every login does is played `alone`, after all others.
    """

    name: str
    script: str = ""
    shows: str = ""
    hides: tuple[str, ...] = ()
    ours: str = ""
    why: str = ""
    play: Callable[[Side], str] | None = None
    slow: bool = False
    alone: bool = False

    def __post_init__(self) -> None:
        assert bool(self.ours) == bool(self.why), self.name
        assert bool(self.script) != bool(self.play), self.name
        assert self.shows, self.name


@dataclass(frozen=True)
class Side:
    """One server, as a person's ssh config knows it. `sshd` is OpenSSH's own with its libraries, in a tar.

    `cool` ends what can be started anew for the next login; `restart` starts the server anew and returns
    when that has begun.
    """

    name: str
    config: Path
    host: str
    port: int
    key: Path
    known: Path
    sshd: Path
    cool: Callable[[], object]
    restart: Callable[[], object]

    def answer(self, case: Case) -> str:
        """What came of the case: its status, stdout and stderr, with what must differ blotted out."""
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
            said = case.play(self) if case.play is not None else self._run(case.script, Path(folder))
            said = said.replace(folder, "<folder>")
        for own, word in ((self.host, "<host>"), (str(self.port), "<port>")):
            said = re.sub(rf"(?<![\w.]){re.escape(own)}(?![\w.])", word, said)
        for pattern in case.hides:
            said = re.sub(pattern, "<hidden>", said, flags=re.MULTILINE)
        return said

    def prepare(self) -> None:
        """Write its tools. Before any thread starts: a program that is being written cannot be run."""
        self.tools.mkdir()
        for tool in ("ssh", "scp", "sftp"):
            file = self.tools / tool
            file.write_text(f'#!/bin/sh\nexec /usr/bin/{tool} -F {self.config} {_QUICK} "$@"\n')
            file.chmod(0o755)

    @property
    def tools(self) -> Path:
        """Where its `ssh`, `scp` and `sftp` are."""
        return self.config.parent / "tools"

    def meanwhile(self, act: Callable[[], object], script: str) -> str:
        """What comes of a script in which `outside` says that now is the time to act, and waits for it."""
        with tempfile.TemporaryDirectory(prefix="conformance-") as name, ThreadPoolExecutor(1) as pool:
            folder = Path(name)
            running = pool.submit(self._run, script, folder)
            while not (folder / "now").exists() and not running.done():
                time.sleep(0.02)
            act()
            (folder / "done").touch()
            return running.result().replace(name, "<folder>")

    def _run(self, script: str, folder: Path) -> str:
        ended = run(["bash", "-c", _PRELUDE + script], folder, self._environment(folder))
        return f"status {ended.returncode}\n---\n{readable(ended.stdout)}---\n{readable(ended.stderr)}"

    def _environment(self, folder: Path) -> Mapping[str, str]:
        known = {"HOST": self.host, "PORT": str(self.port), "CONFIG": str(self.config)}
        known |= {"KEY": str(self.key), "KNOWN": str(self.known), "PROGRAMS": str(PROGRAMS)}
        return {
            "SSHD": str(self.sshd),
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm",
            **known,
        }


def run(words: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a program and, when it has ended, whatever it left in its process group."""
    with (folder / ".out").open("w+b") as out, (folder / ".err").open("w+b") as err:
        program = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            program.wait(SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        return subprocess.CompletedProcess(
            words, program.returncode, (folder / ".out").read_bytes(), (folder / ".err").read_bytes()
        )


def readable(raw: bytes) -> str:
    """Text of bytes, nothing lost."""
    return raw.decode("utf-8", "backslashreplace")
