"""The images that tests and measurements run on, made by the product's recipe as it is now.

Owns when one is built again: when the recipe's digest is not the one that the held image names. They stay in
the engine, for building takes most of a minute and the next run wants them again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

BASE, ORACLE = "gpu-gateway/base:dev", "gpu-gateway/oracle:dev"
_RECIPE = Path(__file__).resolve().parents[2] / "images" / "base"
_LABEL = '{{index .Config.Labels "org.opencontainers.image.revision"}}'


def base() -> str:
    """The reference of the base image."""
    _have(_RECIPE, BASE)
    return BASE


def oracle() -> str:
    """The reference of the same with one Debian package more: OpenSSH's server."""
    folder = Path(tempfile.mkdtemp(prefix="oracle-"))
    try:
        recipe = shutil.copytree(_RECIPE, folder / "base")
        with (recipe / "packages").open("a") as packages:
            packages.write("openssh-server\n")
        _have(recipe, ORACLE)
    finally:
        shutil.rmtree(folder)
    return ORACLE


def _have(recipe: Path, ref: str) -> None:
    script = recipe / "build.sh"
    revision = subprocess.run([script, "--revision"], capture_output=True, text=True, check=True)
    held = subprocess.run(["docker", "image", "inspect", "-f", _LABEL, ref], capture_output=True, text=True)
    if held.stdout.strip() != revision.stdout.strip():
        _build([str(script), ref])


def _build(command: list[str]) -> None:
    """Run a recipe; a test that is given up takes the recipe's own programs down."""
    with subprocess.Popen(command, start_new_session=True) as build:
        try:
            status = build.wait(600)
        except BaseException:
            os.killpg(build.pid, signal.SIGTERM)
            build.wait(60)
            raise
    assert status == 0, f"{command} ended with {status}"
