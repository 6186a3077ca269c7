"""One call of gpuadmin: which configuration, which store, who calls, and when.

Owns what every command needs and what it costs to get it: nothing is opened before it is used. Must not
know a command.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import click

from gateway import boot, config
from gateway.config import Config
from gateway.errors import PlatformError
from gateway.sqlite.store import Store


class Call:
    """What commands get from the root group."""

    def __init__(self, config_file: Path | None, state: Path | None) -> None:
        self.config_file = config_file
        self._state = state
        self.now = datetime.now(UTC)

    @cached_property
    def config(self) -> Config:
        """The configuration. Raises what `config.load` raises."""
        return config.load(self.config_file, self._state)

    @cached_property
    def store(self) -> Store:
        """The store in the state directory, open until `close`. Raises UNAVAILABLE.

        A clock that was set is noticed first: with the gateway stopped nobody else would.
        """
        store = Store.open(self.config.state, config.this_machine(), self.config.uids)
        # A full disk keeps nobody from looking; what has to write says so itself.
        with suppress(PlatformError):
            store.keep_time(boot.look())
        return store

    @cached_property
    def actor(self) -> str:
        """Who did it, for the events: the account, and who became it."""
        return caller(os.getuid(), os.environ)

    def close(self) -> None:
        """Give back what was opened."""
        if "store" in self.__dict__:
            self.store.close()


def caller(uid: int, environ: Mapping[str, str]) -> str:
    """The name of account `uid`, and what sudo says of who is behind it: `root (sudo: alice)`.

    SUDO_USER is believed of root only: anybody else could have typed it.
    """
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    behind = environ.get("SUDO_USER", "")
    return f"{name} (sudo: {behind})" if uid == 0 and behind else name


pass_call = click.make_pass_decorator(Call)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON array of objects.")
