"""Stores on real files, and the people, keys and devices that fill them.

Owns test data. Must not assert anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gateway.devices import Device, Hardware, Part
from gateway.keys import PublicKey
from gateway.quotas import Machine
from gateway.sqlite.store import Store
from gateway.users import SiteAccount, UidRange

NOW = datetime(2026, 11, 23, 15, 0, 0, 123456, tzinfo=UTC)
MACHINE = Machine(cores=8, memory=32 << 30)


def open_store(state: Path, *, check: bool = False) -> Store:
    """A store in directory `state`, whose parent exists."""
    return Store.open(state, MACHINE, UidRange(), check=check)


def gpu(index: int, problem: str | None = None) -> Device:
    """The GPU with this index; its id sorts the other way round, so that order by id shows."""
    return Device(f"GPU-{99 - index}", index, "NVIDIA H200", 141 << 30, problem=problem)


def slices(index: int, *profiles: str, uuids: str = "MIG-{}") -> list[Device]:
    """The GPU with this index with MIG on, and its slices at 0, 4, 8 and so on, whose UUIDs are `uuids`."""
    whole = replace(gpu(index), hardware=Hardware(mig=True))
    parts = [
        Part(whole.id, profile, str(4 * place), uuids.format(place)) for place, profile in enumerate(profiles)
    ]
    return [whole, *(replace(whole, id=part.id, memory=18 << 30, part=part) for part in parts)]


def key_line(seed: str, comment: str = "") -> str:
    """A line as in a .pub file, another one for each seed."""
    point = hashlib.sha256(seed.encode()).digest()
    fields = (b"ssh-ed25519", point)
    blob = b"".join(len(each).to_bytes(4, "big") + each for each in fields)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}".strip()


def add_people(store: Store, *names: str) -> None:
    """Users who may hold eight GPUs each, with a key each."""
    for name in names:
        store.add_user(name, [PublicKey.parse(key_line(name))], SiteAccount(), "root", NOW)
        store.set_quota(name, "gpus", 8, "root", NOW)


@contextmanager
def stocked(state: Path, gpus: int, *names: str) -> Iterator[Store]:
    """A store in `state` with so many GPUs and these people, closed on the way out."""
    with closing(open_store(state)) as opened:
        opened.sync_devices([gpu(index) for index in range(gpus)], NOW)
        add_people(opened, *names)
        yield opened
