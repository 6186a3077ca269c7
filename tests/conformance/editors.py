"""What editors do, shaped as they do it: their command lines, scripts and forwards, without the editors.

None of these editors was ever run. The shapes are those of their published sources and logs.
"""

from __future__ import annotations

from tests.conformance.case import Case

# `script NAME` writes the bootstrap with an id. `at FILE` waits for the port in its answer and says it.
# `version FILE` asks the server inside through the SOCKS forward. `clean NAME` ends it, folder and all.
_EDITOR = r"""
free=$(free_port)
script() { echo "ID=$1; ${2:-}"; cat "$PROGRAMS/bootstrap.sh"; }
at() { until_ok grep -qs ': end' "$1"; sed -n 's/.*listeningOn==\(.*\)==.*/\1/p' "$1"; }
version() { curl -s --socks5-hostname 127.0.0.1:$free "http://127.0.0.1:$(at "$1")/"; echo " $?"; }
answer() { tr -d '\r' <"$1" | sed -n "/running/,/: end/p" | sed 's/listeningOn==[0-9]*==/listeningOn==N==/'; }
clean() { ssh gw "rm -r .editor-$1"; }
"""

_ANSWERED = r"Linux\n64\nos-release\nlocked\n\w+: start\nlisteningOn==N==\n"


def _piped(name: str, id_: str, options: str, command: str) -> Case:
    """The script comes through a pipe that ends; the session lives on and the server is reached."""
    return Case(
        name,
        _EDITOR
        + f"""
        script {id_} STAY=1 | ssh {options} -D 127.0.0.1:$free gw {command} >out 2>err & pid=$!
        version out; answer out; size=$(wc -c <out)
        longer() {{ test $(wc -c <out) -gt $size; }}; until_ok longer && echo lives
        kill -9 $pid; wait $pid 2>/dev/null
        gone() {{ ! ssh gw 'kill -0 $(cat .editor-{id_}/pid) 2>/dev/null'; }}
        until_ok gone && echo gone; clean {id_}
        """,
        shows=rf"version 1.2.3 0\n(?s:.*){_ANSWERED}(?s:.*)lives\ngone\n",
        hides=(r"^.*Killed.*",),
    )


