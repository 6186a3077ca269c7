"""A recipe as that of the PyTorch image, with two small wheels in place of torch.

The recipe's own scripts run; only what they install is smaller. Owns its folders; must not assert.
"""

from __future__ import annotations

import ensurepip
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.wheels import write_wheel

ROOT = Path(__file__).resolve().parents[2]
ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "images" / "pytorch"
FACTS = """
["9.1-cpu"]
flavour = "cpu"
torch = "9.1"
python = "3.11.2"
min_driver = "525.60"
cudnn = "9.1.2"
nccl = "2.1.5"
lock = "cpu.txt"
"""


@dataclass
class Recipe:
    """A copy of the recipe with its own lock file, and where its wheels are."""

    folder: Path
    base: str
    ref: str = field(default_factory=lambda: f"gpu-gateway-test/{secrets.token_hex(4)}:9.1-cpu")

    def __post_init__(self) -> None:
        self.wheels, self.tmp = self.folder / "wheels", self.folder / "tmp"
        self.recipe = self.folder / "recipe"
        self.wheels.mkdir()
        self.tmp.mkdir()
        shutil.copytree(RECIPE, self.recipe)
        shutil.copy(_pip(), self.wheels)
        write_wheel(self.wheels, "tiny", "1.0", {"tiny.py": "def answer():\n    return 42\n"})
        self.lock(*self.wheels.iterdir())
        (self.recipe / "versions.toml").write_text(FACTS)
        (self.recipe / "smoke.py").write_text("import tiny\nassert tiny.answer() == 42\n")

    def lock(self, *wheels: Path) -> None:
        """Make the lock file name exactly these wheels."""
        lines = []
        for wheel in wheels:
            name, version = wheel.name.split("-")[:2]
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
        (self.recipe / "cpu.txt").write_text("".join(lines))

    def grow(self) -> None:
        """Make a wheel 16 MiB large."""
        with zipfile.ZipFile(self.wheels / "tiny-1.0-py3-none-any.whl", "a") as wheel:
            wheel.writestr("tiny_data", os.urandom(16 << 20))
        self.lock(*self.wheels.iterdir())

    def environment(self, **more: str) -> dict[str, str]:
        """A recipe's environment: pip knows no place but the folder of wheels."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        return {
            **inherited,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_RETRIES": "0",
            "GPU_GATEWAY_PIP_INDEX_URL": (self.folder / "nothing").as_uri(),
            "GPU_GATEWAY_BASE_IMAGE": self.base,
            "GPU_GATEWAY_PYTHON": sys.executable,
            "GPU_GATEWAY_PIP_FIND_LINKS": str(self.wheels),
            "TMPDIR": str(self.tmp),
            **more,
        }

    def start(self, ref: str | None = None, **more: str) -> subprocess.Popen[str]:
        """`build.sh REF`, left running in a group of its own."""
        return subprocess.Popen(
            [self.recipe / "build.sh", ref or self.ref],
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, ref: str | None = None, **more: str) -> tuple[int, str]:
        """The same, to its end: its status and all it said."""
        with self.start(ref, **more) as process:
            said, _ = process.communicate(timeout=100)
            return process.returncode, said

    def labels(self) -> dict[str, str]:
        """The labels of what was built."""
        found: dict[str, str] = json.loads(
            docker("image", "inspect", "-f", "{{json .Config.Labels}}", self.ref)
        )
        return found

    def traces(self) -> list[str]:
        """What of a build is left: files and containers."""
        names = docker("ps", "-a", "--filter", "name=gpu-gateway-build-", "--filter", f"ancestor={self.base}")
        return [*map(str, self.tmp.iterdir()), *names.splitlines()[1:]]


def _pip() -> Path:
    """A wheel of pip: Python's own, which Debian's and Ubuntu's keep in a folder beside it."""
    elsewhere = sysconfig.get_config_var("WHEEL_PKG_DIR")
    folder = Path(elsewhere) if elsewhere else Path(ensurepip.__file__).parent / "_bundled"
    return next(folder.glob("pip-*.whl"))


def docker(*words: str, check: bool = True) -> str:
    """What `docker WORDS` prints."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=check).stdout.strip()
