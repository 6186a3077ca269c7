"""The log: one JSON object a line on stderr, every foreign byte escaped.

Owns the shape of a line. Must not be given secrets: no keys, no commands' input, no evidence.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from gateway.errors import Code, PlatformError

Listener = Callable[[str, Mapping[str, object]], None]

_listeners: list[Listener] = []


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """During the block, `listener` is told of every event and its fields, in whatever thread it is noted."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def note(what: str, **fields: object) -> None:
    """Write one event, its fields and the time (UTC). Never raises: a full disk must not end a session."""
    for listener in list(_listeners):
        listener(what, fields)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = json.dumps({"at": stamp, "event": what} | fields, default=str)
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        return


def explain(error: BaseException) -> PlatformError:
    """The error for a person; for what nobody foresaw, a reference to the log, which has it whole."""
    if isinstance(error, PlatformError):
        return error
    reference = secrets.token_hex(4)
    note("internal_error", reference=reference, trace="".join(traceback.format_exception(error)))
    return PlatformError(
        Code.INTERNAL,
        f"Something went wrong inside the gateway; give your operator the reference {reference}.",
    )


def take_logging() -> None:
    """From here on the warnings of every package we use are lines of this log, escaped like all others."""
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines()], force=True)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
            note("log", source=record.name, level=record.levelname, text=record.getMessage(), trace=trace)
        except Exception:
            self.handleError(record)
