"""Uids: a site's own numbers are checked, the platform's are never given out twice."""

from __future__ import annotations

import pytest

from gateway.errors import Code, PlatformError
from gateway.users import SiteAccount, UidRange, numbers, overlapping

OWN = UidRange()


def test_numbers_follow_the_id_that_is_never_used_again() -> None:
    assert numbers(7, SiteAccount(), OWN) == (30007, 30007)
    assert numbers(29999, SiteAccount(), OWN) == (59999, 59999)
    with pytest.raises(PlatformError, match="used up") as caught:
        numbers(30000, SiteAccount(), OWN)
    assert caught.value.code is Code.CONFLICT


def test_the_sites_numbers_win() -> None:
    assert numbers(7, SiteAccount(uid=2001), OWN) == (2001, 2001)
    assert numbers(7, SiteAccount(uid=2001, gid=100), OWN) == (2001, 100)


@pytest.mark.parametrize(
    "site",
    [
        SiteAccount(),
        SiteAccount(500),
        SiteAccount(29999),
        SiteAccount(60000, 100, "/nfs/home/x"),
        SiteAccount(2**31 - 1),
    ],
)
def test_good_accounts(site: SiteAccount) -> None:
    site.check(OWN)


@pytest.mark.parametrize(
    ("site", "why"),
    [
        (SiteAccount(0), "not a person's"),
        (SiteAccount(499), "not a person's"),
        (SiteAccount(65534), "not a person's"),
        (SiteAccount(2**31), "not a person's"),
        (SiteAccount(30000), "gives out itself"),
        (SiteAccount(59999), "gives out itself"),
        (SiteAccount(2001, 0), "gid 0"),
        (SiteAccount(2001, 65534), "gid 65534"),
        (SiteAccount(gid=2001), "add --uid"),
        (SiteAccount(home="/nfs/x"), "add --uid"),
        (SiteAccount(2001, home="nfs/x"), "plain absolute path"),
        (SiteAccount(2001, home="/nfs/../etc"), "plain absolute path"),
        (SiteAccount(2001, home="/nfs/x/"), "plain absolute path"),
        (SiteAccount(2001, home="/nfs/x:y"), "plain absolute path"),
        (SiteAccount(2001, home="/nfs/x\n"), "plain absolute path"),
        (SiteAccount(2001, home="//etc"), "plain absolute path"),
        (SiteAccount(2001, home="/"), "belongs to the system"),
        (SiteAccount(2001, home="/home"), "belongs to the system"),
        (SiteAccount(2001, home="/etc"), "belongs to the system"),
        (SiteAccount(2001, home="/proc/1/root"), "belongs to the system"),
    ],
)
def test_bad_accounts(site: SiteAccount, why: str) -> None:
    with pytest.raises(PlatformError, match=why) as caught:
        site.check(OWN)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize("home", ["/nfs/home/alice", "/nfs/home/alice/sub", "/nfs/home", "/nfs"])
def test_a_home_that_shows_anothers_files(home: str) -> None:
    assert overlapping(home, ["/nfs/home/bob2", "/nfs/home/alice"]) is not None


@pytest.mark.parametrize("home", ["/nfs/home/alic", "/nfs/home/alice2", "/nfs/home/bob"])
def test_a_home_beside_anothers(home: str) -> None:
    assert overlapping(home, ["/nfs/home/bob2", "/nfs/home/alice"]) is None
