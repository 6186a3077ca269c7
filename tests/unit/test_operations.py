"""The pages for operators: our programs understand each command and the config."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from admin.main import cli as gpuadmin
from gateway import config
from gateway.main import main as gateway
from tests.conftest import ROOT
from tests.support.command_lines import parse
from tests.support.stores import add_people, open_store

PAGES = ("authentication.md", "gpus.md", "operations.md")
TEXT = "\n".join((ROOT / "docs" / name).read_text() for name in PAGES)
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line]
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
INLINE = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", PROSE)]
PROGRAMS = {"gpuadmin": gpuadmin, ".venv/bin/gpuadmin": gpuadmin, "gpu-gateway": gateway}
OURS = sorted({line for line in [*LINES, *INLINE] if line.partition(" ")[0] in PROGRAMS and " " in line})


@pytest.mark.parametrize("line", OURS)
def test_our_commands_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line.replace("/srv/wheels", str(tmp_path)))
    for word in words:
        if word.endswith((".pub", ".csv")):
            Path(word).touch()
    if words[1:] == ["session", "kill"]:
        words.append("a1b2c3d4")
    parse(PROGRAMS[words[0]], words[1:])


def test_the_table_for_the_night_has_a_command_in_each_row() -> None:
    rows = TEXT.partition("\n## At 3 a.m.\n")[2].strip().splitlines()[2:]
    assert len(rows) > 10
    for row in rows:
        symptom, command, meaning = (cell.strip() for cell in row.strip("|").split("|"))
        assert symptom
        assert re.fullmatch(r"`[^`]+`", command), row
        assert meaning.endswith("."), row


@pytest.mark.parametrize("block", BLOCKS)
def test_a_shell_understands_every_block(block: str) -> None:
    done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_config_in_it_is_understood() -> None:
    found = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert found
    for text in found:
        assert config.parse(tomllib.loads(text))


def test_the_files_that_it_names_exist() -> None:
    named = [code for code in INLINE if re.fullmatch(r"(docs|deploy|gateway)/[\w/.-]+", code)]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_backup_of_a_running_store_is_whole(tmp_path: Path) -> None:
    """The night's command, over a database that is open and has its last words in the write-ahead log."""
    with closing(open_store(tmp_path / "state")) as store:
        add_people(store, "alice")
        (tmp_path / "backup").mkdir()
        command = [
            "sqlite3",
            tmp_path / "state" / "gateway.db",
            f".backup {tmp_path / 'backup' / 'gateway.db'}",
        ]
        subprocess.run(command, check=True)
    with closing(open_store(tmp_path / "backup", check=True)) as restored:
        assert [user.name for user in restored.users()] == ["alice"]
