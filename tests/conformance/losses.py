"""Cases of a connection that is lost: what lives on and what does not, by sshd's rule."""

from __future__ import annotations

from tests.conformance.case import Case

# `lost OPTIONS COMMAND` starts ssh, waits until the command has said `go`, and kills the client.
_LOST = r"""
lost() { ssh "$@" >said 2>/dev/null </dev/null & until_ok grep -qs go said; kill -9 $!; wait $! 2>/dev/null; }
there() { ssh gw "pgrep -f '$1' | wc -l"; }
ends() { gone() { [ "$(there "$1")" = 0 ]; }; until_ok gone "$1"; }
"""

CASES = [
    Case(
        "21 a terminal is hung up, two levels deep",
        _LOST
        + r"""
        lost -tt gw 'bash -c "sh -c \"echo go; sleep 2101\"; :"; :'; ends 'sleep 210[1]'
        ends 'bash -c sh -[c]'; there 'sleep 210[1]'
        """,
        shows="---\n0\n",
    ),
    Case(
        "21 what ignores a hang-up lives on",
        _LOST
        + r"""
        lost -tt gw 'nohup sleep 2111 >/dev/null 2>&1 & setsid sleep 2112 >/dev/null 2>&1 &
            (trap "" HUP; exec sleep 2113) & sleep 0.3; echo go; sleep 2114'
        ends 'sleep 211[4]'; there 'sleep 211[123]'; ssh gw "pkill -f 'sleep 211[123]'"
        """,
        shows="---\n3\n",
    ),
    Case(
        "21 without a terminal nothing is signalled",
        _LOST
        + r"""
        lost gw 'sh -c "echo go; sleep 2121; :"; :'; sleep 2; there 'sleep 212[1]'
        ssh gw "pkill -f 'sleep 212[1]'"
        """,
        shows="---\n2\n|---\n[1-9]\n",
    ),
    Case(
        "21 a command whose output is a file runs on",
        _LOST
        + r"""
        lost gw 'echo go; for i in 1 2 3 4 5 6 7 8; do sleep 0.3; echo $i; done >log21; echo over >>log21'
        until_ok ssh gw 'grep -q over log21'; ssh gw 'cat log21; rm log21'
        """,
        shows="1\n2\n3\n4\n5\n6\n7\n8\nover\n",
    ),
    Case(
        "21 a reader of the input sees its end",
        r"""
        mkfifo in; ssh gw 'echo go; cat >/dev/null; echo over >over21' <in >said 2>/dev/null & pid=$!
        exec 8>in; until_ok grep -qs go said; kill -9 $pid; wait $pid 2>/dev/null
        until_ok ssh gw 'grep -q over over21'; ssh gw 'cat over21; rm over21'
        """,
        shows="over\n",
    ),
    Case(
        "21 a writer of the output is told, two levels deep",
        _LOST
        + r"""
        lost gw 'bash -c "sh -c \"echo go; while echo 2131; do sleep 0.2; done\" 2>/dev/null; :"; :'
        ends 'whil[e] echo 2131'; there 'whil[e] echo 2131'
        """,
        shows="---\n0\n",
    ),
    Case(
        "21 the background of a shell on a terminal",
        _LOST
        + r"""
        lost -tt gw 'set -m; sleep 2141 & sleep 2142 >/dev/null 2>&1 & disown; echo go; sleep 2143'
        ends 'sleep 214[3]'; sleep 1; there 'sleep 214[12]'; ssh gw "pkill -f 'sleep 214[12]'"
        """,
        shows="---\n[0-2]\n",
    ),
]
