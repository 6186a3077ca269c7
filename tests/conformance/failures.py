"""Where other gateways are known to fail, a case each. The letters are the list's that these were taken from.

Some of the list are cases of other tables: C2 and C4 forward back from inside, C5 is the status of sftp.
"""

from __future__ import annotations

from tests.conformance.case import Case

CASES = [
    Case(
        "A1 a long answer after the end of input",
        r"""
        head -c 3000000 /dev/urandom >f; ssh gw 'cat >a1; sleep 0.5; cat a1; rm a1' <f | cmp - f && echo same
        """,
        shows="same\n",
    ),
    Case(
        "A2 a forward while sessions come and go",
        r"""
        ssh -N -M -S ./m gw & until_ok test -S m
        coproc ssh -S ./m gw "python3 -u - whole" <"$PROGRAMS/serve.py"; read -r -t 60 at <&"${COPROC[0]}"
        ssh -S ./m -O forward -L $PWD/s:127.0.0.1:$at gw
        for i in 1 2 3 4 5; do echo | python3 "$PROGRAMS/talk.py" s; ssh -S ./m gw true; done
        ssh -q -S ./m -O exit gw
        """,
        shows="(got 1\n){5}",
    ),
    Case(
        "A3 a program that is uploaded, renamed and run",
        r"""
        printf '#!/bin/sh\necho ran\n' >w
        printf 'put w a3.tmp\nchmod 755 a3.tmp\nrename a3.tmp a3\n' | sftp -q -b - gw >/dev/null
        ssh gw ./a3; echo $?; ssh gw rm a3
        """,
        shows="ran\n0\n",
    ),
    Case(
        "A4 a command that begins with a slash",
        "ssh gw '/bin/echo one; echo two | tr t T'; ssh gw '/bin/echo $HOME'; echo $?",
        shows="one\nTwo\n/home/alice\n0\n",
    ),
    Case(
        "A5 an sftp server of the container's own",
        r"""
        printf 'ls -l /etc/passwd\n' | sftp -q -b - gw | awk '{print $1, $3}'
        ssh -s gw sftp </dev/null; echo $?
        """,
        shows="-rw-r--r-- ",
    ),
    Case(
        "B1 six things at once",
        r"""
        ssh -N -M -S ./m gw & until_ok test -S m; echo x >f
        ssh -S ./m gw 'sleep 1; echo $0 $-' >1 & ssh -S ./m gw 'shopt -q login_shell; echo $?'
        wait $!; cat 1
        scp -q -o ControlPath=./m f gw:b1; ssh -S ./m -W 127.0.0.1:9 gw 2>/dev/null; echo $?
        ssh -S ./m gw 'cat b1; rm b1'; ssh -q -S ./m -O exit gw
        """,
        shows="1\nbash .*\n255\nx\n",
    ),
    Case(
        "B2 the status of a failure on a terminal",
        "ssh -tt gw 'test -x /nothing' </dev/null; echo $?; ssh -tt gw 'nosuchcmd' </dev/null; echo $?",
        shows="1\n(?s:.*)127\n",
    ),
    Case(
        "B3 sftp ends with status 0",
        r"""
        ssh -o LogLevel=DEBUG1 -s gw sftp </dev/null 2>&1 | grep -o 'rtype exit-status'
        echo bye | sftp -q -b - gw; echo $?
        """,
        shows="rtype exit-status\n(?s:.*)0\n",
    ),
    Case(
        "B4 nothing comes before the identification",
        r"""
        python3 - "$HOST" "$PORT" <<'E'
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
line = b""
while not line.endswith(b"\n"): line += peer.recv(1)
print(line[:12], line.endswith(b"\r\n"), len(line) < 256)
E
        """,
        shows=r"b'SSH-2.0-Open' True True",
    ),
    Case(
        "B5 the last line of many, again and again",
        "for _ in $(seq 5); do ssh gw 'seq 1 3000' | tail -1; done | uniq -c",
        shows="5 3000",
    ),
    Case(
        "C1 every session ends with a status",
        r"""
        for c in true false 'kill -9 $$' 'exec sleep 0'; do ssh -o LogLevel=DEBUG1 gw "$c" 2>&1 |
        grep -c 'rtype exit-'; done
        """,
        shows="1\n1\n1\n1\n",
    ),
    Case(
        "C3 no terminal unless it was asked for",
        r"""
        for o in -T -n -x
        do ssh $o gw 'test -t 0 || test -t 1 || echo none; echo ${SSH_TTY-unset}' </dev/null; done
        echo 'test -t 0 || echo none' | ssh gw; echo $?
        """,
        shows="(none\nunset\n){3}none\n0\n",
    ),
    Case(
        "C5 the status of a transfer that failed",
        r"""
        echo 'get nothing' | sftp -q -b - gw; echo $?; echo '-get nothing' | sftp -q -b - gw; echo $?
        echo x | scp -q /dev/stdin gw:/root/x; echo $?
        """,
        shows="1\n(?s:.*)0\n",
    ),
    Case(
        "C8 a shell that is not bash",
        r"""
        printf 'echo one; exec sh\necho two\nexit 3\n' | ssh -T gw; echo $?
        ssh gw 'exec dash -c "echo three; exit 4"'; echo $?
        """,
        shows="one\ntwo\n3\nthree\n4\n",
    ),
    Case(
        "D1 what runs when the client is killed",
        r"""
        ssh gw 'echo go; while :; do sleep 0.2; echo $((++n)) >d1; printf x; done' >out &
        until_ok test -s out; sleep 1; kill -9 $!
        until_ok ssh gw "! pgrep -f '[e]cho go; while' >/dev/null" && echo ended
        ssh gw 'test -s d1 && echo ran; rm d1'
        """,
        shows="ended\nran\n",
        hides=(r"^.*Killed.*",),
    ),
    Case(
        "D2 rsync through a pipe",
        r"""
        mkdir a; for i in $(seq 100); do echo $i >a/$i; done; timeout 60 rsync -a -e ssh a gw:d2
        echo $?; ssh gw 'find d2 -type f | wc -l; rm -r d2'
        """,
        shows="0\n100\n",
    ),
    Case(
        "D3 the end of input arrives",
        r"""
        for i in 1 2 3 4 5; do echo x | timeout 20 ssh gw 'cat >/dev/null; echo end'; done
        timeout 20 ssh gw 'wc -c' </dev/null
        """,
        shows="(end\n){5}0\n",
    ),
    Case(
        "D4 a silence after the end of input",
        "ssh gw 'cat; sleep 4; echo late' </dev/null; echo $?",
        shows="late\n0\n",
    ),
    Case(
        "D5 a status at once, of a program that is over at once",
        r"""
        ssh -N -M -S ./m gw & until_ok test -S m; for i in $(seq 30); do ssh -S ./m gw 'exit 9'
        echo $?; done | uniq -c; ssh -q -S ./m -O exit gw
        """,
        shows="30 9\n",
    ),
    Case(
        "D6 nothing is left of two hundred sessions",
        r"""
        ssh -N -M -S ./m gw & until_ok test -S m; ssh -S ./m gw true
        count() { ssh -S ./m gw 'ps -e --no-headers | wc -l'; }
        before=$(count); for i in $(seq 200); do ssh -S ./m gw true & pids+=($!)
        ((i % 20)) || { wait "${pids[@]}"; pids=(); }; done
        same() { [ $(count) = $before ]; }; until_ok same && echo same; ssh -q -S ./m -O exit gw
        """,
        shows="same\n",
        slow=True,
    ),
    Case(
        "E1 many inputs that end at once",
        r"""
        ssh -N -M -S ./m gw & until_ok test -S m; for i in $(seq 20)
        do (echo $i | ssh -S ./m gw 'sort; echo end' | tail -1) & pids+=($!); done >out
        wait ${pids[@]}; sort out | uniq -c; ssh -q -S ./m -O exit gw
        """,
        shows="20 end\n",
    ),
    Case(
        "E2 a program that goes on after its input, and its output after that",
        r"""
        printf 'a\nb\n' |
        ssh gw 'while read l; do echo $l; done; for i in 1 2 3; do sleep 0.3; echo $i; done; exit 8'
        echo $?
        """,
        shows="a\nb\n1\n2\n3\n8\n",
    ),
]
