"""What a person may ask with `gpu`, and how she spells it.

Owns the grammar: which command line is ours at all, and what its words mean. Must not know who asks, nor
answer anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway.devices import parse_profile
from gateway.errors import Code, PlatformError
from gateway.units import parse_duration

PROGRAM = "gpu"
MOST_WORDS = 64
MOST_GPUS = 1024

# What no shell would read as anything else: whatever has another character in it goes to her own shell.
_LINE = re.compile(rb"gpu(?:[ \t]+[A-Za-z0-9_.,:/=+@%-]+)*[ \t]*")
_COUNT = re.compile(r"[1-9][0-9]{0,3}")
_LEASE = re.compile(r"[1-9][0-9]{0,17}")
_LONGEST_MODEL = 100


@dataclass(frozen=True)
class Status:
    """What do I hold, and what does the machine have?"""

    as_json: bool = False


@dataclass(frozen=True)
class History:
    """What did I hold lately?"""

    as_json: bool = False


@dataclass(frozen=True)
class Request:
    """`count` GPUs, for `length` or as long as I may; `model` is part of their model's name, and `profile`
    that of the MIG slices that I mean instead of GPUs.

    `wait`: in the queue, when they cannot be granted now.
    """

    count: int
    length: timedelta | None = None
    model: str | None = None
    wait: bool = False
    profile: str | None = None


@dataclass(frozen=True)
class Extend:
    """Keep `lease`, or all that I hold, `length` longer, or as long as I may."""

    lease: int | None = None
    length: timedelta | None = None


@dataclass(frozen=True)
class Release:
    """Give back `lease`, or all that I hold; withdraw the request with this number, or all of mine."""

    lease: int | None = None


@dataclass(frozen=True)
class Apply:
    """Restart my container now, to show the GPUs that I hold."""


@dataclass(frozen=True)
class Later:
    """Restart it `length` later than I was told, or as late as may be."""

    length: timedelta | None = None


@dataclass(frozen=True)
class Help:
    """How is this used?"""

    text: str


Question = Status | History | Request | Extend | Release | Apply | Later | Help

_OVERVIEW = """\
Usage: gpu COMMAND

Your GPUs on this machine, from inside your workspace or as `ssh GATEWAY gpu COMMAND`.

  gpu status [--json]                     what you hold and wait for, and who has the rest
  gpu request N [--for 8h] [--wait]       ask for N GPUs, or with --mig PROFILE for a slice of one
  gpu extend [LEASE] [--for 2h]           keep them longer
  gpu release [LEASE]                     give them back, or wait no more
  gpu apply                               restart your container now, for GPUs that it does not show yet
  gpu later [--for 30m]                   put that restart off
  gpu history [--json]                    what you held in the last 30 days
  gpu jupyter [--stop]                    JupyterLab in your workspace, and how to open it

Example:
  gpu request 1 --for 8h
"""
HELP: Mapping[str, str] = {
    "status": """\
Usage: gpu status [--json]

The leases that you hold, your places in the queue and the reasons for them, and each GPU of the machine:
free, held by whom until when, or out of order. With --json one array of objects, whose "kind" is "lease",
"request" or "gpu".

Example:
  gpu status --json
""",
    "request": """\
Usage: gpu request N [--for DURATION] [--model TEXT] [--wait]
       gpu request --mig PROFILE [--for DURATION] [--model TEXT] [--wait]

Ask for N GPUs at once, or for one MIG slice of a PROFILE that `gpu status` shows, such as 1g.10gb; for as
long as your quota `lease` allows or for DURATION, such as 30m, 8h or 2d. With --model only GPUs whose model
has TEXT in its name. The exit status is 75 when there are too few now;
with --wait you wait in the queue, and see your place, until they are granted or you press ^C.

Example:
  gpu request 2 --for 8h --wait
  gpu request --mig 1g.10gb
""",
    "extend": """\
Usage: gpu extend [LEASE] [--for DURATION]

Keep one lease, or all that you hold, longer by DURATION, or as long as you may: to the end that a new
lease of yours would have. Nothing in your container changes.

Example:
  gpu extend 17 --for 2h
""",
    "release": """\
Usage: gpu release [LEASE|REQUEST]

Give back one lease or withdraw one request, or all that you hold and wait for. A container that shows the
GPUs is stopped for that, with everything that runs in it; your files stay, and your next login starts one
without these GPUs.

Example:
  gpu release 17
""",
    "apply": """\
Usage: gpu apply

Restart your container at once, so that it shows the GPUs that you hold; without it that happens when nobody
is in it and nothing of yours runs there, or at the time that open terminals and gpu status tell. Programs
can save their work first, as before every stop; your files stay.

Example:
  gpu apply
""",
    "later": """\
