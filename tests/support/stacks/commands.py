"""The clients that Debian has as programs, as command lines.

Owns each one's spelling. Must not know what is asked of them.
"""

from __future__ import annotations

from tests.support.stacks.stack import Login, Stack, Words


def _ssh(login: Login) -> Words:
    return ["ssh", "-F", str(login.config)]


def _putty(program: str, login: Login) -> Words:
    key = str(login.folder / "id.ppk")
    return [program, "-batch", "-P", str(login.port), "-hostkey", login.fingerprint, "-i", key]


def _plink(login: Login) -> Words:
    return [*_putty("plink", login), "-no-antispoof", f"{login.user}@{login.host}"]


def _there(login: Login, path: str) -> str:
    return f"{login.user}@{login.host}:{path}"


def _reverse(there: int, here: int) -> str:
    return f"{there}:127.0.0.1:{here}"


def _psftp(login: Login, line: str) -> Words:
    script = f'echo "{line}" | "$@" -b /dev/stdin'
    return ["sh", "-ec", script, "psftp", *_putty("psftp", login), f"{login.user}@{login.host}"]


def _dbclient(login: Login, *options: str) -> Words:
    key = str(login.folder / "id.dropbear")
    return ["dbclient", "-y", "-y", *options, "-i", key, "-p", str(login.port), f"{login.user}@{login.host}"]


def _curl(scheme: str, login: Login, path: str, *options: str) -> Words:
    keys = ["--key", str(login.folder / "id"), "--pubkey", str(login.folder / "id.pub")]
    # The path is the home's; curl's scheme for scp has no other word for it either.
    address = f"{scheme}://{login.host}:{login.port}/~/{path}"
    return ["curl", "-sS", "--insecure", "--user", f"{login.user}:", *keys, *options, address]


def _lftp(login: Login, line: str) -> Words:
    connect = f'set sftp:connect-program "ssh -a -x -F {login.config}"; set net:max-retries 1'
    # `gw` is OpenSSH's word for the host; with a password, which nobody wants, lftp does not ask for one.
    return ["lftp", "-c", f"{connect}; open -u {login.user},none sftp://gw; {line}"]


def _rsync(login: Login) -> Words:
    return ["rsync", "--checksum", "-e", f"ssh -F {login.config}"]


def _mounted(login: Login, line: str) -> Words:
    """A line of shell in a folder where the home is mounted as `there`."""
    mount = f"mkdir there; sshfs -F {login.config} gw: there"
    return ["sh", "-ec", f'cd "$(mktemp -d)"; {mount}; trap "fusermount -u there; rm -r $PWD" EXIT; {line}']


OPENSSH = Stack(
    "OpenSSH",
    run=lambda login, command: [*_ssh(login), "gw", command],
    terminal=lambda login, command: [*_ssh(login), "-t", "gw", command],
    put=lambda login, here, there: ["scp", "-q", "-F", str(login.config), here, f"gw:{there}"],
    get=lambda login, there, here: ["scp", "-q", "-F", str(login.config), f"gw:{there}", here],
    tunnel=lambda login, port: [*_ssh(login), "-W", f"127.0.0.1:{port}", "gw"],
    back=lambda login, there, here: [*_ssh(login), "-N", "-R", _reverse(there, here), "gw"],
)
PUTTY = Stack(
    "PuTTY",
    run=lambda login, command: [*_plink(login), command],
    terminal=lambda login, command: [*_plink(login), "-t", command],
    put=lambda login, here, there: [*_putty("pscp", login), "-q", here, _there(login, there)],
    get=lambda login, there, here: [*_putty("pscp", login), "-q", _there(login, there), here],
    tunnel=lambda login, port: [*_plink(login), "-nc", f"127.0.0.1:{port}"],
    back=lambda login, there, here: [*_plink(login), "-N", "-R", _reverse(there, here)],
    agent=lambda login, command: [*_plink(login), "-A", command],
)
PSCP = Stack(
    "pscp by scp",
    put=lambda login, here, there: [*_putty("pscp", login), "-q", "-scp", here, _there(login, there)],
    get=lambda login, there, here: [*_putty("pscp", login), "-q", "-scp", _there(login, there), here],
    lacks="it carries files and nothing else",
)
PSFTP = Stack(
    "psftp",
    put=lambda login, here, there: _psftp(login, f"put {here} {there}"),
    get=lambda login, there, here: _psftp(login, f"get {there} {here}"),
    lacks="it carries files and nothing else",
)
DROPBEAR = Stack(
    "dropbear",
    run=lambda login, command: [*_dbclient(login), command],
    terminal=lambda login, command: [*_dbclient(login, "-t"), command],
    tunnel=lambda login, port: _dbclient(login, "-B", f"127.0.0.1:{port}"),
    back=lambda login, there, here: _dbclient(login, "-N", "-R", _reverse(there, here)),
    agent=lambda login, command: [*_dbclient(login, "-A"), command],
    lacks="it has no program for files; its users pipe",
)
CURL_SFTP = Stack(
    "libssh2 by sftp",
    put=lambda login, here, there: _curl("sftp", login, there, "-T", here),
    get=lambda login, there, here: _curl("sftp", login, there, "-o", here),
    lacks="curl carries files and nothing else",
)
CURL_SCP = Stack(
    "libssh2 by scp",
    put=lambda login, here, there: _curl("scp", login, there, "-T", here),
    get=lambda login, there, here: _curl("scp", login, there, "-o", here),
    lacks="curl carries files and nothing else",
)
RSYNC = Stack(
    "rsync",
    put=lambda login, here, there: [*_rsync(login), here, f"gw:{there}"],
    get=lambda login, there, here: [*_rsync(login), f"gw:{there}", here],
    lacks="it carries files and nothing else",
)
LFTP = Stack(
    "lftp",
    put=lambda login, here, there: _lftp(login, f"put {here} -o {there}"),
    get=lambda login, there, here: _lftp(login, f"get {there} -o {here}"),
    lacks="it carries files and nothing else",
)
SSHFS = Stack(
    "sshfs",
    put=lambda login, here, there: _mounted(login, f"cp {here} there/{there}"),
    get=lambda login, there, here: _mounted(login, f"cp there/{there} {here}"),
    lacks="it carries files and nothing else",
)
