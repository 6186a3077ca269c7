"""The firewall's rules as text: what is wanted, when it is there, and how it gets there."""

from __future__ import annotations

import pytest

from gateway.docker import rules

TABLE = rules.ipv4("ab12", "10.213.0.0/16", ["192.0.2.53"])
DOCKERS = [
    "-P INPUT ACCEPT",
    "-P FORWARD DROP",
    "-N DOCKER-USER",
    "-A FORWARD -j DOCKER-USER",
    "-A FORWARD -i docker0 -j ACCEPT",
    "-A DOCKER-USER -j RETURN",
]
JUMPS = [rule for _, rule in TABLE.jumps]
OTHERS = "-A DOCKER-USER -i gwcd34-+ -j GPU-GATEWAY-cd34-FWD"


def there(*before: str, without: str = "") -> str:
    """`iptables -S` with our rules set; `before` stands before them."""
    ours = [line for chain, lines in TABLE.chains for line in (f"-N {chain}", *lines)]
    lines = [*before, "-A FORWARD -j DOCKER-USER", *JUMPS[1:], *DOCKERS, *ours]
    lines = list(dict.fromkeys(lines))
    return "\n".join(line for line in lines if line != without)


def test_wants_the_internet_and_nothing_near() -> None:
    (forward, through), (incoming, to_host) = TABLE.chains
    assert through == (
        f"-A {forward} -d 192.0.2.53/32 -p udp -m udp --dport 53 -j RETURN",
        f"-A {forward} -d 192.0.2.53/32 -p tcp -m tcp --dport 53 -j RETURN",
        f"-A {forward} -d 169.254.0.0/16 -j DROP",
        f"-A {forward} -d 100.100.100.200/32 -j DROP",
        f"-A {forward} -d 168.63.129.16/32 -j DROP",
        f"-A {forward} -d 192.0.0.192/32 -j DROP",
        f"-A {forward} -d 10.213.0.0/16 -j DROP",
        f"-A {forward} -o gwab12-+ -j DROP",
        f"-A {forward} -o docker0 -j DROP",
        f"-A {forward} -o br-+ -j DROP",
    )
    assert to_host == (
        f"-A {incoming} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        f"-A {incoming} -d 192.0.2.53/32 -p udp -m udp --dport 53 -j RETURN",
        f"-A {incoming} -d 192.0.2.53/32 -p tcp -m tcp --dport 53 -j RETURN",
        f"-A {incoming} -j DROP",
    )
    assert all(len(chain) <= 28 for chain, _ in TABLE.chains)


def test_nothing_at_all_goes_by_ipv6() -> None:
    assert [lines for _, lines in rules.ipv6("ab12").chains] == [
        ("-A GPU-GATEWAY-ab12-FWD -j DROP",),
        ("-A GPU-GATEWAY-ab12-IN -j DROP",),
    ]


@pytest.mark.parametrize("server", ["127.0.0.53", "::1", "2001:db8::53", "garbage", "192.0.2.53/8 -j ACCEPT"])
def test_no_way_is_opened_for_what_is_no_remote_nameserver(server: str) -> None:
    assert rules.ipv4("ab12", "10.213.0.0/16", [server]) == rules.ipv4("ab12", "10.213.0.0/16", [])


def test_reads_nameservers() -> None:
    text = "# nameserver 192.0.2.1\nnameserver 192.0.2.2\n  nameserver\t192.0.2.3 x\nsearch nameserver\n"
    assert rules.nameservers(text) == ["192.0.2.2", "192.0.2.3"]


@pytest.mark.parametrize("before", [(), (OTHERS,)])
def test_knows_its_rules_again(before: tuple[str, ...]) -> None:
    assert rules.is_set(TABLE, there(*before))


@pytest.mark.parametrize(
    "present",
    [
        "",
        "\n".join(DOCKERS),
        *(there(without=line) for line in (*JUMPS, *TABLE.chains[0][1], *TABLE.chains[1][1])),
        there("-A DOCKER-USER -j RETURN"),
        there("-A INPUT -j ACCEPT"),
        there("-A FORWARD -j ACCEPT"),
        there() + f"\n{TABLE.chains[1][1][0]}",
        there() + f"\n{JUMPS[1]}",
    ],
)
def test_sees_every_rule_that_is_missing_surplus_or_too_late(present: str) -> None:
    assert not rules.is_set(TABLE, present)


def test_makes_dockers_own_chain_only_where_it_is_missing() -> None:
    assert ":DOCKER-USER - [0:0]" in rules.restore_text(TABLE, "").splitlines()
    # Declaring it would empty it of other people's rules.
    assert ":DOCKER-USER - [0:0]" not in rules.restore_text(TABLE, "\n".join(DOCKERS)).splitlines()


def test_moves_a_jump_that_came_too_late() -> None:
    text = rules.restore_text(TABLE, there("-A INPUT -j ACCEPT")).splitlines()
    delete, insert = JUMPS[2].replace("-A", "-D", 1), JUMPS[2].replace("-A INPUT", "-I INPUT 1", 1)
    assert text.index(delete) < text.index(insert)
    assert JUMPS[1].replace("-A DOCKER-USER", "-I DOCKER-USER 1", 1) not in text


def test_takes_away_what_is_ours_alone() -> None:
    text = rules.removal_text("ab12", there(OTHERS)).splitlines()
    assert text == [
        "*filter",
        ":GPU-GATEWAY-ab12-FWD - [0:0]",
        ":GPU-GATEWAY-ab12-IN - [0:0]",
        JUMPS[1].replace("-A", "-D", 1),
        JUMPS[2].replace("-A", "-D", 1),
        "-X GPU-GATEWAY-ab12-FWD",
        "-X GPU-GATEWAY-ab12-IN",
        "COMMIT",
    ]
    assert rules.removal_text("ab12", "\n".join(DOCKERS)) == "*filter\nCOMMIT\n"
