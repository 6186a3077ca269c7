"""Control groups: each engine's names and both versions of the kernel's files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.cgroups import Consumption, ControlGroups

IDS = ("a" * 64, "b" * 64, "c" * 64)


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def second(folder: Path, cpu: int, memory: int | None) -> None:
    """A group of version 2; without the memory controller there are no files of it."""
    group(folder, cpu__stat=f"usage_usec {cpu}\nuser_usec 1\n")
    if memory is not None:
        group(folder, memory__current=f"{memory}\n", memory__stat="anon 5\ninactive_file 100\n")


def first(root: Path, place: str, cpu: int, memory: int) -> None:
    """A group of version 1, in two trees."""
    group(root / "cpuacct" / place, cpuacct__usage=f"{cpu}000\n")
    group(
        root / "memory" / place,
        memory__usage_in_bytes=f"{memory}\n",
        memory__stat="inactive_file 9\ntotal_inactive_file 100\n",
    )


def test_version_2_by_systemd_by_cgroupfs_and_inside_another_container(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    second(tmp_path / f"system.slice/docker-{IDS[0]}.scope", 1_000, 4_100)
    second(tmp_path / "docker" / IDS[1], 2_000, None)
    second(tmp_path / "docker" / ("d" * 64) / "docker" / IDS[2], 3_000, 50)
    assert ControlGroups(tmp_path).consumption(IDS) == {
        IDS[0]: Consumption(1_000, 4_000),
        IDS[1]: Consumption(2_000, None),
        # The cache was counted a moment later than the whole.
        IDS[2]: Consumption(3_000, 0),
    }


@pytest.mark.parametrize("parent", ["docker", "process/docker", "system.slice"])
def test_version_1(tmp_path: Path, parent: str) -> None:
    first(tmp_path, f"{parent}/{IDS[0]}", 7, 4_100)
    group(tmp_path / "cpuacct" / parent / IDS[1], cpuacct__usage="8000\n")
    assert ControlGroups(tmp_path).consumption(IDS[:2]) == {
        IDS[0]: Consumption(7, 4_000),
        IDS[1]: Consumption(8, None),
    }


def test_one_that_ended_is_left_out_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    groups = ControlGroups(tmp_path)
    first(tmp_path, f"docker/{IDS[0]}", 7, 200)
    assert set(groups.consumption(IDS)) == {IDS[0]}
    shutil.rmtree(tmp_path / "cpuacct")
    assert groups.consumption(IDS) == {}
    first(tmp_path, f"elsewhere/{IDS[0]}", 9, 200)
    assert groups.consumption(IDS)[IDS[0]].cpu == 9
    assert groups.consumption(IDS[1:]) == {}


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert ControlGroups(tmp_path / "nothing").consumption(IDS) == {}


def test_what_disks_carried_in_both_versions(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    group(new, cgroup__controllers="cpu io memory\n")
    second(new / "docker" / IDS[0], 1_000, None)
    group(
        new / "docker" / IDS[0],
        io__stat="8:0 rbytes=5 wbytes=7 rios=9 wios=9 dbytes=9\n8:16 rbytes=1\n253:0\n",
    )
    assert ControlGroups(new).consumption(IDS[:1]) == {IDS[0]: Consumption(1_000, None, 13)}
    first(old, f"docker/{IDS[0]}", 7, 4_100)
    text = "8:0 Read 5\n8:0 Write 7\n8:0 Sync 12\n8:0 Total 12\n8:16 Read 1\nTotal 13\n"
    group(old / "blkio/docker" / IDS[0], blkio__throttle__io_service_bytes=text)
    assert ControlGroups(old).consumption(IDS[:1]) == {IDS[0]: Consumption(7, 4_000, 13)}
