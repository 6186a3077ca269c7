"""Cases of forwards into the container's own network. The numbers are the clients' matrix's."""

from __future__ import annotations

from tests.conformance.case import Case

# A server of one manner inside, and a forward to it at the socket ./s; both go with the script.
_SERVED = r"""
served() { coproc ssh gw "python3 -u - $*" <"$PROGRAMS/serve.py"; read -r -t 60 at <&"${COPROC[0]}"; }
forwarded() { ssh -N -o ExitOnForwardFailure=yes "$@" gw & until_ok test -S s; }
talk() { timeout 60 python3 "$PROGRAMS/talk.py" "$@"; }
"""

CASES = [
    Case(
        "39 a server on the loopback inside",
        _SERVED
        + r"""
        served whole; forwarded -L $PWD/s:127.0.0.1:$at
        for n in 1 100000 5000000; do head -c $n /dev/zero | talk s; done
        """,
        shows="got 1\ngot 100000\ngot 5000000\n",
    ),
    Case(
        "39 localhost, which has two addresses",
        _SERVED + "served whole; forwarded -L $PWD/s:localhost:$at; echo | talk s",
        shows="got 1\n",
    ),
    Case(
        "39 this machine's own loopback is not reached",
        r"""
        python3 -u "$PROGRAMS/serve.py" first >port & until_ok test -s port
        ssh -o LogLevel=INFO -W 127.0.0.1:$(cat port) gw; echo $?
        """,
        shows="(?s)255\n---\n.*connect failed: Connection refused",
    ),
    Case(
        "40 a reader that stalls holds up nobody",
        _SERVED + 'served flood; forwarded -L $PWD/s:127.0.0.1:$at; python3 "$PROGRAMS/many.py" s 20',
        shows=r"\n20 [0-9a-f]{64}\n",
    ),
    Case(
        "40 three hundred at once",
        _SERVED + 'served flood; forwarded -L $PWD/s:127.0.0.1:$at; python3 "$PROGRAMS/many.py" s 300',
        shows=r"\n300 [0-9a-f]{64}\n",
        slow=True,
    ),
    Case(
        "41 a server that speaks first loses no byte",
        _SERVED
        + r"""
        served first; forwarded -L $PWD/s:127.0.0.1:$at
        for _ in 1 2 3 4 5; do talk s --open </dev/null | sha256sum; done | sort | uniq -c
        """,
        shows=r"5 [0-9a-f]{64}  -\n",
    ),
    Case(
        "41 a server that ends its sending side first",
        _SERVED
        + r"""
        served silent; forwarded -L $PWD/s:127.0.0.1:$at
        head -c 1000000 /dev/zero | talk s; echo ended $?
        """,
        shows="ended 0\n",
    ),
    Case(
        "41 a server that resets",
        _SERVED
        + r"""
        served reset; forwarded -L $PWD/s:127.0.0.1:$at
        for _ in 1 2 3; do echo x | talk s; done; echo alive
        """,
        shows="alive",
    ),
    Case(
        "42 a port where nobody listens",
        r"""
        for to in 127.0.0.1:9 localhost:9; do ssh -o LogLevel=INFO -W $to gw; echo $?; done
        ssh -N -M -S ./m gw & until_ok test -S m; ssh -S ./m -O forward -L $PWD/s:127.0.0.1:9 gw
        python3 "$PROGRAMS/talk.py" s </dev/null; ssh -S ./m gw echo alive; ssh -q -S ./m -O exit gw
        """,
        shows="(?s)255\n255\nalive\n.*open failed: connect failed: Connection refused",
    ),
    Case(
        "42 a name that nobody knows",
        "ssh -o LogLevel=INFO -W nosuchhost.invalid:80 gw; echo $?",
        shows="(?s)255\n.*open failed",
        hides=("Name or service not known|Temporary failure in name resolution",),
    ),
    Case(
        "43 a socket file inside",
        _SERVED
        + r"""
        served whole /home/alice/c43; forwarded -L $PWD/s:/home/alice/c43
        head -c 2000000 /dev/zero | talk s; ssh gw rm c43
        """,
        shows="got 2000000\n",
    ),
    Case(
        "43 a socket file that is not there, or is none",
        r"""
        ssh -o LogLevel=INFO -N -M -S ./m gw & until_ok test -S m
        i=0; for path in /nosuch /etc/passwd /tmp /root/x; do
            ssh -S ./m -O forward -L $PWD/s$((++i)):$path gw; python3 "$PROGRAMS/talk.py" s$i </dev/null
        done
        ssh -S ./m gw echo alive; ssh -q -S ./m -O exit gw
        """,
        shows="(?s)alive.*open failed: connect failed: ",
    ),
    Case(
        "44 names are looked up inside",
        _SERVED
        + r"""
        served http
        free=$(free_port)
        ssh -N -D 127.0.0.1:$free gw & until_ok listens $free
        for host in 127.0.0.1 localhost
        do curl -s --socks5-hostname 127.0.0.1:$free http://$host:$at/; echo " $?"; done
        curl -s --socks4a 127.0.0.1:$free http://localhost:$at/; echo " $?"
        curl -s --socks5-hostname 127.0.0.1:$free http://127.0.0.1:9/; echo " $?"
        """,
        shows="inside 0\ninside 0\ninside 0\n 97\n",
    ),
    Case(
        "48 standard streams as a forward",
        _SERVED + "served whole; head -c 3000000 /dev/zero | ssh -W 127.0.0.1:$at gw; echo $?",
        shows="got 3000000\n0\n",
    ),
]
