"""Carrying out what touches containers: by the broker when it runs, else here.

Owns the wait and the choice. The choice is the broker's own lock: who has it may act. Must not know
what is carried out.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from admin.call import Call
from admin.faults import open_log
from admin.output import progress
from gateway.config import Config
from gateway.errors import Code, PlatformError
from gateway.sqlite.store import Store

_LOCK = "broker.lock"
_WITHIN = 60.0
_TELL_EVERY = 5.0
_LOOK_EVERY = 0.1


@contextmanager
def acting(state: Path) -> Iterator[bool]:
    """Take the broker's lock for this block; False when a broker, or another gpuadmin, has it."""
    # Readable, so that operators who are not root can ask: the directory keeps everybody else out.
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(state / _LOCK, flags, 0o644)
    except PermissionError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def broker_runs(state: Path) -> bool:
    """True while a broker serves this state directory, and when only root may ask."""
    try:
        descriptor = os.open(state / _LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def carry_out(call: Call, wanted_id: int, recorded: str, hint: str = "") -> None:
    """Return when `wanted_id` is done; progress goes to stderr, with a `hint` what may take long.

    Raises the broker's sentence when it failed, and UNAVAILABLE after 60 seconds. `recorded` says
    what is true already all the same, and opens that error.

    A broker that ends while we wait leaves its lock, and we go on in its place.
    """
    try:
        _wait(call, wanted_id, hint)
    except PlatformError as error:
        raise PlatformError(error.code, f"{recorded}, but: {error.message}") from None


def _wait(call: Call, wanted_id: int, hint: str) -> None:
    store = call.store
    begun = time.monotonic()
    told = begun
    while (answer := store.answer(wanted_id)) is None:
        now = time.monotonic()
        if now - begun > _WITHIN:
            raise PlatformError(
                Code.UNAVAILABLE,
                f"The gateway has not done it within {_WITHIN:.0f} seconds; it is recorded and will be "
                "done, so look again later.",
            )
        with acting(call.config.state) as ours:
            if ours:
                _act(call.config, store, begun + _WITHIN - now)
                continue
        if now - told > _TELL_EVERY:
            told = now
            progress(f"Waiting for the gateway ({now - begun:.0f} s){hint} ...")
        time.sleep(_LOOK_EVERY)
    if answer.error is not None:
        raise PlatformError(Code(answer.code) if answer.code else Code.UNAVAILABLE, answer.error)


def running(call: Call) -> set[int] | None:
    """The ids of the users whose containers run, as the broker or the engine says; None: nobody answers."""
    if broker_runs(call.config.state):
        return call.store.running()
    from admin import engine

    try:
        return engine.running(call.config, call.store.instance())
    except PlatformError:
        return None


def _act(config: Config, store: Store, seconds: float) -> None:
    # Imported here: they bring the Docker client, which a command that only changes records must not pay for.
    import asyncio

    from gateway.wiring import act_without_broker

    # The use cases write the gateway's log to stderr, which is no reading for whoever typed the command.
    with open_log(config.state) as log, redirect_stderr(log):
        asyncio.run(act_without_broker(config, store, seconds))
