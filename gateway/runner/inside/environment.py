"""The environment of a program, by the rules of OpenSSH's sshd.

Owns which variable wins. Must not start anything.
"""

from __future__ import annotations

import locale
from collections.abc import Mapping
from functools import lru_cache

from gateway.runner.inside.account import Account

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_SHELL_LEFTOVERS = ("PWD", "OLDPWD", "SHLVL", "_")  # of the shell that starts the runner again
_FIXED = frozenset({"HOME", "USER", "LOGNAME", "SHELL", "PATH", "MAIL", "TERM", "SSH_TTY", "XDG_RUNTIME_DIR"})
_FIXED_PREFIXES = ("LD_", "NVIDIA_")
_LOCALE = frozenset(
    {"LANG", "LC_ALL", "LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT"}
    | {"LC_MESSAGES", "LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE", "LC_TIME"}
)


def environment(
    base: Mapping[str, str],
    account: Account,
    requested: Mapping[str, str],
    terminal: tuple[str, str] | None,
    runtime_directory: str | None,
) -> dict[str, str]:
    """What a program of `account` finds in its environment.

    `base` is the container's own, `terminal` the TERM and the device of a pty. What was requested cannot
    replace who the user is, where programs are found, or anything of the loader or the GPU's driver.
    """
    env = {name: value for name, value in base.items() if name not in _SHELL_LEFTOVERS}
    env.update(HOME=account.home, USER=account.name, LOGNAME=account.name, SHELL=account.shell)
    env.update(MAIL="/var/mail/" + account.name)
    env.setdefault("PATH", DEFAULT_PATH)
    if runtime_directory is not None:
        env["XDG_RUNTIME_DIR"] = runtime_directory
    if terminal is not None:
        env["TERM"], env["SSH_TTY"] = terminal
        if not env["TERM"]:  # unset, so that a shell finds a word for it
            del env["TERM"]
    for name, value in requested.items():
        if name not in _FIXED and not name.startswith(_FIXED_PREFIXES):
            env.update(_understood(name, value))
    return env


def _understood(name: str, value: str) -> dict[str, str]:
    """The variable, unless it names a locale that this image lacks: programs would complain at each start.

    Other names that begin with LC_ are no locale's: sshd lets them pass, and people carry things in them.
    """
    if name not in _LOCALE or not value or is_locale(value):
        return {name: value}
    return {"LANG": "C.UTF-8"} if name == "LANG" else {}


@lru_cache(maxsize=256)
def is_locale(name: str) -> bool:
    """Whether setlocale(3) knows `name`; this process's own locale is the same afterwards."""
    own = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except (locale.Error, ValueError):
        return False
    finally:
        locale.setlocale(locale.LC_ALL, own)
    return True
