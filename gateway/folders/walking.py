"""How much a directory holds, where the file system does not say: du(1), in a process of its own.

Owns that process, which yields to everybody else's disk and processor. Must not know what is done with
the figure.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

_DU = ("nice", "-n", "19", "ionice", "-t", "-c", "3", "du", "-s", "-B1", "--")


async def walk(path: Path) -> int | None:
    """The bytes that everything below `path` takes on its disk; None when it cannot be told, or is absent.

    It may take minutes; a caller who is cancelled leaves no process behind.
    """
    process = await asyncio.create_subprocess_exec(
        *_DU, str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        told, _ = await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    # Files that vanish meanwhile make it end with 1, and count no more.
    used = told.partition(b"\t")[0]
    return int(used) if used.isdigit() else None
