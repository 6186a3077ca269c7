"""Cases of the connection: shared, kept alive, known again. The numbers are the clients' matrix's."""

from __future__ import annotations

import asyncio

import asyncssh

from tests.conformance.case import Case, Side


def _no_more_sessions(side: Side) -> str:
    """A client that promised to open none and opens one all the same."""

    async def play() -> str:
        async with asyncssh.connect(
            side.host,
            side.port,
            username="alice",
            client_keys=[str(side.key)],
            known_hosts=None,
            config=None,
        ) as client:
            first = await client.run("exit 0")
            client._send_global_request(b"no-more-sessions@openssh.com", want_reply=False)
            try:
                await asyncio.wait_for(client.run("echo second"), 20)
            except asyncssh.ChannelOpenError as error:
                return f"first {first.exit_status}\n" + (
                    "refused" if error.code == 1 else "the connection is lost"
                )
            except (asyncssh.DisconnectError, ConnectionError):
                return f"first {first.exit_status}\nthe connection is lost"
            return "it was opened"

    return asyncio.run(play())


# `inner PORT` starts OpenSSH's own sshd inside and `away PORT` ends it; `by` is an ssh that knows `inner` and
# every host that `at NAME PORT` says is at that port of a loopback.
_INNER = r"""
cat "$CONFIG" >jump
at() {
    sed "s/^Host gw/Host $1/; s/HostName .*/HostName 127.0.0.1/; s/Port .*/Port $2/
        s,UserKnownHostsFile.*,UserKnownHostsFile ./known-$1," "$CONFIG" >>jump
}
by() { /usr/bin/ssh -F jump -o KexAlgorithms=curve25519-sha256 "$@"; }
inner() {
    ssh gw "mkdir -m 700 c$1; tar -xf - -C c$1; ssh-keygen -q -t ed25519 -N '' -f c$1/host" <"$SSHD"
    ssh gw "cat >c$1/keys" <"$KEY.pub"
    ssh gw "cd c$1; LD_LIBRARY_PATH=\$PWD exec \$PWD/sshd -D -e -p $1 -h \$PWD/host -f /dev/null \
        -o ListenAddress=127.0.0.1 -o PidFile=none -o StrictModes=no -o AuthorizedKeysFile=\$PWD/keys \
        -o UsePAM=no" 2>log >/dev/null & until_ok grep -qs listening log
    at inner "$1"
}
away() { ssh gw "pkill -f 'sshd -D -e -p [${1%"${1#?}"}]${1#?}'; rm -r c$1"; }
"""
_MASTER = 'ssh -N -M -S ./m "$@" gw & until_ok test -S m\n'
_QUIT = "\nssh -q -S ./m -O exit gw"

