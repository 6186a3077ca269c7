"""What names an image in a registry: `HOST[:PORT]/PATH`, with a tag or a digest.

Owns the grammar (distribution/reference, without the short names that mean Docker Hub). Must not ask any
registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import Code, PlatformError

_HOST = r"(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_WHOLE = re.compile(
    f"(?P<repository>(?P<host>{_HOST})(?:/{_PART})+)(?::(?P<tag>{_TAG})|@(?P<digest>{_DIGEST}))?"
)
_LONGEST = 255


@dataclass(frozen=True)
class Reference:
    """An image in a registry; one of `tag` and `digest` at most is not empty."""

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference | None:
        """The reference; None for what names no registry, such as an image of this machine's own."""
        found = _WHOLE.fullmatch(text) if len(text) <= _LONGEST else None
        return None if found is None else cls(found["repository"], found["tag"] or "", found["digest"] or "")

    @property
    def host(self) -> str:
        """The registry: `registry.example.org:5000`."""
        return self.repository.partition("/")[0]

    def __str__(self) -> str:
        """As it is typed."""
        return self.repository + (f"@{self.digest}" if self.digest else f":{self.tag}" if self.tag else "")


def parse_repository(text: str) -> Reference:
    """A registry and a name in it, without a tag. Raises INVALID."""
    found = Reference.parse(text)
    if found is None or found.tag or found.digest:
        raise PlatformError(
            Code.INVALID,
            f"{text!r} is no place in a registry; write HOST/NAME without a tag, such as "
            "registry.example.org/gpu/pytorch.",
        )
    return found
