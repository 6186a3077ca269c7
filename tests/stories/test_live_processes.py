"""The promises about processes, read off the live ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.house import House, Person

_TICKS = os.sysconf("SC_CLK_TCK")


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _files(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return found


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _in_container(home: House, needle: str) -> int:
    """The host's pid of the one process in the container whose command line holds `needle`."""
    rows = home.docker("top", home.containers()[0], "-eo", "pid,args").splitlines()[1:]
    found = [int(row.split()[0]) for row in rows if needle in row and "while :" not in row]
    assert len(found) == 1, rows
    return found[0]


def test_a_worker_has_no_power(home: House, alice: Person) -> None:
    """Its uid is nobody's, it has no group, no capability, no way up, and no file but its sockets."""
    with alice.start("echo in; cat") as session:
        assert session.stdout is not None
        session.stdout.readline()
        for pid in home.workers_pids():
            status = _status(pid)
            assert set(status["Uid"].split()) == {"29999"}
            assert set(status["Gid"].split()) == {"29999"}
            assert status["Groups"] == ""
            assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
            assert status["NoNewPrivs"] == "1"
            allowed = ("socket:", "pipe:", "anon_inode:", "/dev/null")
            log = str(home.log)
            assert [name for name in _files(pid) if not name.startswith(allowed) and name != log] == []
            mapped = Path(f"/proc/{pid}/maps").read_text()
            assert "sqlite" not in mapped
        session.communicate(timeout=20)


def test_a_programs_pipe_ends_in_the_worker_with_nobody_between(home: House, alice: Person) -> None:
    """fd 1 in the container and a worker's descriptor are one pipe, which broker and runner do not hold."""
    with alice.start("readlink /proc/self/fd/1; cat") as session:
        assert session.stdout is not None
        pipe = session.stdout.readline().decode().strip()
        assert pipe.startswith("pipe:[")
        holders = [pid for pid in home.workers_pids() if pipe in _files(pid)]
        assert len(holders) == 1
        assert home.process is not None
        assert pipe not in _files(home.process.pid)
        assert pipe not in _files(_in_container(home, "runner.pyz"))
        session.communicate(timeout=20)


@pytest.mark.timeout(180)
def test_broker_and_runner_rest_while_a_gigabyte_passes(home: House, alice: Person) -> None:
    """Descriptors, not copies: only the worker has work to do."""
    alice.ssh("true")
    assert home.process is not None
    broker, runner = home.process.pid, _in_container(home, "runner.pyz")
    before = {pid: _seconds(pid) for pid in (broker, runner, *home.workers_pids())}
    with alice.start("head -c 1G /dev/zero", stdout=subprocess.DEVNULL) as session:
        session.communicate(timeout=150)
        assert session.returncode == 0
    spent = {pid: _seconds(pid) - before[pid] for pid in before}
    workers = sum(spent[pid] for pid in home.workers_pids())
    assert workers > 0.5
    assert spent[runner] <= 0.1
    assert spent[broker] <= 0.2 * workers


def test_the_workers_end_with_the_broker(home: House) -> None:
    """Each worker's parent is the broker, and the kernel is told to end it with its parent."""
    assert home.process is not None
    for pid in home.workers_pids():
        assert int(_status(pid)["PPid"]) == home.process.pid