Usage: gpu later [--for DURATION]

Put the restart of your container off, for which open terminals and gpu status tell the time: by DURATION,
such as 30m, or as far as it goes, which is two hours after you were told first.

Example:
  gpu later --for 30m
""",
    "history": """\
Usage: gpu history [--json]

The leases that you held in the last 30 days, the newest first, and the GPU-hours of each.

Example:
  gpu history
""",
    "jupyter": """\
Usage: gpu jupyter [--stop]

Start JupyterLab in your workspace, on a port that only you can reach, and say what to type on your own
machine and which address to open there. It goes on when you log out; the same command finds it again, and
--stop ends it.

Example:
  gpu jupyter
""",
}


def words_of(command: bytes) -> tuple[str, ...] | None:
    """The words after `gpu` when a command line is wholly ours; None when a shell has to read it.

    That is so of `gpu jupyter` as well, which starts a program in the container.
    """
    if _LINE.fullmatch(command) is None:
        return None
    words = tuple(command.decode("ascii").split()[1:])
    return None if words[:1] == ("jupyter",) else words


def parse(words: Sequence[str]) -> Question:
    """What the words after `gpu` ask. Raises INVALID, with one sentence."""
    if not words:
        raise _invalid(f"Say what to do, such as gpu status; the commands are {', '.join(HELP)}")
    name, rest = words[0], list(words[1:])
    if name in ("--help", "-h", "help"):
        return Help(_OVERVIEW)
    if name not in HELP:
        raise _invalid(f"There is no command {name!r}; the commands are {', '.join(HELP)}")
    if "--help" in rest or "-h" in rest:
        return Help(HELP[name])
    if name == "jupyter":
        raise _invalid("gpu jupyter takes --stop or nothing; see: gpu jupyter --help")
    if len(words) > MOST_WORDS:
        raise _invalid("These are too many words")
    options, others = _split(name, rest)
    if name in ("status", "history"):
        _at_most(name, others, 0)
        as_json = "--json" in options
        return Status(as_json) if name == "status" else History(as_json)
    length = parse_duration(options["--for"]) if "--for" in options else None
    if name in ("apply", "later"):
        _at_most(name, others, 0)
        return Apply() if name == "apply" else Later(length)
    _at_most(name, others, 1)
    if name == "request":
        profile = None if "--mig" not in options else parse_profile(options["--mig"])
        count = 1 if profile is not None and not others else _count(others)
        return Request(count, length, _model(options), "--wait" in options, profile)
    lease = _lease(others[0]) if others else None
    return Extend(lease, length) if name == "extend" else Release(lease)


_FLAGS: Mapping[str, frozenset[str]] = {
    "status": frozenset({"--json"}),
    "history": frozenset({"--json"}),
    "request": frozenset({"--wait"}),
}
_VALUES: Mapping[str, frozenset[str]] = {
    "request": frozenset({"--for", "--model", "--mig"}),
    "extend": frozenset({"--for"}),
    "later": frozenset({"--for"}),
}


def _split(name: str, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The options of a command with their values, and its other words."""
    options: dict[str, str] = {}
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            others.append(word)
            continue
        option, separator, value = word.partition("=")
        takes_value = option in _VALUES.get(name, ())
        if not takes_value and (separator or option not in _FLAGS.get(name, ())):
            raise _invalid(f"gpu {name} has no option {word!r}; see: gpu {name} --help")
        if option in options:
            raise _invalid(f"{option} is there twice")
        if takes_value and not separator:
            value = next(rest, "")
        if takes_value and not value:
            raise _invalid(f"{option} needs a value; see: gpu {name} --help")
        options[option] = value
    return options, others


def _at_most(name: str, others: Sequence[str], most: int) -> None:
    if len(others) > most:
        raise _invalid(f"gpu {name} does not take {others[most]!r}; see: gpu {name} --help")


def _count(others: Sequence[str]) -> int:
    if not others:
        raise _invalid("Say how many GPUs, such as gpu request 1")
    if not _COUNT.fullmatch(others[0]) or int(others[0]) > MOST_GPUS:
        raise _invalid(f"{others[0]!r} is not a number of GPUs; write a whole number from 1 to {MOST_GPUS}")
    return int(others[0])


def _lease(word: str) -> int:
    if not _LEASE.fullmatch(word):
        raise _invalid(f"{word!r} is not the number of a lease; see: gpu status")
    return int(word)


def _model(options: Mapping[str, str]) -> str | None:
    model = options.get("--model")
    if model is not None and (len(model) > _LONGEST_MODEL or not model.isprintable()):
        raise _invalid(f"A model has at most {_LONGEST_MODEL} printable characters")
    return model


def _invalid(sentence: str) -> PlatformError:
    return PlatformError(Code.INVALID, sentence)
