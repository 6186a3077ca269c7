"""Rows that are commands of OpenSSH's own clients: logins, executions, transfers.

Owns what is run. Must not know how it is timed.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figures import Row
from tests.bench.sides import Side, Sides
from tests.bench.timing import Work, command, in_turn

GIBIBYTE = 1 << 30


def login(sides: Sides) -> list[Row]:
    """A whole `ssh host true` with a warm container."""
    pairs = in_turn(command(sides.ours.ssh("true")), command(sides.theirs.ssh("true")), 15)
    return [Row("`ssh host true`, warm", "sshd", "s", *pairs, 0.5)]


def execution(sides: Sides) -> list[Row]:
    """The same on an open connection, against sshd and against the engine's exec."""
    with _open(sides, sides.ours) as ours, _open(sides, sides.theirs) as theirs:
        against = in_turn(command(ours), command(theirs), 30)
        engine = command(["docker", "exec", sides.container(), "true"])
        inside = in_turn(command(ours), engine, 20)
    return [
        Row("`true` on an open connection", "sshd", "s", *against, 1.0),
        Row("`true` on an open connection", "docker exec", "s", *inside, 0.15),
    ]


def cold(sides: Sides) -> list[Row]:
    """From a stopped container to the end of `true`."""

    def stopped() -> None:
        sides.house.admin("workspace", "stop", "alice")

    run = command(["docker", "run", "--rm", sides.image, "true"])
    pairs = in_turn(command(sides.ours.ssh("true")), run, 7, before=stopped)
    return [Row("cold: stopped container to first output", "docker run", "s", *pairs, 1.2)]


def bulk(sides: Sides) -> list[Row]:
    """1 GiB each way through an execution."""
    file = str(sides.quiet_file("gibibyte", GIBIBYTE))
    down = [command(side.ssh(f"head -c {GIBIBYTE} /dev/zero")) for side in (sides.ours, sides.theirs)]
    up = [command(side.ssh("cat > /dev/null"), file) for side in (sides.ours, sides.theirs)]
    return [
        Row("1 GiB down through exec", "sshd", "s", *in_turn(down[0], down[1], 3), 0.8),
        Row("1 GiB up through exec", "sshd", "s", *in_turn(up[0], up[1], 3), 0.65),
    ]


def files(sides: Sides) -> list[Row]:
    """sftp of one big file, scp and rsync of many small ones."""
    file = sides.quiet_file("gibibyte", GIBIBYTE)
    for side in (sides.ours, sides.theirs):
        side.run(f"head -c {GIBIBYTE} /dev/zero > zero")
    few, many = _tree(sides, 1_000), _tree(sides, 10_000)
    rows = [
        ("sftp get 1 GiB", lambda side: command(["sftp", *side.client, "gw:zero", "/dev/null"])),
        ("sftp put 1 GiB", lambda side: _put(sides, side, file)),
        ("scp 1,000 small files", lambda side: command(["scp", "-qr", *side.client, str(few), "gw:few"])),
        ("rsync 10,000 files", lambda side: _rsync(side, many)),
    ]
    made = [Row(work, "sshd", "s", *in_turn(of(sides.ours), of(sides.theirs), 3), 0.9) for work, of in rows]
    for side in (sides.ours, sides.theirs):
        side.run("rm -rf zero put few many")
    return made


def _put(sides: Sides, side: Side, file: Path) -> Work:
    batch = sides.scratch / "batch"
    batch.write_text(f"put {file} put\n")
    return command(["sftp", *side.client, "-b", str(batch), "gw"])


def _rsync(side: Side, tree: Path) -> Work:
    shell = shlex.join(["ssh", *side.client])
    clean, copy = (
        command(side.ssh("rm -rf many")),
        command(["rsync", "-a", "-e", shell, str(tree), "gw:many"]),
    )

    def run() -> None:
        clean()
        copy()

    return run


def _tree(sides: Sides, number: int) -> Path:
    """A folder of files of 100 bytes, a hundred in each of its folders."""
    folder = sides.scratch / f"tree-{number}"
    if not folder.exists():
        for at in range(number):
            path = folder / str(at // 100) / str(at)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%099d\n" % at)
    return folder


@contextmanager
def _open(sides: Sides, side: Side) -> Iterator[list[str]]:
    """The command `true` on a connection that is open."""
    path = str(sides.scratch / f"control-{side.name}")
    options = ("-S", path)
    subprocess.run(side.ssh(options=("-fNM", *options)), check=True, stderr=subprocess.DEVNULL)
    try:
        yield side.ssh("true", options=options)
    finally:
        subprocess.run(side.ssh(options=("-q", "-O", "exit", *options)), stderr=subprocess.DEVNULL)


def clear(sides: Sides) -> None:
    """Give back the disk of the big files."""
    for path in sides.scratch.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
