"""What the README tells people to type works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.house import House

_README = (ROOT / "README.md").read_text()


def _blocks() -> list[list[str]]:
    """The commands of each sh block."""
    return [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", _README, re.DOTALL)]


def test_the_operators_day_runs_from_top_to_bottom(lab: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `./dev run gpuadmin` line, in order, in a folder with the file that it names."""
    person = lab.person("alice")
    (lab.folder / "alice.pub").write_bytes(person.public_key.read_bytes())
    monkeypatch.chdir(lab.folder)
    commands = next(block for block in _blocks() if any("gpuadmin" in line for line in block))
    assert len(commands) == 5
    for line in commands:
        words = shlex.split(line)
        assert words[:3] == ["./dev", "run", "gpuadmin"]
        lab.admin(*words[3:])
        if words[3] == "allocate":
            assert person.ssh("nvidia-smi -L").stdout.count(b"GPU-") == 1


def test_the_two_commands_are_the_ones_that_dev_knows() -> None:
    """`./dev up` and `./dev test`."""
    usage = (ROOT / "dev").read_text()
    for line in ("./dev up", "./dev test"):
        assert [line] in _blocks()
        assert " ".join(line.split()[:2]) in usage


def test_every_file_that_the_readme_names_is_there() -> None:
    """The newcomer's path has no dead end."""
    named = set(re.findall(r"`((?:gateway|docs|admin)/[\w./]+)`", _README)) | set(
        re.findall(r"\]\((docs/[\w.]+)\)", _README)
    )
    assert len(named) >= 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_map_names_every_module() -> None:
    """gateway/__init__.py is the map: nothing at the root of the package is missing from it."""
    text = (ROOT / "gateway" / "__init__.py").read_text()
    modules = {path.stem for path in Path(ROOT / "gateway").glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in Path(ROOT / "gateway").glob("*/__init__.py")}
    assert sorted(name for name in modules | folders if not re.search(rf"\b{name}\b", text)) == []
