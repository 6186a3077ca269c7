"""Subnets: one a user, disjoint, inside the pool, and never over the host's own routes."""

from __future__ import annotations

import json
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Code, PlatformError
from gateway.networks import Route, check_pool, parse_pool, parse_routes, subnet

POOL = IPv4Network("10.213.0.0/16")


def test_the_first_users_networks() -> None:
    first = subnet(POOL, 1)
    assert (str(first.network), str(first.gateway), str(first.container)) == (
        "10.213.0.8/29",
        "10.213.0.9",
        "10.213.0.10",
    )


@given(st.integers(0, 8191), st.integers(0, 8191))
def test_networks_are_disjoint_and_inside_the_pool(one: int, other: int) -> None:
    network = subnet(POOL, one).network
    assert network.subnet_of(POOL)
    assert (one == other) == network.overlaps(subnet(POOL, other).network)


@pytest.mark.parametrize("user_id", [8192, 10**9, -1])
def test_a_pool_that_is_used_up_says_so(user_id: int) -> None:
    with pytest.raises(PlatformError, match=r"enlarge network\.pool") as caught:
        subnet(POOL, user_id)
    assert caught.value.code is Code.CONFLICT


@pytest.mark.parametrize("text", ["10.213.0.0/16", "192.168.7.0/24", "172.30.0.8/29", "100.64.0.0/10"])
def test_pools(text: str) -> None:
    assert str(parse_pool(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "10.213.0.1/16",
        "8.8.8.0/24",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/8",
        "10.0.0.0/30",
        "0.0.0.0/0",
    ],
)
def test_bad_pools(text: str) -> None:
    with pytest.raises(PlatformError, match="private IPv4 network"):
        parse_pool(text)


# Printed by iproute2 6.1 on Debian 12 with docker.io, and two routes of a VPN client.
ROUTES = [
    {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0", "flags": []},
    {"dst": "0.0.0.0/1", "dev": "tun0", "flags": []},
    {"dst": "172.17.0.0/16", "dev": "docker0", "protocol": "kernel", "scope": "link", "flags": ["linkdown"]},
    {"type": "local", "dst": "10.213.0.9", "dev": "lo", "table": "local", "protocol": "kernel"},
    {"dst": "10.213.0.8/29", "dev": "gwee07-1", "protocol": "kernel", "scope": "link", "flags": []},
    {"dst": "fe80::/64", "dev": "eth0", "protocol": "kernel"},
]


def test_routes_are_read_as_ip_prints_them() -> None:
    assert parse_routes(json.dumps(ROUTES)) == [
        Route(IPv4Network("172.17.0.0/16"), "docker0"),
        Route(IPv4Network("10.213.0.8/29"), "gwee07-1"),
    ]


def test_no_routes_at_all() -> None:
    assert parse_routes("") == []


@pytest.mark.parametrize("text", ["nonsense", "{}x", '[{"dev": "eth0"}]', '["x"]', '[{"dst": "10.0.0.300"}]'])
def test_what_is_no_list_of_routes_is_unavailable(text: str) -> None:
    with pytest.raises(PlatformError, match="ip -j route") as caught:
        parse_routes(text)
    assert caught.value.code is Code.UNAVAILABLE


def test_our_own_bridges_do_not_stand_in_the_way_and_others_do() -> None:
    check_pool(POOL, parse_routes(json.dumps(ROUTES)), "gwee07-")
    with pytest.raises(PlatformError, match=r"10\.213\.0\.8/29.*gwee07-1") as caught:
        check_pool(POOL, parse_routes(json.dumps(ROUTES)), "gw0000-")
    assert caught.value.code is Code.CONFLICT
    with pytest.raises(PlatformError, match=r"10\.0\.0\.0/8"):
        check_pool(POOL, [Route(IPv4Network("10.0.0.0/8"), "wg0")], "gwee07-")
