"""What every test may ask for: the base image in the engine. Owns no policy of the product."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def base_image() -> str:
    """The reference of a base image made by the recipe as it is now; built when the engine has none.

    It stays in the engine: building takes most of a minute and the next run wants it again.
    """
    ref = "gpu-gateway/base:dev"
    recipe = ROOT / "images" / "base" / "build.sh"
    revision = subprocess.run(
        [recipe, "--revision"], capture_output=True, text=True, check=True
    ).stdout.strip()
    label = '{{index .Config.Labels "org.opencontainers.image.revision"}}'
    held = subprocess.run(["docker", "image", "inspect", "-f", label, ref], capture_output=True, text=True)
    if held.stdout.strip() != revision:
        subprocess.run([recipe, ref], check=True, timeout=600)
    return ref
