"""gpuadmin: the root command, and the one place where an error becomes words and an exit status.

Owns the options that every command has and the table of statuses. Must not know what a command does.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

import gateway
from admin import faults
from admin.call import Call
from gateway.errors import Code, PlatformError
from gateway.tables import printable

# 1: refused by the state of things; 2: cannot be parsed; 75: would succeed later (EX_TEMPFAIL of sysexits.h).
STATUS = {
    Code.NOT_FOUND: 1,
    Code.CONFLICT: 1,
    Code.QUOTA_EXCEEDED: 1,
    Code.DENIED: 1,
    Code.INTERNAL: 1,
    Code.INVALID: 2,
    Code.NO_CAPACITY: 75,
    Code.UNAVAILABLE: 75,
}

_MODULES = {
    "allocate": "leases",
    "ca": "authorities",
    "doctor": "doctor",
    "extend": "leases",
    "gpu": "gpus",
    "group": "groups",
    "image": "images",
    "install": "install",
    "key": "keys",
    "leases": "leases",
    "quota": "quotas",
    "release": "leases",
    "report": "reports",
    "reserve": "reserving",
    "session": "sessions",
    "top": "top",
    "user": "users",
    "why": "queue",
    "workspace": "workspaces",
}
"""Each command's module, which is imported when the command is named: no call needs them all."""


class Ended(BaseException):
    """Signal `number` wants this program to end; what it has begun is tidied up on the way out."""

    def __init__(self, number: int) -> None:
        """Raised where the program is, as KeyboardInterrupt."""
        super().__init__(number)
        self.number = number


class Root(click.Group):
    """The group whose `main` ends every way that a command can end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command with this name."""
        if cmd_name not in _MODULES:
            return None
        command: click.Command = getattr(import_module(f"admin.{_MODULES[cmd_name]}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that nobody foresaw is logged and becomes INTERNAL with its reference."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, PlatformError, BrokenPipeError):
            raise
        except Exception as error:
            raise PlatformError(Code.INTERNAL, faults.report(error, ctx.obj)) from None

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command line and exit; what is wrong is one sentence on stderr, never a traceback."""
        extra["standalone_mode"] = False
        try:
            status = super().main(args, prog_name, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except click.Abort:
            _fail("Interrupted; nothing more was done.", 130)
        except Ended as end:
            _fail("Ended by a signal; nothing more was done.", 128 + end.number)
        except PlatformError as error:
            _fail(error.message, STATUS[error.code])
        sys.exit(status if isinstance(status, int) else 0)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise Ended(number)


def _fail(sentence: str, status: int) -> NoReturn:
    click.echo(f"gpuadmin: {printable(' '.join(sentence.split()))}", err=True)
    sys.exit(status)


@click.group(cls=Root, name="gpuadmin", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gateway.__version__, prog_name="gpuadmin")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Read this file instead of /etc/gpu-gateway/config.toml.",
)
@click.option(
    "--state", type=click.Path(path_type=Path), help="Use this state directory; also GPU_GATEWAY_STATE."
)
@click.pass_context
def cli(context: click.Context, config: Path | None, state: Path | None) -> None:
    """Add people, grant GPUs, set quotas and build images.

    \b
    Example:
      gpuadmin user add alice --key alice.pub
      gpuadmin allocate alice --gpus 1 --for 8h
    """
    context.obj = call = Call(config, state)
    context.call_on_close(call.close)


def main() -> NoReturn:
    """The program `gpuadmin`."""
    # A terminal that is not UTF-8 must not turn somebody's name into a failure.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # What would end us without a word would leave a build's programs running. `nohup` stays as it is.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    cli.main(prog_name="gpuadmin")
