"""Cases of the tools that carry files. The numbers are the clients' matrix's."""

from __future__ import annotations

from tests.conformance.case import Case

_TREE = r"""
mkdir -p tree/deep 'tree/a b' tree/empty; head -c 300000 /dev/urandom >tree/big
echo x >'tree/a b/ünïcödé'
printf 'n' >$'tree/new\nline'; ln -s big tree/link; chmod 750 tree/deep
touch -d '2020-02-03 04:05:06' tree/big
sums() {
    (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum; find . | wc -l; stat -c '%a %Y' big)
}
"""

CASES = [
    Case(
        "23 sftp, a batch",
        _TREE
        + r"""
        rm tree/link; sed 's/^ *//' >batch <<'E'
        mkdir c23
        put -r tree c23
        get -r c23/tree back
        ls -1 c23/tree
        rename c23/tree/big c23/tree/bigger
        symlink bigger c23/tree/soft
        ln c23/tree/bigger c23/tree/hard
        chmod 600 c23/tree/bigger
        get c23/tree/hard hard
        cd c23/tree
        pwd
        rm hard
        -rm nothing
        !echo local
        version
E
        sftp -q -b batch gw; echo $?
        cmp hard tree/big && cat tree/'a b'/* && diff -r tree back && echo same
        ssh gw 'ls -l c23/tree | cut -c1-10; rm -r c23'
        """,
        shows=r"(?s)SFTP protocol version 3.*same\n",
        # A progress of directories that are listed in the order of the file system.
        hides=(
            r"(?s)(?<=sftp> put -r tree c23\n).*?(?=sftp> ls -1)",
            r"(?<=sftp> ls -1 c23/tree\n)(c23/tree/.*\n)+",
        ),
    ),
    Case(
        "23 sftp, what the server can",
        r"""
        echo version | sftp -q -vv -o LogLevel=DEBUG2 -b - gw 2>&1 |
        grep -o -E 'extension .*|Sending SSH2_FXP_[A-Z]*|rtype exit-.*|subsystem.*'
        echo ${PIPESTATUS[1]}
        """,
        shows="posix-rename@openssh.com",
    ),
    Case(
        "23 sftp goes on where it stopped",
        r"""
        head -c 3000000 /dev/urandom >f; head -c 1000000 f >part; cp part c23r
        printf 'put part c23r\nreput f c23r\nget c23r whole\nrm c23r\n' | sftp -q -b - gw >/dev/null
        echo $?; cmp f whole && echo same
        """,
        shows="0\nsame\n",
    ),
    Case(
        "23 a subsystem that there is not",
        "ssh -s gw nosuch </dev/null; echo $?; ssh gw echo alive",
        shows="alive",
    ),
    Case(
        "23 sftp and start-up files that print",
        r"""
        ssh gw 'test ! -e ~/.bash_profile && mv ~/.bashrc ~/.bashrc.kept
            echo echo noise | tee ~/.bash_profile >~/.bashrc'
        printf 'pwd\n' | sftp -q -b - gw; echo $?
        ssh gw 'rm ~/.bash_profile; mv ~/.bashrc.kept ~/.bashrc'
        """,
        shows="255\nnoise\n---\nReceived message too long",
        ours="0\nnoise\n---\n$",
        why="a subsystem's program is started without a shell, so no start-up file speaks in its protocol",
        alone=True,
    ),
    Case(
        "24 scp",
        _TREE
        + r"""
        rm tree/link; scp -q -r -p tree gw:c24; echo $?; scp -q -r -p gw:c24 back; echo $?
        sums tree >1; sums back >2; diff 1 2 && echo same
        scp -q tree/big gw:'c24/with space'; scp -q 'gw:~/c24/with space' .
        cmp 'with space' tree/big && echo same
        scp -q -3 gw:c24/big gw:c24/third; ssh gw 'cmp c24/big c24/third && echo same; rm -r c24'
        scp gw:nothing .; echo $?
        """,
        shows="(?s)0\n0\nsame\nsame\nsame\n1\n.*No such file",
    ),
    Case(
        "25 scp as it was",
        _TREE
        + r"""
        rm tree/new* tree/link
        scp -O -q -r -p tree gw:c25; echo $?; scp -O -q -r -p gw:c25 back; echo $?; sums tree >1
        sums back >2; diff 1 2 && echo same
        scp -O -q 'gw:c25/*/ü*' .; ls | tr -d '\n'; scp -O gw:nothing .; echo $?; ssh gw 'rm -r c25'
        """,
        shows="(?s)0\n0\nsame\n.*1\n.*nothing: No such file",
    ),
    Case(
        "26 a command that begins with scp (C7)",
        r"""
        ssh gw 'echo x >c26a; scp -q c26a c26b; cat c26b; scp nothing1 c26c; echo $?; rm c26?; scp; echo $?'
        ssh gw scp; echo $?
        """,
        shows="(?s)x\n1\n1\n1\n---\n.*usage: scp",
    ),
    Case(
        "27 an upload, VS Code-shaped",
        r"""
        ssh gw 'mkdir -p ~/.vscode-server-27'; head -c 2000000 /dev/urandom >vscode-server.tar.gz
        : >vscode-server.tar.gz.done
        scp -q -o ConnectTimeout=15 'vscode-server.tar.gz' 'vscode-server.tar.gz.done' \
            'gw':'/home/alice/.vscode-server-27'; echo $?
        ssh gw 'cd ~/.vscode-server-27; test vscode-server.tar.gz -nt vscode-server.tar.gz.done || echo last
            cat vscode-server.tar.gz; rm -r ~/.vscode-server-27' >back
        cat <(echo last) vscode-server.tar.gz | cmp - back && echo same
        """,
        shows="0\nsame\n",
    ),
    Case(
        "28 sftp with a terminal that was forced (B3)",
        r"""
        seq 80000 >f  # nothing that the client takes for its escape character
        printf 'put f c28\nget c28 g\nrm c28\n' | timeout 10 sftp -q -o RequestTTY=force -b - gw >/dev/null
        echo $?; cmp f g && echo same
        """,
        shows=r"---\n(255|124)\n",
        ours=r"---\n0\nsame\n",
        why="a terminal breaks the protocol, and some clients are set up to ask for one always",
    ),
    Case(
        "29 rsync, up and down",
        _TREE
        + r"""
        for i in $(seq 100); do echo $i >tree/$i; done
        rsync -az --delete -e ssh tree/ gw:c29/; echo $?; rsync -a -e ssh gw:c29/ back/; echo $?
        diff -r tree back && echo same
        rm tree/1?; echo more >>tree/20
        rsync -a --delete --partial --inplace -e 'ssh -C' tree/ gw:c29/; echo $?
        rsync -rn --delete --itemize-changes -e ssh tree/ gw:c29/; ssh gw 'ls c29 | wc -l; rm -r c29'
        """,
        shows="0\n0\nsame\n0\n",
    ),
    Case(
        "git over ssh",
        r"""
        ssh gw 'git init -q --bare c30.git'; export GIT_SSH_COMMAND=ssh GIT_CONFIG_GLOBAL=$PWD/gitconfig
        git config --global user.email a@b; git config --global user.name a
        git config --global init.defaultBranch main
        git clone -q gw:c30.git one 2>/dev/null; cd one; head -c 1000000 /dev/urandom >f; git add f
        git commit -qm one; git push -q origin main; echo $?
        cd ..; git clone -q gw:c30.git two; echo $?; cmp one/f two/f && echo same
        git ls-remote gw:nothing; echo $?; ssh gw 'rm -rf c30.git'
        """,
        shows="0\n0\nsame\n128\n",
    ),
]
