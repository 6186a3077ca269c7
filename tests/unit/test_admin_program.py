"""gpuadmin as a process: help with an example everywhere, and a state directory from the environment."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import click
import pytest

from admin.main import cli
from tests.support.command_lines import parse
from tests.support.nvidia import state as nvidia
from tests.support.stores import key_line

ROOT = Path(__file__).parent.parent.parent


def commands(
    group: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(command, (*path, name))


ALL = list(commands(cli))


def gpuadmin(
    state: Path, *words: str, input: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from admin.main import main; main()", *words],
        cwd=ROOT,
        env={**os.environ, "GPU_GATEWAY_STATE": str(state), **(env or {})},
        input=input,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "gpuadmin" for path, _ in ALL])
def test_every_command_has_help_with_an_example_that_parses(
    path: tuple[str, ...], command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.help is not None
    assert len(command.help.split("\n")[0]) > 10
    _, _, examples = command.help.partition("Example:\n")
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    assert lines
    for line in lines:
        typed = line.partition("gpuadmin ")[2].replace("/srv/wheels", str(tmp_path))
        words = shlex.split(typed, comments=True)
        assert tuple(words[: len(path)]) == path
        called = list(takewhile(lambda word: word not in ("|", "<", ">"), words))
        for word in called:
            if word.endswith((".pub", ".csv")):
                Path(word).touch()
        parse(cli, called)
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_every_list_has_json() -> None:
    for path, command in ALL:
        if path and path[-1] in ("list", "show", "leases"):
            assert "--json" in {name for option in command.params for name in option.opts}, path


def test_the_verbs_are_those_of_this_version() -> None:
    assert {" ".join(path) for path, command in ALL if not isinstance(command, click.Group)} == set(
        """allocate;extend;release;leases;why;top;reserve add;reserve list;reserve cancel;report;doctor;
        install;gpu list;gpu show;gpu drain;gpu undrain;gpu forget;
        group add;group list;group remove;group join;group leave;quota set;quota show;image list;image build;
        image add;image check;image pin;image promote;image rollback;image retire;
        image push;image pull;image prune;workspace list;
        workspace show;workspace start;workspace stop;workspace hand-over;workspace remove;
        workspace recreate;session list;session kill;key add;key list;key remove;key rotate;ca add;ca list;
        ca remove;ca revoke;user add;user list;user show;user disable;user enable;user remove;user enrol;
        user password;user totp;group totp""".replace("\n", "")
        .replace("  ", "")
        .split(";")
    )


def test_a_first_command_makes_the_state_directory(tmp_path: Path) -> None:
    state = tmp_path / "state"
    added = gpuadmin(state, "user", "add", "alice", "--key", "-", input=key_line("a"))
    assert (added.returncode, added.stderr) == (0, "")
    assert oct(state.stat().st_mode)[-3:] == "750"
    listed = gpuadmin(state, "user", "list", "--json")
    assert json.loads(listed.stdout)[0]["name"] == "alice"


def test_slices_are_listed_below_their_gpu_and_granted_by_their_profile(
    tmp_path: Path, stand_ins: Path
) -> None:
    state, first = tmp_path / "state", replace(nvidia.gpus(1)[0], mig=1)
    made = (nvidia.Slice("MIG-a", gi=7), nvidia.Slice("MIG-b", gi=8, start=4, used=3 << 30))
    nvidia.write(tmp_path / "gpus", [replace(first, slices=made)])
    env = {"LD_LIBRARY_PATH": str(stand_ins), "NVML_STAND_IN_STATE": str(tmp_path / "gpus")}
    gpuadmin(state, "user", "add", "alice", "--key", "-", input=key_line("a"))
    ids = [first.uuid, f"{first.uuid}/1g.10gb@0", f"{first.uuid}/1g.10gb@4"]
    shown = gpuadmin(state, "gpu", "list", env=env).stdout.splitlines()
    assert [line.split()[:2] for line in shown[1:]] == [
        ["0", ids[0]],
        ["0/1g.10gb@0", ids[1]],
        ["0/1g.10gb@4", ids[2]],
    ]
    assert ["divided" in line for line in shown[1:]] == [True, False, False]
    assert (
        gpuadmin(state, "allocate", "alice", "--gpus", "1", env=env).stderr.count(
            "0 that are not divided into MIG slices"
        )
        == 1
    )
    assert gpuadmin(state, "allocate", "alice", "--mig", "1g", env=env).returncode == 2
    assert gpuadmin(state, "allocate", "alice", "--mig", "2g.20gb", env=env).returncode == 1
    two = gpuadmin(state, "allocate", "alice", "--mig", "1g.10gb", "--gpus", "2", env=env)
    assert (two.returncode, two.stderr.count("\n")) == (2, 1)
    granted = gpuadmin(state, "allocate", "alice", "--mig", "1g.10gb", "--device", ids[2], env=env)
    assert "alice holds 1 slice of 1g.10gb" in granted.stdout
    (lease,) = json.loads(gpuadmin(state, "leases", "--json").stdout)
    assert (lease["devices"], lease["labels"], lease["profile"]) == ([ids[2]], ["0/1g.10gb@4"], "1g.10gb")
    (slice_,) = json.loads(gpuadmin(state, "gpu", "show", ids[2], "--json", env=env).stdout)
    assert (slice_["parent"], slice_["uuid"], slice_["memory"]) == (first.uuid, "MIG-b", 10 << 30)
    # Its own memory, and no utilization: NVIDIA's driver tells none of a slice.
    assert (slice_["used"], slice_["utilization"], slice_["user"]) == (3 << 30, None, "alice")


def test_gpus_are_found_by_the_driver_when_no_gateway_runs(tmp_path: Path, stand_ins: Path) -> None:
    state = tmp_path / "state"
    listed = gpuadmin(state, "gpu", "list", "--json", env={"LD_LIBRARY_PATH": str(stand_ins)})
    assert (listed.returncode, listed.stderr) == (0, "")
    gpus = json.loads(listed.stdout)
    assert [(gpu["index"], gpu["problem"], gpu["user"]) for gpu in gpus] == [
        (n, None, None) for n in range(4)
    ]
    assert gpus[0].keys() == {
        "id",
        "index",
        "label",
        "parent",
        "profile",
        "divided",
        "idle",
        "model",
        "memory",
        "node",
        "state",
        "reason",
        "problem",
        "drained",
        "unmanaged",
        "lease",
        "user",
        "expires_at",
        "utilization",
        "used",
        "processes",
    }
    assert (gpus[0]["utilization"], gpus[0]["used"], gpus[0]["processes"]) == (0, 0, [])
    shown = gpuadmin(state, "gpu", "show", gpus[1]["id"], env={"LD_LIBRARY_PATH": str(stand_ins)}).stdout
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines() if not line.startswith("link"))
    assert (lines["gpu"], lines["state"], lines["mig"]) == ("1 of local", "healthy", "off")
    assert (lines["pci"], lines["node"], lines["numa"]) == ("00000000:11:00.0", "/dev/nvidia1", "0")
    assert f"link          NODE to {gpus[3]['id']}\n" in shown
    # What config calls managed is all that is granted, and a first grant looks by itself.
    config = tmp_path / "config.toml"
    config.write_text(f'[gpus]\nmanage = ["{gpus[2]["id"]}"]\n')
    other = tmp_path / "other"
    gpuadmin(other, "user", "add", "alice")
    words = ("--config", str(config), "allocate", "alice", "--gpus", "1")
    granted = gpuadmin(other, *words, env={"LD_LIBRARY_PATH": str(stand_ins)})
    assert gpus[2]["id"] in granted.stdout
    assert len(json.loads(gpuadmin(other, "leases", "--json").stdout)) == 1


def test_an_error_is_one_line_and_a_status(tmp_path: Path) -> None:
    result = gpuadmin(tmp_path / "state", "allocate", "dave", "--gpus", "1.5")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    result = gpuadmin(tmp_path / "not there" / "state", "leases")
    assert (result.returncode, result.stdout) == (75, "")
    assert "mount or create it" in result.stderr


def test_a_reader_that_goes_away_is_no_error_message(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'from admin.main import main; main()' user list --json"
    result = subprocess.run(
        ["sh", "-c", f"{command} | true"],
        cwd=ROOT,
        env={**os.environ, "GPU_GATEWAY_STATE": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""


def test_a_terminal_that_knows_no_unicode_gets_escapes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    gpuadmin(state, "user", "add", "alice", "--key", "-", input=key_line("a", "李"))
    listed = subprocess.run(
        [sys.executable, "-c", "from admin.main import main; main()", "key", "list"],
        cwd=ROOT,
        env={**os.environ, "GPU_GATEWAY_STATE": str(state), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (listed.returncode, listed.stderr) == (0, "")
    assert r"\u674e" in listed.stdout
