"""A server that asks whether its client lives, as sshd with ClientAliveInterval: who is dropped, who never.

sshd and the gateway both ask every second here and give up after four answers missed; the gateway is a copy
of the product in which that second stands in the place of thirty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import SSHPacket, String

from gateway.ssh.options import KEEPALIVES_MISSED
from tests.conformance.case import Case, Side
from tests.conformance.changed import changed
from tests.conformance.conftest import Answers, at_once, side_of_a_gateway, side_of_sshd, wanted
from tests.conformance.test_conformance import compare
from tests.stories.conftest import a_house, ended
from tests.support.oracle import Oracle

ASKED = KEEPALIVES_MISSED + 2
"""So many questions no client hears that is to be dropped."""

# `asleep OPTIONS COMMAND` starts ssh, waits until the command has said `go`, and stops the client.
_ASLEEP = r"""
asleep() { ssh "$@" <&0 >said 2>err & pid=$!; until_ok grep -qs go said; kill -STOP $pid; }
there() { ssh gw "pgrep -f '$1' | wc -l"; }
ends() { gone() { [ "$(there "$1")" = 0 ]; }; until_ok gone "$1"; }
awake() { kill -CONT $pid; wait $pid; echo "status $?"; }
"""


def _deaf(side: Side) -> str:
    """A client that answers no question, and at each says something else."""

    async def play() -> str:
        asked = 0

        class Deaf(asyncssh.SSHClientConnection):
            def _process_keepalive_at_openssh_dot_com_global_request(self, packet: SSHPacket) -> None:
                nonlocal asked
                asked += 1
                self._global_request_queue.pop(0)
                self.send_packet(MSG_IGNORE, String(b""))

        options: Any = await asyncssh.SSHClientConnectionOptions.construct(
            username="alice", client_keys=[str(side.key)], known_hosts=None, config=None
        )
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Deaf(loop, options), side.host, side.port)
        async with client:
            while asked < ASKED and not client.is_closed():
                await asyncio.sleep(0.05)
            return f"lives: {not client.is_closed()}"

    return asyncio.run(asyncio.wait_for(play(), 60))


CASES = [
    Case(
        "73 a terminal of a client that sleeps too long is hung up",
        _ASLEEP + "asleep -tt gw 'echo go; sleep 7311; :'; ends 'sleep 731[1]'; awake",
        shows="---\nstatus 255\n",
    ),
    Case(
        "73 a command of a client that sleeps too long sees the end of its input, and no signal",
        _ASLEEP
        + r"""
        mkfifo in; exec 8<>in
        asleep gw 'sleep 7321 >/dev/null 2>&1 & echo go; cat >/dev/null; echo over >over73' <in
        until_ok ssh gw 'grep -qs over over73'; there 'sleep 732[1]'; awake
        ssh gw "pkill -f 'sleep 732[1]'; cat over73; rm over73"
        """,
        shows="---\n1\nstatus 255\nover\n",
    ),
    Case(
        "73 a client that sleeps while much is sent to it",
        _ASLEEP + "asleep gw 'echo go; exec yes 7331'; ends 'yes 733[1]'; awake",
        shows="---\nstatus 255\n",
    ),
    Case(
        "73 a client that says nothing by itself stays",
        rf"""
        mkfifo in; ssh -o LogLevel=DEBUG3 gw 'read line; echo "$line"' <in >out 2>log & pid=$!; exec 8>in
        asked() {{ [ "$(grep -c 'rtype keepalive@openssh.com' log)" -ge {ASKED} ]; }}; until_ok asked
        echo still here >&8; wait $pid; echo $?; cat out
        """,
        shows="---\n0\nstill here\n",
    ),
    Case("73 a client that answers nothing and talks stays", play=_deaf, shows="^lives: True$"),
]


@pytest.fixture(scope="module")
def asked_at_once(
    request: pytest.FixtureRequest,
    base_image: str,
    oracle_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Answers]:
    """What both answer who ask every second."""
    rules = f"AddressFamily inet\nClientAliveInterval 1\nClientAliveCountMax {KEEPALIVES_MISSED}\n"
    with closing(Oracle(oracle_image, config=rules)) as oracle:
        house = a_house(base_image)
        house.launcher = changed(
            tmp_path_factory.mktemp("asking"),
            {"ssh/options.py": ("KEEPALIVE_EVERY = 30", "KEEPALIVE_EVERY = 1")},
        )
        try:
            sides = (side_of_sshd(oracle), side_of_a_gateway(house, Path("none")))
            with at_once(wanted(request, "asked_at_once"), sides) as both:
                yield both
        finally:
            ended(house)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_sshd_that_asks(case: Case, asked_at_once: Answers) -> None:
    compare(case, *asked_at_once(case))
