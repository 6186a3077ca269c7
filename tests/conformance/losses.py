"""Cases of a connection that is lost: what lives on and what does not, by sshd's rule. And of beginnings."""

from __future__ import annotations

from tests.conformance.case import Case, Side

# `lost OPTIONS COMMAND` starts ssh, waits until the command has said `go`, and kills the client.
_LOST = r"""
lost() { ssh "$@" >said 2>/dev/null </dev/null & until_ok grep -qs go said; kill -9 $!; wait $! 2>/dev/null; }
there() { ssh gw "pgrep -f '$1' | wc -l"; }
ends() { gone() { [ "$(there "$1")" = 0 ]; }; until_ok gone "$1"; }
"""


def _cold(side: Side) -> str:
    """Twenty logins at once, and nothing runs yet that has to be started for them."""
    return side.meanwhile(
        side.cool,
        r"""
        outside; for i in $(seq 20); do
            { ssh gw 'readlink /proc/self/ns/pid; echo in; exit 3'; echo $?; } >$i 2>err$i & pids+=($!)
        done; wait "${pids[@]}"
        cat [0-9]* | grep -v pid: | sort | uniq -c; cat [0-9]* | grep pid: | sort -u | wc -l
        cat err* | sort -u >&2
        """,
    )


def _restarted(side: Side) -> str:
    """A server, a multiplexer and a session, and the server that led to them is started anew."""
    return side.meanwhile(
        side.restart,
        r"""
        mkfifo in; exec 8<>in
        ssh gw 'tmux -L c74 new -d "exec sleep 7401"
            nohup python3 -m http.server --bind 127.0.0.1 2274 >/dev/null 2>&1 </dev/null &
            echo go; read line; echo "$line"' <in >out 2>err & pid=$!
        until_ok grep -qs go out; outside; until_ok ssh gw true 2>/dev/null; echo went on >&8
        wait $pid; echo "session $?"; cat out; cat err >&2
        ssh gw 'tmux -L c74 ls | wc -l; pgrep -c -x -f "sleep 7401"'
        served() { printf 'HEAD / HTTP/1.0

' | ssh -W 127.0.0.1:2274 gw | head -1; }; served
        ssh gw 'tmux -L c74 kill-server; pkill -f "bind 127.0.0.1 227[4]"'
        """,
    )


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
    Case(
        "68 twenty logins at once when nothing runs",
        play=_cold,
        shows="---\n *20 3\n *20 in\n1\n---\n$",
        ours="---\n *20 3\n *20 in\n1\n---\ngpu-gateway: starting your container\n",
        why="a container has to be started, and that is told on stderr",
        alone=True,
    ),
    Case(
        "74 started anew under a session",
        play=_restarted,
        shows="---\nsession 0\ngo\nwent on\n1\n1\nHTTP/1.0 200 OK",
        ours="---\nsession 255\ngo\n1\n1\nHTTP/1.0 200 OK(?s:.*)The gateway is restarting; log in again",
        why="its connections end with a gateway, which says so, and what runs inside goes on",
        alone=True,
    ),
]
