"""Cases of the session channel: programs, streams, ends. The numbers are the clients' matrix's."""

from __future__ import annotations

from tests.conformance.case import Case

CASES = [
    Case(
        "1 exit statuses",
        r"""
        for command in true 'exit 7' nosuchcmd 'exit 255' 'exit 256' 'exit 1' /nonexistent /etc/passwd; do
            ssh gw "$command"; echo "$?"
        done
        """,
        shows=r"(?s)0\n7\n127\n255\n0\n1\n127\n126\n---\n.*nosuchcmd: command not found",
    ),
    Case(
        "2 a program that is killed",
        r"""
        for name in KILL TERM HUP; do
            ssh gw "kill -$name \$\$"; echo "$?"
            ssh -o LogLevel=DEBUG1 gw "kill -$name \$\$" 2>&1 | grep -o 'rtype exit-[a-z]* reply .'
        done
        """,
        shows="255\nrtype exit-signal reply 0",
    ),
    Case(
        "3 stdout and stderr apart",
        "ssh gw 'echo o; echo e >&2; echo oo; echo ee >&2' >o 2>e; echo $?; cat o; echo -; cat e",
        shows="0\no\noo\n-\ne\nee\n",
    ),
    Case(
        "4 the end of input is not the end",
        r"printf 'a\nb\n' | ssh gw 'wc -l; sleep 1; echo after'; echo $?",
        shows="2\nafter\n0\n",
    ),
    Case(
        "5 no input at all",
        r"""
        ssh -n gw cat; echo $?; ssh gw cat </dev/null; echo $?; ssh gw 'read line; echo [$line] $?' </dev/null
        """,
        shows=r"0\n0\n\[\] 1\n",
    ),
    Case(
        "6 every byte, both ways at once",
        "head -c 16M /dev/urandom >f; ssh gw cat <f | cmp - f && echo ${PIPESTATUS[*]} equal",
        shows="0 0 equal",
    ),
    Case(
        "7 new keys under load, down",
        "ssh -o RekeyLimit=1M gw 'head -c 32M /dev/zero' | sha256sum; echo ${PIPESTATUS[0]}",
        shows="83ee47245398adee79bd9c0a8bc57b821e92aba10f5f9ade8a5d1fae4d8c4302  -\n0\n",
    ),
    Case(
        "7 new keys under load, up",
        "head -c 32M /dev/zero | ssh -o RekeyLimit=1M gw sha256sum; echo $?",
        shows="83ee47245398adee79bd9c0a8bc57b821e92aba10f5f9ade8a5d1fae4d8c4302  -\n0\n",
    ),
    Case(
        "8 a reader that has seen enough",
        r"""
        timeout 30 bash -c 'ssh gw yes 8008 | head -1; echo ${PIPESTATUS[*]}'; echo $?
        ssh gw "pgrep -c -f 'yes 800[8]'"
        """,
        shows="8008\n255 0\n0\n0\n",
    ),
    Case(
        "9 the status after the last byte",
        "for _ in $(seq 5); do ssh gw 'seq 1 20000; exit 3' | tail -1; echo ${PIPESTATUS[*]}; done",
        shows="(20000\n3 0\n){5}",
    ),
    Case(
        "9 the status after the last byte, 200 times",
        "for _ in $(seq 200); do ssh gw 'seq 1 200000; exit 3' | tail -1; echo ${PIPESTATUS[*]}; done",
        shows="(200000\n3 0\n){200}",
        slow=True,
    ),
    Case(
        "11 a child that was detached",
        r"""
        ssh gw 'nohup sleep 1101 >/dev/null 2>&1 </dev/null & echo ok'; echo $?
        ssh gw "pgrep -c -f 'sleep 110[1]'; pkill -f 'sleep 110[1]'"
        """,
        shows="ok\n0\n1\n",
    ),
    Case(
        "11 a child that keeps the output",
        "ssh gw '{ sleep 1; echo late; } & echo early'; echo $?",
        shows="early\nlate\n0\n",
    ),
    Case(
        "11 a child that keeps stderr alone",
        "ssh gw '{ sleep 1; echo late >&2; } >/dev/null & exit 5'; echo $?",
        shows="5\n---\nlate\n",
    ),
    Case(
        "11 a child that keeps the input alone",
        "sleep 3 | ssh gw '{ sleep 2; } >/dev/null 2>&1 & exit 5'; echo ${PIPESTATUS[1]}",
        shows="5\n",
    ),
    Case(
        "12 a command of 100 KB",
        r"""
        ssh gw "true #$(head -c 100000 /dev/zero | tr '\0' x)"; echo $?
        ssh gw "printf %s $(head -c 120000 /dev/zero | tr '\0' y) | wc -c"
        """,
        shows="0\n120000\n",
    ),
    Case(
        "12 a command that no program can be given",
        'x=$(head -c 70000 /dev/zero | tr \'\\0\' x); ssh gw true "#$x" "$x"; echo $?; ssh gw echo alive',
        shows="1\nalive\n---\n/bin/bash: Argument list too long",
        ours="1\nalive\n---\ngpu-gateway: The gateway cannot pass this on .*; send less",
        why="our sentence says how much is too much",
    ),
    Case(
        "13 one string for the shell",
        r"""
        ssh gw "printf '%s' \"it's \$HOME * 'q'\""; echo
        ssh gw 'echo one
        echo "two  spaces"; echo $((1+1)); echo ünïcödé "$0" $#'
        ssh gw 'cd /; ' 'pwd;' echo  'a   b' ; ssh gw -- -x; echo $?; ssh gw ''; echo $?; ssh gw ' '; echo $?
        """,
        shows=r"it's /home/alice \* 'q'",
    ),
    Case(
        "14 a command that is not UTF-8",
        r"ssh gw $'printf \'caf\xe9\' | od -An -tx1; ls /tmp/caf\xe9'; echo $?",
        shows="63 61 66 e9\n2\n",
    ),
    Case(
        "15 a shell without a terminal",
        r"""
        echo 'echo $0; shopt -q login_shell && echo login; tty; pwd; echo $-; echo $SHLVL; exit 4' |
            ssh -T gw; echo $?
        """,
        shows="-bash\nlogin\nnot a tty\n/home/alice\n",
    ),
    Case(
        "15 lines of a dialogue come one by one",
        r"""
        coproc ssh -T gw
        for word in one two three; do
            echo "echo $word" >&"${COPROC[1]}"; read -r -t 20 line <&"${COPROC[0]}"; echo "$line"
        done
        kill $COPROC_PID
        """,
        shows="one\ntwo\nthree\n",
    ),
    Case(
        "22 which variables arrive",
        r"""
        LANG=en_US.UTF-8 LC_TIME=C.UTF-8 OTHER=1 \
            ssh -o SendEnv='LANG LC_TIME OTHER' -o SetEnv='LC_X=1 LC_x9=2 LD_PRELOAD=/x PATH=/x HOME=/x' \
            gw env 2>/dev/null |
            grep -E '^(LANG|LC_X|LC_x9|LC_TIME|OTHER|LD_PRELOAD|HOME|USER|LOGNAME|SHELL|MAIL|PWD|SSH_)' | sort
        """,
        shows=r"(?s)LANG=en_US.UTF-8.*LC_X=1",
        hides=(r"SSH_(CLIENT|CONNECTION)=\S+ \d+ .*",),
    ),
    Case(
        "22 who is connected from where",
        r"""
        for name in SSH_CLIENT SSH_CONNECTION; do ssh gw "echo \${$name}" | tr ' ' '\n' | wc -l; done
        ssh gw 'set -- $SSH_CONNECTION; echo $(( $2 > 1023 )) $4; echo ${SSH_TTY-none}'
        ssh gw 'echo ${SSH_CLIENT##* }'
        ssh -tt gw 'test "$SSH_TTY" = "$(tty)" && echo tty' </dev/null
        """,
        shows="3\n4\n1 <port>\nnone\n<port>\n",
    ),
    Case(
        "22 where programs are searched",
        "ssh gw 'echo $PATH'",
        shows="/usr/local/bin:/usr/bin:/bin:/usr/games",
        ours="\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
        why="PATH is the image's, where its own programs are found, not the one compiled into sshd",
    ),
    Case(
        # Signals 32 and 33 are glibc's own, and its posix_spawn leaves them ignored.
        "what a program inherits",
        r"""
        ssh gw 'umask; ulimit -c; trap; ls /proc/self/fd | wc -l; ps -o stat= -p $$'
        ssh gw 'cut -d" " -f5,6 /proc/self/stat | tr " " "\n" | uniq | wc -l'
        ssh gw 'grep SigBlk /proc/self/status; ignored=0x$(sed -n "s/SigIgn:.//p" /proc/self/status)
            echo $((ignored & 0x7fffffff)); test $$ = $(ps -o pgid= -p $$) && echo leader; pwd'
        ssh gw 'for fd in 0 1 2; do test -p /proc/self/fd/$fd && echo pipe; done'
        """,
        shows="SigBlk:\t0000000000000000\n0\nleader\n",
    ),
    Case(
        "a ~/.ssh/rc",
        "ssh gw 'mkdir -p ~/.ssh; echo echo rc > ~/.ssh/rc'; ssh gw 'echo body'; ssh gw 'rm ~/.ssh/rc'",
        shows="rc\nbody\nrc\n",
        ours=r"---\nbody\n---\n",
        why="~/.ssh/rc is not run: what it prints breaks every editor and file transfer",
        alone=True,
    ),
]
