"""Sees that nothing waits for the engine where the event loop runs, and ends such a wait.

Owns looking at the thread of the loop from another: a test of a loop that hangs cannot time itself out.
"""

from __future__ import annotations

import http.client
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_EACH = 0.02
"""Seconds between two looks. A wait that is shorter holds nobody up."""


@contextmanager
def never_waits() -> Iterator[None]:
    """While it is open, the main thread may not wait for an HTTP answer: AssertionError says who does."""
    loop = threading.main_thread().ident
    assert loop is not None
    assert threading.get_ident() == loop, "only the main thread can be interrupted"
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_EACH):
            caller = _waits_for_an_answer(sys._current_frames()[loop])
            if caller is not None:
                seen.append(caller)
                signal.pthread_kill(loop, signal.SIGUSR2)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"A call of the engine waits on the event loop: {seen[-1]}")

    before = signal.signal(signal.SIGUSR2, interrupt)
    watcher = threading.Thread(target=watch, name="loop-watch")
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR2, before)
    assert seen == [], f"A call of the engine waited on the event loop: {seen[0]}"


def _waits_for_an_answer(frame: FrameType | None) -> str | None:
    """The product's innermost line behind such a wait."""
    stack = traceback.extract_stack(frame)
    if not any(each.filename == http.client.__file__ and each.name == "getresponse" for each in stack):
        return None
    ours = [each for each in stack if "/gateway/" in each.filename] or stack
    return f"{ours[-1].filename}:{ours[-1].lineno} ({ours[-1].name})"
