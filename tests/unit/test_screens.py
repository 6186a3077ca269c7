"""The screen of `gpuadmin top`: what it says, and that it fits whatever the window and the texts in it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from admin.screens import Line, paint, screen
from gateway.units import iso
from tests.support.stores import NOW

GIB = 1 << 30


def gpu(index: int = 0, **fields: Any) -> dict[str, Any]:
    """A free GPU, as `gpu list --json` shows it."""
    return {
        "index": index,
        "model": "NVIDIA H200",
        "memory": 141 * GIB,
        "state": "healthy",
        "reason": None,
        "user": None,
        "expires_at": None,
        "utilization": 0,
        "used": 0,
        "processes": [],
        **fields,
    }


def process(pid: int, user: str | None, memory: int | None, name: str | None = "python3") -> dict[str, Any]:
    return {"pid": pid, "user": user, "memory": memory, "name": name}


HELD = {"user": "alice", "expires_at": iso(NOW + timedelta(hours=3, minutes=20, seconds=1))}
WORKING = gpu(
    1,
    **HELD,
    utilization=75,
    used=8 * GIB,
    processes=[process(12, None, GIB, "x\x1b[2Jy"), process(7, "alice", 7 * GIB)],
)


def texts(lines: list[Line]) -> list[str]:
    return [paint(line, colored=False).rstrip() for line in lines]


def styled(lines: list[Line], style: str) -> str:
    return " ".join(text for line in lines for text, has in line if has == style)


def test_a_machine_at_work() -> None:
    broken = gpu(2, state="quarantined", reason="Xid 79: it fell off the bus", utilization=None, used=None)
    lines = screen([gpu(0), WORKING, broken], NOW, 120, 40, blocks=True, answers=True)
    heading, empty, free, held, hers, strange, sick = texts(lines)
    assert heading.startswith("gpu-gateway  3 GPUs, 1 held  2026-11-23 15:00 UTC")
    assert empty == ""
    assert free.endswith("free")
    assert f"{'█' * 15}{'░' * 5}  75%" in held
    assert held.endswith("8G/141G  alice 3h 20m left")
    # The most memory first; what runs in no workspace is nobody's, and steers no terminal.
    assert hers.split() == ["7G", "7", "alice", "python3"]
    assert strange.split() == ["1G", "12", "unmanaged", "x\\x1b[2Jy"]
    assert "?/141G" in sick
    assert sick.endswith("quarantined: Xid 79: it fell off the bus")
    assert "unmanaged" in styled(lines, "bad")


def test_held_and_idle_is_seen_and_so_is_a_driver_that_does_not_answer() -> None:
    idle = gpu(0, **HELD, utilization=3)
    silent = gpu(1, **HELD, utilization=None)
    lines = screen([idle, silent], NOW, 120, 40, blocks=False, answers=True)
    assert "2 GPUs, 2 held, 1 of these idle" in texts(lines)[0]
    assert f"#{'.' * 19}" in texts(lines)[2]
    assert texts(lines)[3].count("-") == 1
    said = texts(screen([], NOW, 120, 40, blocks=True, answers=False))[0]
    assert "0 GPUs, 0 held  NVIDIA's driver does not answer" in said


ANY = st.text(max_size=30)
GPUS = st.lists(
    st.builds(
        lambda model, reason, processes, utilization, used, held: gpu(
            model=model,
            reason=reason,
            state="lost" if reason else "healthy",
            processes=processes,
            utilization=utilization,
            used=used,
            **(HELD if held else {}),
        ),
        ANY,
        st.none() | ANY,
        st.lists(
            st.builds(process, st.integers(0, 1 << 22), st.none() | ANY, st.none() | st.integers(0), ANY)
        ),
        st.none() | st.integers(-5, 200),
        st.none() | st.integers(0, 1 << 50),
        st.booleans(),
    ),
    max_size=9,
)


@given(GPUS, st.integers(0, 200), st.integers(0, 60), st.booleans())
def test_it_fits_and_nothing_in_it_steers_the_terminal(
    found: list[dict[str, Any]], columns: int, rows: int, colored: bool
) -> None:
    lines = screen(found, NOW, columns, rows, blocks=False, answers=True)
    assert len(lines) <= rows
    whole = 2 + sum(1 + len(each["processes"]) for each in found)
    if whole > rows > 0 and columns > 40:
        assert f"... {whole - rows + 1} more lines" in texts(lines)[-1]
    for line in lines:
        text = paint(line, colored)
        bare = re.sub(r"\x1b\[[0-9]*m", "", text)
        assert len(bare) <= columns
        assert bare.isascii()
        assert bare.isprintable()
        assert not colored or text.count("\x1b[m") * 2 == text.count("\x1b[")
