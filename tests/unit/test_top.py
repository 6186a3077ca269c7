"""`gpuadmin top` in a real terminal: drawn in place, resized, and the terminal as it was afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.terminal import Terminal

TOP = (sys.executable, "-c", "from admin.main import main; main()", "top")
# One that looks again by itself only when the test has failed long ago.
SELDOM = (sys.executable, "-c", "from admin import main, top; top.EVERY = 1000.0; main.main()", "top")
LEFT = b"\x1b[?25h\x1b[?1049l"

Open = Callable[..., Terminal]


@pytest.fixture
def open_top(tmp_path: Path, stand_ins: Path) -> Iterator[Open]:
    """Starts it on a machine of four GPUs, with no gateway running."""
    with ExitStack() as stack:

        def start(*more: str, program: Sequence[str] = TOP) -> Terminal:
            settings = (
                f"GPU_GATEWAY_STATE={tmp_path / 'state'}",
                f"LD_LIBRARY_PATH={stand_ins}",
                "LANG=C.UTF-8",
            )
            words = ("env", *settings, *more, *program)
            return stack.enter_context(Terminal(words, 110, 30))

        yield start


def mode(terminal: Terminal) -> list[object]:
    attributes: list[object] = termios.tcgetattr(terminal._master)
    return attributes


@pytest.mark.parametrize("way", ["q", "\x03", "\x04", signal.SIGTERM])
def test_it_gives_the_terminal_back_as_it_was(open_top: Open, way: str | signal.Signals) -> None:
    top = open_top()
    before = mode(top)
    top.wait_for(r"\x1b\[\?1049h\x1b\[\?25l")
    top.wait_for(r"4 GPUs, 0 held")
    top.wait_for(r"NVIDIA H100 80GB HBM3")
    assert mode(top) != before
    if isinstance(way, str):
        top.type(way)
        assert top.status() == 0
    else:
        top.process.send_signal(way)
        assert top.status() == 128 + way
    assert top.seen.endswith(LEFT)
    assert mode(top) == before


def test_another_size_is_drawn_at_once_and_in_place(open_top: Open) -> None:
    top = open_top(program=SELDOM)
    top.wait_for(r"\x1b\[H[^\n]*4 GPUs")
    top.resize(60, 4)
    drawn = top.wait_for(r"\x1b\[H((?:[^\n]*\r\n){3}[^\n]*\.\.\. 3 more lines[^\n]*)\x1b\[J")
    for line in drawn[1].decode().split("\r\n"):
        shown = line.replace("\x1b[K", "").replace("\x1b[m", "")
        for style in ("1", "2", "31", "32", "33"):
            shown = shown.replace(f"\x1b[{style}m", "")
        assert len(shown) < 60, line
    top.type("x")
    top.wait_for(r"\x1b\[H")
    assert top.process.poll() is None


def test_without_colors_none_are_sent(open_top: Open) -> None:
    top = open_top("NO_COLOR=1")
    drawn = top.wait_for(r"\x1b\[H([^\x1b]*\x1b\[K\r\n){2}[^\x1b]*NVIDIA")
    assert drawn


@pytest.mark.parametrize("terminal", ["none", "dumb"])
def test_without_a_terminal_it_says_so(terminal: str, tmp_path: Path) -> None:
    if terminal == "dumb":
        with Terminal(("env", "TERM=dumb", f"GPU_GATEWAY_STATE={tmp_path}", *TOP)) as top:
            top.wait_for(r"gpuadmin: This draws on a terminal, and there is none")
            assert top.status() == 2
        return
    ended = subprocess.run(
        TOP,
        env={**os.environ, "GPU_GATEWAY_STATE": str(tmp_path), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr == (
        "gpuadmin: This draws on a terminal, and there is none; see: gpuadmin gpu list --json\n"
    )
