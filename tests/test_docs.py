"""The texts keep their word: every command explains itself, and nothing names what is not there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from admin.main import cli as gpuadmin
from gateway.config import parse_listen
from gateway.main import main as gateway

ROOT = Path(__file__).resolve().parent.parent


def commands(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command of a program that is no group itself, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


COMMANDS = dict([*commands(gpuadmin, "gpuadmin"), *commands(gateway, "gpu-gateway")])


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_has_help_with_an_example_of_itself(words: str) -> None:
    text = COMMANDS[words].help or ""
    assert re.search(rf"Example[s]?:\s+(sudo )?{re.escape(words)}\b", text), text


def test_the_readme_names_only_files_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    named = re.findall(r"`((?:gateway|admin|images|tests|docs)/[\w/.-]+)`|\]\(([\w/.-]+)\)", readme)
    paths = ["".join(pair) for pair in named]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_readme_calls_only_commands_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    called = re.findall(r"^(?:\$ )?(?:\./dev run )(gpuadmin [a-z-]+(?: [a-z-]+)?)", readme, re.MULTILINE)
    assert called
    for words in called:
        assert words in COMMANDS or words.rsplit(" ", 1)[0] in COMMANDS, words


def test_the_readme_has_three_ways_to_port_22() -> None:
    section = (ROOT / "README.md").read_text().partition("## Port 22\n")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d\. \*\*", section, re.MULTILINE)) == 3
    addresses = re.findall(r"--listen ([\d.:]+\d)", section)
    assert [parse_listen(address).port for address in addresses] == [22, 22]


def test_the_licence_and_the_changes_are_there() -> None:
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    assert re.search(r"^- \S", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("words", [[], ["nothing"], ["up", "--listen"], ["up", "--nothing", "1"], ["run"]])
def test_dev_explains_itself_when_it_is_called_wrongly(words: list[str]) -> None:
    done = subprocess.run([ROOT / "dev", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    for command in ("up", "down", "run", "test", "lint", "bench"):
        assert f"./dev {command} " in done.stderr or f"./dev {command}\n" in done.stderr
