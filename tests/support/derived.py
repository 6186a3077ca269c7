"""Images that are another one with something changed, for a test; they go with it.

Owns these images. Must not know what is tried with them.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Derive = Callable[..., str]
"""`derive(image, script, *changes)`: the reference of `image` after a root's shell ran `script` in it, with
`changes` as a Dockerfile's lines."""


@contextmanager
def derived() -> Iterator[Derive]:
    """A maker of such images, which are removed in the end."""
    made: list[str] = []

    def derive(image: str, script: str, *changes: str) -> str:
        ref = f"gpu-gateway-test/derived:{secrets.token_hex(4)}"
        container = f"derived-{secrets.token_hex(4)}"
        run = ["docker", "run", "--name", container, "--network=none", "--user=0", "--entrypoint=/bin/sh"]
        try:
            subprocess.run([*run, image, "-euc", script], check=True, timeout=120)
            kept = [f"--change={change}" for change in changes]
            subprocess.run(["docker", "commit", *kept, container, ref], check=True, stdout=subprocess.DEVNULL)
            made.append(ref)
        finally:
            subprocess.run(["docker", "rm", "-f", "-v", container], capture_output=True)
        return ref

    yield derive
    for ref in made:
        subprocess.run(["docker", "image", "rm", "-f", ref], capture_output=True)
