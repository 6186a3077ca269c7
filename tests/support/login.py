"""Somebody who logs in to a front with OpenSSH's client and answers what it asks.

Owns the command line. Must not assert what comes of it.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess

from tests.support.askpass import answering
from tests.support.front import Front


async def log_in(here: Front, user: str, *answers: str, more: tuple[str, ...] = ()) -> tuple[int, bytes, str]:
    """Log in with OpenSSH's client and these answers, one of them at most a try: status, output, errors."""
    first = ["-o", "BatchMode=no", "-o", "LogLevel=INFO", "-o", "NumberOfPasswordPrompts=1"]
    process = await asyncio.create_subprocess_exec(
        *["ssh", *first, *here.arguments(user, *more, "localhost", "echo in")[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **answering(here.folder, *answers)},
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    # Each has a first connection, at which her client notes the host key.
    said = [line for line in err.decode().splitlines() if not line.startswith("Warning: Permanently added")]
    return process.returncode, out, "\n".join(said)


def asked(here: Front) -> list[str]:
    """What she was asked, without who and where."""
    lines = (here.folder / "asked").read_text().splitlines()
    return [re.sub(r"^\(.*\) ", "", line) for line in lines]
