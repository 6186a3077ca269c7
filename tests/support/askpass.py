"""Somebody at a terminal who answers what OpenSSH's client asks.

Owns a program for SSH_ASKPASS. Must not know what is asked.
"""

from __future__ import annotations

from pathlib import Path


def answering(folder: Path, *answers: str) -> dict[str, str]:
    """The environment in which ssh gets these answers, one after the other, and notes the questions.

    The questions are in `asked` in the folder, a line each; after the last answer there is none.
    """
    script, asked, left = folder / "askpass", folder / "asked", folder / "answers"
    left.write_text("".join(f"{answer}\n" for answer in answers))
    asked.write_text("")
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$1" >> {asked}\nread -r answer < {left} || exit 1\n'
        f'sed -i 1d {left}\nprintf "%s\\n" "$answer"\n'
    )
    script.chmod(0o755)
    return {"SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":none"}
