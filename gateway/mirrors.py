"""The site's own mirrors of package archives, for builds of images and for workspaces.

Owns their keys, and which variable tells which tool. Must not ask a mirror for anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"https?://[!-~]+")
_EXAMPLES: Mapping[str, str] = {
    "apt": "http://mirror.example.org/debian",
    "apt_security": "http://mirror.example.org/debian-security",
    "pip": "https://pypi.example.org/simple",
}


@dataclass(frozen=True)
class Mirrors:
    """Addresses, each None for where the tool looks by itself.

    `apt` is a mirror of Debian's archive, `apt_security` of its security archive, `pip` an index with the
    simple API (peps.python.org/pep-0503).
    """

    apt: str | None = None
    apt_security: str | None = None
    pip: str | None = None

    def workspace_env(self) -> dict[str, str]:
        """What pip and uv read. A mirror without TLS has to be trusted by name, or pip leaves it out."""
        if self.pip is None:
            return {}
        found = {"PIP_INDEX_URL": self.pip, "UV_DEFAULT_INDEX": self.pip}
        if self.pip.startswith("http:"):
            found["PIP_TRUSTED_HOST"] = urlsplit(self.pip).netloc
        return found

    def build_env(self) -> dict[str, str]:
        """What the recipes in images/ read."""
        named = {
            "GPU_GATEWAY_APT_MIRROR": self.apt,
            "GPU_GATEWAY_APT_SECURITY_MIRROR": self.apt_security,
            "GPU_GATEWAY_PIP_INDEX_URL": self.pip,
        }
        return {name: address for name, address in named.items() if address is not None}


def parse_mirrors(value: object) -> Mirrors:
    """The table `[mirrors]`. Raises ValueError with the end of a sentence."""
    if not isinstance(value, dict) or not set(value) <= set(_EXAMPLES):
        raise ValueError("has apt, apt_security and pip, and nothing else")
    for key, address in value.items():
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise ValueError(f"{key} must be an address such as {_EXAMPLES[key]}")
        if "@" in address:
            raise ValueError(f"{key} must hold no password, for every user could read it")
    return Mirrors(**value)
