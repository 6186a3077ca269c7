"""Command lines that texts show: does the program understand them? Must not run any."""

from __future__ import annotations

import click


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Have click parse a command line to its end without running it. Raises click's UsageError."""
    if "--help" in words:
        words = [word for word in words if word != "--help"]
        if not isinstance(command, click.Group):
            return
    with command.make_context(command.name or "", list(words), parent=parent) as context:
        if isinstance(command, click.Group):
            _, found, left = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None
            parse(found, left, context)
