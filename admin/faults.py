"""An error that nobody foresaw: kept whole for developers, told in one sentence.

Owns the reference that joins the two, and the file. Must not fail itself.
"""

from __future__ import annotations

import json
import os
import secrets
import syslog
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from admin.call import Call
from gateway import config
from gateway.errors import PlatformError
from gateway.units import iso

_FILE = "gpuadmin.log"


def report(error: Exception, call: Call | None) -> str:
    """Log `error` under a new reference, as one line of JSON; the sentence that names it."""
    reference = secrets.token_hex(4)
    line = json.dumps(
        {
            "at": iso(datetime.now(UTC)),
            "event": "internal_error",
            "reference": reference,
            "uid": os.getuid(),
            "traceback": "".join(traceback.format_exception(error)),
        }
    )
    return (
        f"Internal error (reference {reference}); please report it with what {_write(line, call)} says of it."
    )


def _write(line: str, call: Call | None) -> str:
    """Append to the state directory's log; where that cannot be, to the system's. Where it went."""
    try:
        state = (config.load() if call is None else call.config).state
        with open_log(state) as log:
            log.write(line + "\n")
    except (OSError, PlatformError):
        syslog.syslog(syslog.LOG_ERR, f"gpuadmin: {line}")
        return "the system log"
    return str(state / _FILE)


def open_log(state: Path) -> TextIO:
    """The log in the state directory, to append to. Raises OSError."""
    # A log that others can read or redirect would tell them what operators do.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(state / _FILE, flags, 0o640), "a")
