"""Cases of what listens inside for the person outside: ports, socket files, her agent."""

from __future__ import annotations

from tests.conformance.case import Case

# A server of one manner on this machine, at the port $here.
_HERE = r"""
here() { python3 -u "$PROGRAMS/serve.py" "$@" >port & until_ok test -s port; here=$(cat port); }
master() { ssh -o LogLevel=INFO "$@" -N -M -S ./m gw 2>err & until_ok test -S m; }
on() { ssh -S ./m gw "$@"; }
ask() { ssh -S ./m -O "$@" gw; }
quit() { ssh -q -S ./m -O exit gw; }
heard() { on "exec 3<>/dev/tcp/$1/$2; cat <&3 | sha256sum"; }
listening() { on "cat /proc/net/tcp* | grep ':$(printf %04X $1) .* 0A ' | tr -s ' ' | cut -d' ' -f3"; }
"""

CASES = [
    Case(
        "45 a port of the server's choice",
        _HERE
        + r"""
        here first; master; p=$(ask forward -R 0:127.0.0.1:$here); test $p -gt 1023 && echo chosen
        for host in 127.0.0.1 localhost; do heard $host $p; done; quit
        """,
        shows=r"chosen\n([0-9a-f]{64}  -\n)\1",
    ),
    Case(
        "45 a port that the client is told of",
        _HERE
        + r"""
        here first; ssh -o LogLevel=INFO -R 0:127.0.0.1:$here gw true 2>&1 | tr -d '\r' |
            sed "s/port [0-9]*/port N/; s/to .*:$here/to M/"
        """,
        shows="Allocated port N for remote forward to M",
    ),
    Case(
        "45 ports and addresses by name",
        _HERE
        + r"""
        here first; master
        ask forward -R 9145:127.0.0.1:$here; ask forward -R '*:9146':127.0.0.1:$here
        ask forward -R localhost:9147:127.0.0.1:$here; ask forward -R 192.0.2.1:9149:127.0.0.1:$here
        for p in 9145 9146 9147 9149; do heard 127.0.0.1 $p; listening $p; done; quit
        """,
        shows=r"0100007F:23B9",
    ),
    Case(
        "45 a port below 1024",
        _HERE + "here first; master; ask forward -R 845:127.0.0.1:$here; echo $?; quit",
        shows="---\n0\n",
    ),
    Case(
        "45 PyCharm-shaped: a port of localhost (C4)",
        _HERE
        + "here first; master; p=$(ask forward -R localhost:0:127.0.0.1:$here); heard 127.0.0.1 $p; quit",
        shows=r"[0-9a-f]{64}  -\n",
    ),
    Case(
        "46 a socket file",
        _HERE
        + r"""
        here first; master; ask forward -R /home/alice/r46:127.0.0.1:$here; echo $?
        on 'stat -c "%a %U %F" r46'
        on 'python3 -c "import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"r46\")
print(len(s.makefile(\"rb\").read()))"'
        quit; sleep 2; ssh gw 'test -e r46 && echo left; rm -f r46'
        """,
        shows=r"0\n600 alice socket\n\d+\nleft\n",
        ours=r"0\n600 alice socket\n\d+\n---",
        why="a file on which nobody listens any more would be in the way of the next connection",
    ),
    Case(
        "46 a socket file that is there already, or cannot be",
        _HERE
        + r"""
        here first; master; ssh gw 'echo mine >r46b'
        for path in /home/alice/r46b /nosuch/r46 /root/r46; do
            ask forward -R $path:127.0.0.1:$here; echo $?
        done
        on 'cat r46b; rm r46b'; quit
        """,
        shows="255\n255\n255\nmine\n",
    ),
    Case(
        "47 a port that is taken",
        _HERE
        + r"""
        here first; master; ask forward -R 9148:127.0.0.1:$here
        ssh -o ExitOnForwardFailure=yes -R 9148:127.0.0.1:$here gw echo no; echo $?
        ssh -R 9148:127.0.0.1:$here gw echo yes; echo $?; quit
        """,
        shows="255\nyes\n0\n(?s:.*)remote port forwarding failed for listen port 9148",
    ),
    Case(
        "47 taken back, twice, and what never was",
        _HERE
        + r"""
        here first; master; ask forward -R 9247:127.0.0.1:$here; ask cancel -R 9247:127.0.0.1:$here; echo $?
        on 'exec 3<>/dev/tcp/127.0.0.1/9247' 2>/dev/null; echo $?; ask cancel -R 9247:127.0.0.1:$here; echo $?
        ask cancel -R 9248:127.0.0.1:$here; echo $?; ask forward -R 9247:127.0.0.1:$here
        heard 127.0.0.1 9247; quit
        """,
        shows="0\n1\n0\n0\n[0-9a-f]{64}  -",
    ),
    Case(
        "47 nobody at home",
        _HERE
        + r"""
        master; ask forward -R 9347:127.0.0.1:9; on 'cat </dev/tcp/127.0.0.1/9347; echo $?'
        on echo alive; quit
        """,
        shows="0\nalive\n",
    ),
    Case(
        "45 half-closes on the way back (C2)",
        _HERE
        + r"""
        here whole; master; p=$(ask forward -R 0:127.0.0.1:$here)
        on "python3 -c 'import socket
s = socket.create_connection((\"127.0.0.1\", $p)); s.sendall(bytes(1000000)); s.shutdown(1)
print(s.makefile().read())'"; quit
        """,
        shows="got 1000000\n",
    ),
    Case(
        "50 an agent",
        r"""
        eval $(ssh-agent -s) >/dev/null; ssh-keygen -q -t ed25519 -N '' -C fifty -f k; ssh-add -q k
        ssh -A gw 'ssh-add -l | cut -d" " -f1,3,4; stat -c "%U %F" $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK
            stat -c %a $(dirname $SSH_AUTH_SOCK); echo x >s50; ssh-add -L >k50
            ssh-keygen -q -Y sign -n t -f k50 s50 && head -1 s50.sig; rm ?50*' |
            sed "s,/ssh-[^/]*/agent.*,/ssh-X/agent,"
        ssh gw 'echo [$SSH_AUTH_SOCK]'; ssh -A gw 'echo $SSH_AUTH_SOCK' >path
        until_ok ssh gw "test ! -e $(cat path)" && echo gone; kill $SSH_AGENT_PID
        """,
        shows=r"256 fifty \(ED25519\)\nalice socket\n/tmp/ssh-X/agent\n700\n-----BEGIN SSH SIGNATURE",
    ),
    Case(
        "51 open-remote-ssh-shaped: an agent for the connection's life",
        r"""
        eval $(ssh-agent -s) >/dev/null; ssh-add -q "$KEY"; mkfifo in
        ssh -A -N -M -S ./m gw & until_ok test -S m
        ssh -A -S ./m gw 'echo "$SSH_AUTH_SOCK"; exec cat' <in >first & exec 8>in; until_ok test -s first
        for i in 1 2 3; do ssh -A -S ./m gw 'ssh-add -l >/dev/null; echo $?; echo $SSH_AUTH_SOCK' >more
            head -1 more; diff first <(tail -1 more) && echo same; done
        exec 8>&-; ssh -A -S ./m gw 'ssh-add -l | wc -l'; ssh -q -S ./m -O exit gw; kill $SSH_AGENT_PID
        """,
        shows="0\nsame\n0\nsame\n0\nsame\n1\n",
    ),
    Case(
        "52 windows of programs inside",
        r"""
        export DISPLAY=:5252; look='echo $DISPLAY | sed "s/:[0-9]*/:N/"
            xauth list $DISPLAY | tr -s " " | cut -d" " -f2; stat -c "%a %U" ~/.Xauthority'
        ssh -Y gw "$look" 2>/dev/null; ssh -x gw 'echo [$DISPLAY]'
        ssh -Y -tt gw 'test -n "$DISPLAY"; echo $?' 2>/dev/null
        """,
        shows=r"localhost:N.0\nMIT-MAGIC-COOKIE-1\n600 alice\n\[\]\n0",
    ),
]
