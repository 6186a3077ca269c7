"""From which addresses somebody may come.

Owns the lists of `from=` in key options and `source-address` in certificates, with the meaning that sshd
gives them (sshd(8), AUTHORIZED_KEYS FILE FORMAT; ssh_config(5), PATTERNS). Host names are refused: sshd
looks none up by default either. Must not know keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from gateway.errors import Code, PlatformError

_WILDCARD = re.compile(r"[0-9.*?]*[*?][0-9.*?]*|[0-9a-f:.*?]*:[0-9a-f:.*?]*")
_LONGEST = 1024


@dataclass(frozen=True)
class Sources:
    """Patterns: addresses, networks (`10.0.0.0/8`), wildcards (`10.*`); `!` before one forbids it."""

    patterns: tuple[str, ...]

    def __str__(self) -> str:
        """As it is written behind `from=`."""
        return ",".join(self.patterns)

    @classmethod
    def parse(cls, text: str, *, wildcards: bool = True) -> Sources:
        """A comma-separated list. Raises INVALID for what could never match, host names included.

        Without `wildcards`, addresses and networks alone, as in certificates (PROTOCOL.certkeys).
        """
        patterns = tuple(text.lower().split(","))
        if len(text) > _LONGEST:
            raise PlatformError(Code.INVALID, f"A list of addresses has at most {_LONGEST} characters.")
        for pattern in patterns:
            plain = pattern.removeprefix("!") if wildcards else pattern
            if not _is_network(plain) and not (wildcards and _WILDCARD.fullmatch(plain)):
                raise PlatformError(
                    Code.INVALID,
                    f"{pattern!r} is no address to come from; write addresses, networks or wildcards such as "
                    "192.0.2.7, 10.0.0.0/8, 2001:db8::/32 or 10.1.*, since host names are not looked up.",
                )
        return cls(patterns)

    def allow(self, address: str) -> bool:
        """Whether one pattern matches and none that forbids does. An address that is none is not allowed."""
        try:
            source = plain_address(address)
        except ValueError:
            return False
        hits = [pattern for pattern in self.patterns if _matches(pattern.removeprefix("!"), source)]
        return bool(hits) and not any(hit.startswith("!") for hit in hits)


def plain_address(text: str) -> IPv4Address | IPv6Address:
    """The address without its zone; one of IPv4 inside IPv6 is IPv4, as sshd has it. Raises ValueError."""
    address = ip_address(text.partition("%")[0])
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _is_network(pattern: str) -> bool:
    try:
        # Bits below the mask make sshd refuse the whole list ("inconsistent mask").
        ip_network(pattern, strict=True)
    except ValueError:
        return False
    return True


def _matches(pattern: str, source: IPv4Address | IPv6Address) -> bool:
    if _is_network(pattern):
        network = ip_network(pattern)
        return source.version == network.version and source in network
    return fnmatchcase(str(source), pattern)


def side(address: str) -> str:
    """Whom an address counts as: IPv4 by itself, IPv6 with its /64, which one client may have whole."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
