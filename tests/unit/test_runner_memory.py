"""The kernel's word for a program that it ended for want of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.runner.inside.memory import Memory, count

V2 = "low 0\nhigh 0\nmax 13\noom 2\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(V2, 2), (V1, 2), ("oom_kill_disable 0\nunder_oom 0\n", 0), ("oom_kill many\n", 0), ("", 0)],
)
def test_the_count_of_both_cgroup_versions_is_read(text: str, wanted: int) -> None:
    assert count(text) == wanted


def test_each_end_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "memory.events"
    file.write_text(V2)
    memory = Memory((str(tmp_path / "absent"), str(file)))
    assert not memory.ran_out()
    file.write_text(V2.replace("oom_kill 2", "oom_kill 3"))
    assert memory.ran_out()
    assert not memory.ran_out()


def test_nothing_is_told_where_no_file_is_readable(tmp_path: Path) -> None:
    assert not Memory((str(tmp_path / "absent"),)).ran_out()