CASES = [
    Case(
        "no session at all",
        r"""
        ssh -N -M -S ./m gw & pid=$!; until_ok test -S m; sleep 1; kill -0 $pid && echo there; kill $pid
        """,
        shows="there\n",
    ),
    Case(
        "49 forty sessions on one connection (C6)",
        _MASTER
        + r"""
        for i in $(seq 40); do (echo $i | ssh -S ./m gw "cat; exit $i"; echo "$i $?") & pids+=($!)
        done >out; wait "${pids[@]}"
        sort -n out | sha256sum; grep -c ' ' out
        """
        + _QUIT,
        shows="  -\n40\n",
    ),
    Case(
        "49 every kind of channel on one connection",
        _MASTER
        + r"""
        head -c 2000000 /dev/urandom >f
        (scp -q -o ControlPath=./m f gw:c49; echo scp $?) >1 &
        (echo 'get /etc/passwd p' | sftp -q -o ControlPath=./m -b - gw >/dev/null; echo sftp $?) >2 &
        (ssh -tt -S ./m gw 'tty >/dev/null; exit 9' </dev/null; echo tty $?) >3 &
        (ssh -S ./m -W 127.0.0.1:9 gw; echo forward $?) >4 2>/dev/null &
        (ssh -S ./m gw cat <f | cmp - f; echo cat $?) >5 &
        until_ok test -s 1; until_ok test -s 2; until_ok test -s 3; until_ok test -s 4; until_ok test -s 5
        cat 1 2 3 4 5; ssh -S ./m gw 'cat c49; rm c49' | cmp - f && echo same
        ssh -S ./m -O check gw 2>&1 | grep -c running
        """
        + _QUIT,
        shows="scp 0\nsftp 0\ntty 9\nforward 255\ncat 0\nsame\n1\n",
    ),
    Case(
        "49 a killed sharer leaves the others",
        _MASTER
        + r"""
        ssh -S ./m gw 'echo ready; exec sleep 4901' >1 & pid=$!; until_ok test -s 1
        ssh -S ./m gw 'echo ready; sleep 2; echo end' >2 & other=$!; until_ok test -s 2
        kill -9 $pid; wait $other 2>/dev/null; cat 2; ssh -S ./m gw echo more
        """
        + _QUIT,
        shows="ready\nend\nmore\n",
        hides=(r"^bash: line .*Killed.*",),
    ),
    Case(
        "48 through it to a server inside, and further",
        _INNER
        + r"""
        inner 2248; by -J gw inner 'echo inside; exit 5'; echo $?
        head -c 1000000 /dev/urandom >f; by -J gw inner cat <f | cmp - f && echo same
        by -J gw,inner inner 'echo twice'; echo $?; away 2248
        """,
        shows="inside\n5\nsame\ntwice\n0\n",
    ),
    Case(
        "48 into it, through itself and through OpenSSH's sshd",
        _INNER
        + r"""
        inner 2249; at back 2250; at further 2251; head -c 1000000 /dev/urandom >f
        by -N -M -S ./m1 -R "2250:$HOST:$PORT" gw & until_ok test -S m1
        by -N -M -S ./m2 -J gw -R "2251:$HOST:$PORT" inner & until_ok test -S m2
        by -J gw back 'echo through itself; exit 6'; echo $?
        by -J gw,inner further 'echo through sshd; exit 7'; echo $?
        by -J gw,inner further cat <f | cmp - f && echo same
        by -J gw,back,inner further 'echo through all'; echo $?
        for m in m1 m2; do by -q -S ./$m -O exit gw; done; away 2249
        """,
        shows="through itself\n6\nthrough sshd\n7\nsame\nthrough all\n0\n",
    ),
    Case(
        "48 reached through another program",
        r"""
        proxy="bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3; kill \$!'"
        head -c 1000000 /dev/urandom >f; ssh -o ProxyCommand="$proxy" gw cat <f | cmp - f && echo same
        """,
        shows="same\n",
    ),
    Case(
        "70 host keys are learned",
        r"""
        cp "$KNOWN" known; ssh -o UserKnownHostsFile=./known -o UpdateHostKeys=yes gw true; echo $?
        ssh-keyscan -p "$PORT" "$HOST" 2>/dev/null | cut -d' ' -f2 | sort; cut -d' ' -f2 known | sort -u
        for kind in ssh-ed25519 ecdsa-sha2-nistp256 rsa-sha2-512 rsa-sha2-256; do
            ssh -o HostKeyAlgorithms=$kind -o UserKnownHostsFile=./known -o StrictHostKeyChecking=yes \
                gw echo $kind
        done
        ssh-keygen -lf known | cut -d' ' -f1,4 | sort -u
        """,
        shows="0\n(ecdsa-sha2-nistp256\nssh-ed25519\nssh-rsa\n){2}"
        "ssh-ed25519\necdsa-sha2-nistp256\nrsa-sha2-512\nrsa-sha2-256\n256 ",
    ),
    Case(
        "70 no key of SHA-1 or DSA is signed with",
        "for kind in ssh-rsa ssh-dss; do ssh -o HostKeyAlgorithms=$kind gw true; echo $?; done",
        shows="255\n",
    ),
    Case(
        "which signatures are taken",
        r"""
        ssh -v -o LogLevel=DEBUG1 gw true 2>&1 | grep -o 'server-sig-algs=.*' | tr -d '<>\r' |
        cut -d= -f2 |
        tr , '\n' |
        sort | uniq -c | grep -c -E ' 1 (ssh-ed25519|rsa-sha2-512|rsa-sha2-256|ecdsa-sha2-nistp256)$'
        """,
        shows="4\n",
    ),
    Case("no more sessions", play=_no_more_sessions, shows="^first 0\nthe connection is lost$"),
    Case(
        "no signature of SHA-1 or DSA is taken",
        r"""
        ssh -o LogLevel=DEBUG1 gw true 2>&1 | grep -o 'server-sig-algs=.*' | tr ',>' '\n\n' |
            grep -c -E '^ssh-(dss|rsa)$'; echo over
        """,
        shows="2\nover\n",
        ours="0\nover\n",
        why="sshd tells of signatures that it refuses; we tell of those that we take",
    ),
    Case(
        "73 a client that asks whether we live",
        "ssh -o ServerAliveInterval=1 -o ServerAliveCountMax=2 gw 'sleep 4; echo end'; echo $?",
        shows="end\n0\n",
    ),
    Case(
        "73 a client that sleeps for a while",
        r"""
        ssh gw 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done; exit 3' >out & until_ok test -s out
        pid=$(pgrep -n -P $$ -x ssh || echo $!); kill -STOP $pid; sleep 2; kill -CONT $pid; wait $!
        echo $?; cat out
        """,
        shows="3\n1\n2\n3\n4\n5\n6\n",
    ),
    Case(
        "compression is taken or not, and never wrong",
        "head -c 3000000 /dev/zero >f; ssh -C gw cat <f | cmp - f && echo same; ssh -C gw 'exit 4'; echo $?",
        shows="same\n4\n",
    ),
    Case(
        "69 many keys before the right one",
        r"""
        eval $(ssh-agent) >/dev/null; for i in 1 2 3 4; do ssh-keygen -q -t ed25519 -N '' -f k$i
        ssh-add -q k$i; done; ssh-add -q "$KEY"
        ssh -o IdentitiesOnly=no -o IdentityAgent=$SSH_AUTH_SOCK -o IdentityFile=$PWD/none gw echo in
        kill $SSH_AGENT_PID
        """,
        shows="in\n",
    ),
    Case(
        "69 whoever is not known",
        r"""
        ssh-keygen -q -t ed25519 -N '' -f k; ssh -i k -o IdentityFile=none gw true 2>&1 |
        grep -o 'Permission denied (publickey'
        ssh -l nobody8 gw true 2>&1 | grep -o 'Permission denied (publickey'
        """,
        shows="Permission denied",
    ),
]
