"""A real editor's server, code-server of npm, as one file to upload into a container.

Owns how it is built: npm runs no script of a package but the compilations that the server cannot do without.
"""

from __future__ import annotations

import shutil
import tarfile
from functools import cache
from pathlib import Path

from tests.support.stacks import tools

LOCK = tools.HERE / "editor"
BOOTSTRAP = LOCK / "bootstrap.sh"
QUIET = ("--no-audit", "--no-fund")
COMPILED_OF_VSCODE = ("node-pty", "@vscode/spdlog", "native-watchdog")


@cache
def archive() -> Path:
    """A tar file with `node` and `node_modules/code-server`, for Debian 12 on this machine's processor."""
    sources = [LOCK / "package.json", LOCK / "package-lock.json", Path(__file__)]
    return tools.made("editor", sources, _build) / "server.tar"


def _build(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(LOCK / name, folder)
    tools.npm(folder, "ci", "--ignore-scripts", "--omit=dev", *QUIET)
    tools.npm(folder, "rebuild", "argon2")
    vscode = folder / "node_modules" / "code-server" / "lib" / "vscode"
    # Its own lock file lacks a package of its own list, so `npm ci` refuses it.
    tools.npm(vscode, "install", "--ignore-scripts", "--omit=dev", "--no-save", *QUIET)
    for name in COMPILED_OF_VSCODE:
        tools.node_gyp(vscode / "node_modules" / name)
    (vscode / "node_modules.asar").symlink_to("node_modules")
    search = vscode / "node_modules" / "@vscode" / "ripgrep" / "bin"
    search.mkdir(exist_ok=True)
    shutil.copy("/usr/bin/rg", search)
    with tarfile.open(folder / "server.tar", "w") as tar:
        tar.add(tools.node_home() / "bin" / "node", "node")
        tar.add(folder / "node_modules", "node_modules", filter=_needed)


def _needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Neither maps of sources nor what compilers left; nothing of who built it."""
    if member.name.endswith(".map") or "obj.target" in member.name:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
