"""Runs as root in a whole machine of its own (tests.support.machine): does what its serial line asks.

A line is a shell's command as JSON; the answer is a line with its exit status and all that it printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tty


def main(path: str) -> None:
    line = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    with os.fdopen(line, "r+b", buffering=0) as stream:
        _say(stream.fileno(), [0, "ready"])
        for asked in stream:
            done = subprocess.run(
                ["bash", "-c", json.loads(asked)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            _say(stream.fileno(), [done.returncode, done.stdout.decode(errors="replace")])


def _say(line: int, answer: list[object]) -> None:
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[os.write(line, data) :]


if __name__ == "__main__":
    main(sys.argv[1])