CASES = [
    Case(
        "60 VS Code-shaped: a local server's dialogue",
        _EDITOR
        + r"""
        coproc ssh -v -T -D 127.0.0.1:$free -o ConnectTimeout=15 gw 2>err
        ask() { echo "$1" >&"${COPROC[1]}"; IFS= read -r -t 30 line <&"${COPROC[0]}"; echo "$line"; }
        ask 'echo "ready: 60"'; ask 'uname -s'; ask 'echo $0'; ask 'basename "$SHELL"'
        ask 'sh -c "echo subshell"'; echo 'sh' >&"${COPROC[1]}"; ask 'echo $0'
        exec 7<&"${COPROC[0]}"; script e60 >&"${COPROC[1]}"; cat <&7 >out &
        version out; answer out; kill $COPROC_PID; clean e60
        """,
        shows=rf"ready: 60\nLinux\n-bash\nbash\nsubshell\nsh\nversion 1.2.3 0\n(?s:.*){_ANSWERED}",
    ),
    _piped("61 VS Code-shaped: a script for sh", "e61a", "-T -o ConnectTimeout=15", "sh"),
    _piped("61 VS Code-shaped: a script for bash", "e61b", "-T", "bash"),
    _piped("61 VS Code-shaped: a script for a login shell", "e61c", "-v -T -o LogLevel=ERROR", ""),
    Case(
        "62 VS Code-shaped: two connections, as it was",
        _EDITOR
        + r"""
        script e62 | ssh -T -o ClearAllForwardings=true gw bash >out; answer out
        ssh gw -L localhost:$free:localhost:$(at out) "echo -e 'Connected...' && sleep infinity" >second &
        until_ok test -s second
        cat second; curl -s http://127.0.0.1:$free/; echo " $?"; clean e62
        """,
        shows=r"Connected...\nversion 1.2.3 0\n",
        # The client's own, with a port of its choice, on a machine without IPv6.
        hides=(r"^bind \[::1\]:\d+",),
    ),
    Case(
        "63 VS Code-shaped: a socket in place of a port",
        _EDITOR
        + r"""
        script e63 "SOCKET=/tmp/vscode-ssh-remote-server-sock-63" |
        ssh -T -L 127.0.0.1:$free:/tmp/vscode-ssh-remote-server-sock-63 gw bash -c "'bash; sleep 20'" >out &
        at out; curl -s http://127.0.0.1:$free/; echo " $?"; clean e63
        ssh gw rm /tmp/vscode-ssh-remote-server-sock-63
        """,
        shows=r"/tmp/vscode-ssh-remote-server-sock-63\nversion 1.2.3 0\n",
    ),
    Case(
        "64 VS Code-shaped: an upload that a script waits for",
        r"""
        cat >script <<'E'
        echo 'e64:trigger_server_download'; echo "destFolder==$HOME/.e64=="; mkdir -p ~/.e64
        while [ ! -e ~/.e64/server.tar.gz.done ]; do printf ' '; sleep 0.3; done
        tar -xf ~/.e64/server.tar.gz -C ~/.e64 --no-same-owner && cat ~/.e64/cli; rm -r ~/.e64
        echo 'e64: end'
E
        mkdir c; echo unpacked >c/cli; tar -C c -czf server.tar.gz cli; : >server.tar.gz.done
        ssh -T gw sh <script >out & until_ok grep -qs destFolder out
        folder=$(sed -n 's/.*destFolder==\(.*\)==/\1/p' out)
        scp -q -o ConnectTimeout=15 'server.tar.gz' 'server.tar.gz.done' 'gw':"$folder"; echo $?
        wait $!; tr -d ' ' <out
        """,
        shows=r"0\ne64:trigger_server_download\ndestFolder==/home/alice/.e64==\nunpacked\ne64:end",
    ),
    Case(
        "VS Code-shaped: probes",
        r"""
        ssh -T -o ConnectTimeout=15 gw 'printenv | grep -c -E "^(SSH_CONNECTION|SSH_CLIENT|HOME|SHELL|USER)="
            ps -o pid= -p $$ | wc -l; date +%s%N | wc -c'
        ssh gw 'command -v wget curl tar gzip flock getconf ps base64 | wc -l'
        """,
        shows="5\n1\n20\n8\n",
    ),
    _piped("65 Cursor-shaped: the inner bash reads the script", "e65a", "-T", "bash --login -c bash"),
    _piped("65 Windsurf-shaped", "e65b", "-v -o LogLevel=ERROR", "bash -s"),
    Case(
        "65 open-remote-ssh-shaped: a script in the command",
        _EDITOR
        + r"""
        { script e65c; head -c 8000 /dev/zero | tr '\0' '#'; } >s; size=$(base64 -w0 s | wc -c)
        test $size -gt 11184 && echo long
        ssh -N -M -S ./m gw & until_ok test -S m
        ssh -S ./m gw 'echo "[$SSH_AUTH_SOCK]"; exec cat' </dev/null
        ssh -S ./m gw 'uname -s'
        timeout 60 ssh -S ./m gw "echo $(base64 -w0 s) | base64 -d | bash -l" >out; echo $?; answer out
        { printf 'GET / HTTP/1.0\r\n\r\n'; sleep 2; } |
            timeout 20 ssh -S ./m -W 127.0.0.1:$(at out) gw | tail -1; echo
        ssh -q -S ./m -O exit gw; clean e65c
        """,
        shows=rf"long\n\[\]\nLinux\n0\n(?s:.*){_ANSWERED}(?s:.*)version 1.2.3",
    ),
    Case(
        "Zed-shaped: a master and short commands",
        r"""
        ssh -N -o ControlPersist=no -o ControlMaster=yes -o ControlPath=$PWD/m gw >master & master=$!
        until_ok test -S m
        zed() { ssh -o ControlMaster=no -o ControlPath=$PWD/m "$@"; }
        zed gw -T "cd; sh -c 'echo \$SHELL'"; zed gw -T 'cd; uname -sm'
        zed gw -T 'cd; mkdir -p .zed_server'; echo $?
        zed gw -T 'cd; .zed_server/none version'; echo $?; zed gw -T 'cd; command -v nosuch'; echo $?
        printf '#!/bin/sh\necho proxy "$@" $RUST_LOG; exec cat\n' | gzip >remote.gz
        echo 'put -r remote.gz .zed_server/' | sftp -q -o ControlPath=$PWD/m -b - gw >/dev/null; echo $?
        zed gw -T 'cd; cd .zed_server; gunzip -f remote.gz && chmod 755 remote && mv remote server'; echo $?
        head -c 3000000 /dev/urandom >rpc
        zed gw -T 'cd; env RUST_LOG=info .zed_server/server proxy --identifier x' <rpc |
        tail -n +2 | cmp - rpc && echo rpc
        zed gw -t 'cd "$HOME/.zed_server" && exec env K=V sh -c "pwd; echo \$K; test -t 0"' </dev/null
        echo $?
        zed gw 'rm -r .zed_server'
        kill $master; wait $master; cat master
        """,
        shows=r"(?s)/bin/bash\nLinux x86_64\n0\n127\n1\n0\n0\nrpc\n",
    ),
    Case(
        "Zed-shaped: one connection on Windows",
        """ssh -t gw "echo 'ZED_SSH_CONNECTION_ESTABLISHED'; exec \\$0" </dev/null; echo $?""",
        shows="ZED_SSH_CONNECTION_ESTABLISHED\n",
    ),
    Case(
        "JetBrains-shaped: a worker is deployed by sftp",
        r"""
        printf '#!/bin/sh\necho "worker $1"\n' >worker; worker=.cache/JetBrains/RemoteDev/remote-dev-worker
        ssh gw 'uname -s -m'; ssh gw "mkdir -p $worker"
        printf "put worker $worker/w.tmp\nrename $worker/w.tmp $worker/w\nchmod 755 $worker/w\n" |
            sftp -q -b - gw >/dev/null; echo $?
        ssh gw "$worker/w --version"; echo $?
        for probe in 'test -x' 'test -d' 'test -e'; do for file in $worker/w $worker/none /
        do ssh -tt gw "$probe $file" </dev/null; echo "$probe $?"; done; done
        ssh gw 'rm -r .cache/JetBrains'
        """,
        shows=r"0\nworker --version\n0\ntest -x 0\ntest -x 1\ntest -x 0\ntest -d 1\ntest -d 1\ntest -d 0\n",
    ),
    Case(
        "JetBrains-shaped: many short sessions and a long forward",
        r"""
        ssh -N -M -S ./m -L $PWD/s:127.0.0.1:9 gw & until_ok test -S m
        for i in $(seq 30); do ssh -S ./m gw "exit $((i % 3))"; echo $?; done | sort | uniq -c
        ssh -q -S ./m -O exit gw
        """,
        shows=r"10 0\n +10 1\n +10 2\n",
    ),
    Case(
        "Theia-shaped: hello, and a file transfer that stays open",
        r"""
        ssh -N -M -S ./m gw & until_ok test -S m; mkfifo f
        sftp -q -o ControlPath=./m -b - gw <f >open & exec 8>f; echo pwd >&8
        until_ok grep -qs Remote open
        for i in 1 2 3 4 5; do ssh -S ./m gw 'echo hello'; done; echo 'ls /etc/passwd' >&8; exec 8>&-
        wait $!; tail -1 open; ssh -q -S ./m -O exit gw
        """,
        shows="(hello\n){5}/etc/passwd",
    ),
    Case(
        "Ansible-shaped",
        r"""
        run() { ssh -C -o ControlMaster=auto -o ControlPersist=10s -o ControlPath=$PWD/m "$@"; }
        run gw '/bin/sh -c '"'"'echo ~alice && sleep 0'"'"''; echo $?
        echo 'import sys; print("module", sys.argv[1:])' |
        run gw '/bin/sh -c '"'"'/usr/bin/python3 - && sleep 0'"'"''; echo $?
        run -tt gw '/bin/sh -c '"'"'exit 3'"'"'' </dev/null; echo $?; ssh -q -o ControlPath=$PWD/m -O exit gw
        """,
        shows=r"/home/alice\n0\nmodule \[\]\n0\n3\n",
    ),
    Case(
        "mosh-shaped: a server that stays when its session ends",
        r"""
        start='echo MOSH CONNECT 60001 key; setsid sleep 5701 </dev/null >/dev/null 2>&1 & sleep 0.2'
        ssh -n -tt gw -- sh -c "'$start'"; echo $?
        ssh gw "pgrep -c -f 'sleep 570[1]'; pkill -f 'sleep 570[1]'"
        """,
        shows="MOSH CONNECT 60001 key\r\n0\n1\n",
    ),
]
