"""One small network a workspace, cut from the platform's own pool of addresses.

Owns the arithmetic and the check of the pool against the host's routes. Must not know Docker, nor run
`ip`: the routes are handed in as that program printed them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from gateway.errors import Code, PlatformError

_PREFIX = 29
# 0.0.0.0/1 and 128.0.0.0/1 are how VPN clients spell "default": like it, they claim no particular network.
_SHORTEST_ROUTE = 2


@dataclass(frozen=True)
class Subnet:
    """A workspace's network: the bridge has `gateway`, its one container has `container`."""

    network: IPv4Network
    gateway: IPv4Address
    container: IPv4Address


@dataclass(frozen=True)
class Route:
    """A destination of the host's routing table and the interface it leaves by."""

    network: IPv4Network
    interface: str


def parse_pool(text: str) -> IPv4Network:
    """A pool such as 10.213.0.0/16. Raises INVALID for all but private IPv4 networks, /8 to /29."""
    try:
        pool = IPv4Network(text)
    except ValueError:
        pool = None
    unusable = pool is None or pool.prefixlen > _PREFIX or pool.prefixlen < 8
    if (
        pool is None
        or unusable
        or pool.is_global
        or pool.is_loopback
        or pool.is_link_local
        or pool.is_multicast
    ):
        raise PlatformError(
            Code.INVALID, f"{text!r} is not a private IPv4 network between /8 and /29, such as 10.213.0.0/16."
        )
    return pool


def subnet(pool: IPv4Network, user_id: int) -> Subnet:
    """The /29 of one user, the same for ever. Raises CONFLICT when the pool is too small for this id."""
    offset = user_id * (1 << (32 - _PREFIX))
    if user_id < 0 or offset >= pool.num_addresses:
        raise PlatformError(
            Code.CONFLICT,
            f"The address pool {pool} has no network left for workspace {user_id}; enlarge network.pool.",
        )
    network = IPv4Network((int(pool.network_address) + offset, _PREFIX))
    return Subnet(network, network[1], network[2])


def parse_routes(text: str) -> list[Route]:
    """What `ip -j -4 route show table all` printed; defaults and routes to single own addresses are left out.

    Raises UNAVAILABLE when it is not that.
    """
    try:
        routes = [_route(entry) for entry in json.loads(text or "[]")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PlatformError(
            Code.UNAVAILABLE, "The host's routes cannot be read; check that `ip -j route` prints JSON."
        ) from None
    return [route for route in routes if route is not None]


def _route(entry: dict[str, str]) -> Route | None:
    destination = entry["dst"]
    # Types other than unicast (local, broadcast, multicast) repeat what a unicast route says already.
    if destination == "default" or entry.get("type", "unicast") in ("local", "broadcast", "multicast"):
        return None
    if ":" in destination:
        return None
    network = IPv4Network(destination)
    return Route(network, entry.get("dev", "")) if network.prefixlen >= _SHORTEST_ROUTE else None


def check_pool(pool: IPv4Network, routes: Sequence[Route], own_interfaces: str) -> None:
    """Raise CONFLICT when the host already reaches part of the pool by an interface that is not ours.

    Ours are those whose name begins with `own_interfaces`.
    """
    for route in routes:
        if route.network.overlaps(pool) and not route.interface.startswith(own_interfaces):
            raise PlatformError(
                Code.CONFLICT,
                f"The address pool {pool} overlaps {route.network}, which this machine reaches through "
                f"{route.interface or 'another route'}; set network.pool to a free private network.",
            )
