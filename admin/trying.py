"""The gateway that `gpuadmin image check` starts for itself: the whole product, for one image and one user.

Owns that process: its configuration is the site's, but for what would collide with the gateway that serves
people, and all that it made goes with it, also when whoever started it is gone. Must not know what is tried.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import uvloop

from gateway.config import Config, Listen, load, parse_listen, this_machine
from gateway.docker.sweep import remove_all
from gateway.errors import PlatformError
from gateway.journal import heard, take_logging
from gateway.main import serving
from gateway.networks import parse_pool
from gateway.privileges import raise_limit
from gateway.sqlite.store import Store
from gateway.users import UidRange


def settings(config: Config, state: Path, pool: str, gpus: tuple[str, ...]) -> Config:
    """The site's configuration for a gateway beside its own, with two uids that nobody has: the last."""
    last = config.uids.last
    return replace(
        config, state=state, pool=parse_pool(pool), uids=UidRange(last - 1, last), manage=gpus, metrics=None
    )


def a_pool() -> str:
    """Addresses for one workspace, out of those that RFC 2544 keeps for tests: no site routes them."""
    first = (198 << 24) + (18 << 16) + (secrets.randbelow(1 << 13) << 4)
    return ".".join(str(first >> shift & 255) for shift in (24, 16, 8, 0)) + "/28"


def clear(config: Config) -> None:
    """Remove all that the gateway of this configuration made, its folder too. Absent is success.

    Raises UNAVAILABLE when the engine is away; the folder stays then, and is cleared another time.
    """
    if not config.state.exists():
        return
    with closing(Store.open(config.state, this_machine(), config.uids)) as store:
        instance = store.instance()
    remove_all(instance)
    # Two may clear what was left by a check that was killed: its own gateway, and the next check.
    with suppress(FileNotFoundError):
        shutil.rmtree(config.state)


def main() -> int:
    """Serve until SIGTERM or the end of stdin, then clear; the port is the one line on stdout."""
    parser = argparse.ArgumentParser(prog="admin.trying", description=__doc__)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--gpu", action="append", default=[])
    given = parser.parse_args()
    take_logging()
    config = settings(load(given.config), given.state, given.pool, tuple(given.gpu))
    try:
        raise_limit()
        threading.Thread(target=_leave_with_caller, daemon=True).start()
        with heard(_tell_port):
            uvloop.run(serving(config, Listen("127.0.0.1", 0), 1))
        clear(config)
    except PlatformError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def _leave_with_caller() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _tell_port(event: str, fields: Mapping[str, object]) -> None:
    if event == "ready":
        sys.stdout.write(f"{parse_listen(str(fields['listen'])).port}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
