"""How one thing is timed against another: in turn, a pair at a time, so that a drifting machine harms both.

Owns order and clocks. Must not know what runs.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from tests.bench.sides import LONGEST

Pairs = tuple[tuple[float, ...], tuple[float, ...]]
Work = Callable[[], object]


def timed(work: Work) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(ours: Work, theirs: Work, pairs: int, before: Work = lambda: None) -> Pairs:
    """Seconds of each run, the first pair not counted; every second pair begins with the other side.

    `before` runs untimed before each of ours.
    """
    figures: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            if side == 0:
                before()
            seconds = timed((ours, theirs)[side])
            if number:
                figures[side].append(seconds)
    return tuple(figures[0]), tuple(figures[1])


def command(words: Sequence[str], stdin: str = "/dev/null") -> Work:
    """Runs a command to its successful end, its output thrown away by the kernel."""

    def run() -> None:
        with open(stdin, "rb") as source:
            process = subprocess.Popen(
                words, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        # Not by a wait with a limit: that one looks now and then, in steps as long as what is measured.
        late = threading.Timer(LONGEST, process.kill)
        late.start()
        status = process.wait()
        late.cancel()
        assert status == 0, words

    return run
