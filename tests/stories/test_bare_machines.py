"""What `./dev` installs on a machine that has next to nothing, read off a container without a network.

Whole bare machines were tried by hand: docs/operations.md says which.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

UBUNTU_22 = 'NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nUBUNTU_CODENAME=jammy\n'
DEBIAN_12 = 'NAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\nVERSION_CODENAME=bookworm\n'


@pytest.mark.parametrize(
    ("release", "package"),
    [(UBUNTU_22, "python3.11-venv"), (DEBIAN_12, "python3-venv")],
    ids=["Ubuntu 22.04", "Debian 12"],
)
def test_a_python_that_is_new_enough_is_asked_for(
    base_image: str, tmp_path: Path, release: str, package: str
) -> None:
    """The image's own Python is hidden behind one that does nothing, and apt sees its package installed."""
    (tmp_path / "os-release").write_text(release)
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    container = ["docker", "run", "--rm", "--network", "none", "--workdir", "/checkout"]
    files = ["-v", f"{ROOT / 'dev'}:/checkout/dev:ro", "-v", f"{tmp_path}/os-release:/etc/os-release:ro"]
    files += ["-v", f"{tmp_path}/python:/usr/bin/python3.11:ro"]
    for name in ("requirements.txt", "setup.cfg", "pyproject.toml"):
        files += ["-v", f"{ROOT / name}:/checkout/{name}:ro"]
    done = subprocess.run(
        [*container, *files, base_image, "./dev", "lint"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1
    assert f"installing system packages: {package}\n" in done.stdout
    assert done.stderr.splitlines()[-1] == (
        "dev: Python 3.11 or newer, with its venv module, is needed; install one and run this again."
    )
