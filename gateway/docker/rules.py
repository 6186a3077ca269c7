"""Which packets of a workspace go nowhere, as iptables rules.

Owns the decision and its text. Pure. Rules are written as `iptables -S` prints them, so that what is
there can be compared with what is wanted as lines. Two paths need rules: packets through the host
(FORWARD, by way of Docker's own DOCKER-USER) and packets to the host itself (INPUT).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.docker.naming import bridge_prefix

# Where clouds hand out a machine's credentials: link-local, Alibaba, Azure's wire server, Oracle.
_METADATA = ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
_ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"


@dataclass(frozen=True)
class Table:
    """Wanted state of one address family's filter table.

    `chains` are ours whole; `jumps` are (chain of the host's, rule) that must stand before rules of others.
    """

    chains: tuple[tuple[str, tuple[str, ...]], ...]
    jumps: tuple[tuple[str, str], ...]


def forward_chain(instance: str) -> str:
    """Our chain for packets through the host."""
    return f"GPU-GATEWAY-{instance}-FWD"


def input_chain(instance: str) -> str:
    """Our chain for packets to the host's own addresses."""
    return f"GPU-GATEWAY-{instance}-IN"


def ipv4(instance: str, pool: str, nameservers: Sequence[str]) -> Table:
    """Internet yes; metadata, other workspaces, other Docker networks and the host itself no.

    `pool` holds all workspaces' subnets. `nameservers` are the host's: the engine's resolver asks them
    from inside the container's network, and some live on the host or at a metadata address. They
    are reached on port 53 alone.
    """
    dns = _name_service(nameservers)
    forward, incoming = forward_chain(instance), input_chain(instance)
    nowhere = (*_METADATA, str(ipaddress.ip_network(pool)))
    return Table(
        chains=(
            (
                forward,
                (
                    *(f"-A {forward} {match} -j RETURN" for match in dns),
                    *(f"-A {forward} -d {network} -j DROP" for network in nowhere),
                    # Docker keeps its bridges apart itself, until a reload of firewalld drops its rules.
                    *(f"-A {forward} -o {bridge} -j DROP" for bridge in _bridges(instance)),
                ),
            ),
            (
                incoming,
                (
                    f"-A {incoming} {_ESTABLISHED} -j RETURN",
                    *(f"-A {incoming} {match} -j RETURN" for match in dns),
                    f"-A {incoming} -j DROP",
                ),
            ),
        ),
        jumps=(
            ("FORWARD", "-A FORWARD -j DOCKER-USER"),
            ("DOCKER-USER", f"-A DOCKER-USER -i {bridge_prefix(instance)}+ -j {forward}"),
            ("INPUT", f"-A INPUT -i {bridge_prefix(instance)}+ -j {incoming}"),
        ),
    )


def ipv6(instance: str) -> Table:
    """Nothing at all: workspaces have no IPv6, and the bridges' link-local addresses are the host's."""
    forward, incoming = forward_chain(instance), input_chain(instance)
    return Table(
        chains=((forward, (f"-A {forward} -j DROP",)), (incoming, (f"-A {incoming} -j DROP",))),
        jumps=(
            ("FORWARD", f"-A FORWARD -i {bridge_prefix(instance)}+ -j {forward}"),
            ("INPUT", f"-A INPUT -i {bridge_prefix(instance)}+ -j {incoming}"),
        ),
    )


def _bridges(instance: str) -> tuple[str, ...]:
    return (f"{bridge_prefix(instance)}+", "docker0", "br-+")


def _name_service(nameservers: Sequence[str]) -> list[str]:
    """Matches for DNS at the host's IPv4 nameservers; a loopback one is asked by the engine from outside."""
    matches = []
    for text in nameservers:
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            continue
        if not address.is_loopback:
            for protocol in ("udp", "tcp"):
                matches.append(f"-d {address}/32 -p {protocol} -m {protocol} --dport 53")
    return matches


def nameservers(resolv_conf: str) -> list[str]:
    """The addresses after `nameserver` in a resolv.conf(5)."""
    lines = (line.split() for line in resolv_conf.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def is_set(table: Table, present: str) -> bool:
    """Whether `present`, the output of `iptables -S`, already is what `table` wants."""
    lines = present.splitlines()
    chains = all(_rules_of(lines, chain) == list(rules) for chain, rules in table.chains)
    return chains and all(_stands_first(_rules_of(lines, chain), rule) for chain, rule in table.jumps)


def restore_text(table: Table, present: str) -> str:
    """Input of `iptables-restore --noflush` that makes it so, in one transaction.

    Declaring a chain empties it, ours alone; DOCKER-USER is only declared where Docker has not made it yet.
    """
    lines = present.splitlines()
    text = ["*filter", *(f":{chain} - [0:0]" for chain, _ in table.chains)]
    for chain, _ in table.jumps:
        if chain == "DOCKER-USER" and f"-N {chain}" not in lines:
            text += [f":{chain} - [0:0]", f"-A {chain} -j RETURN"]
    for _, rules in table.chains:
        text += rules
    for chain, rule in table.jumps:
        there = _rules_of(lines, chain)
        if not _stands_first(there, rule):
            text += ["-D" + rule.removeprefix("-A")] * there.count(rule)
            text.append(rule.replace(f"-A {chain}", f"-I {chain} 1", 1))
    return "\n".join([*text, "COMMIT", ""])


def removal_text(instance: str, present: str) -> str:
    """Input of `iptables-restore --noflush` that takes our rules away; Docker's chain and its jump stay."""
    lines = present.splitlines()
    ours = [chain for chain in (forward_chain(instance), input_chain(instance)) if f"-N {chain}" in lines]
    jumps = [line for line in lines if any(line.endswith(f" -j {chain}") for chain in ours)]
    text = ["*filter", *(f":{chain} - [0:0]" for chain in ours)]
    text += ["-D" + line.removeprefix("-A") for line in jumps]
    text += [f"-X {chain}" for chain in ours]
    return "\n".join([*text, "COMMIT", ""])


def _rules_of(lines: Sequence[str], chain: str) -> list[str]:
    return [line for line in lines if line.startswith(f"-A {chain} ")]


def _stands_first(rules: Sequence[str], wanted: str) -> bool:
    """Once there, with only jumps of installations like ours before it: others could let packets by."""
    if rules.count(wanted) != 1:
        return False
    before = rules[: rules.index(wanted)]
    return all(" -j GPU-GATEWAY-" in rule for rule in before)
