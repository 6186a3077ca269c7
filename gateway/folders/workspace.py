"""The workspaces' directories on this machine: the port Folders.

Owns what lies under the state directory's `workspaces`, and that root never follows a link that a user
made there. Every step is taken from a directory's descriptor with O_NOFOLLOW; users can write below
`home`, `workspace`, `tmp` and `vartmp` only, and nothing is opened below those but to delete it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.errors import Code, PlatformError
from gateway.folders.emptying import empty
from gateway.users import User
from gateway.workspaces import directory

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Written once into a home that the platform makes; a site's own home and later edits are never touched.
_SKELETON = {
    ".profile": "# Read by login shells.\n"
    'if [ -n "$BASH_VERSION" ] && [ -f ~/.bashrc ]; then . ~/.bashrc; fi\n'
    'if [ -d ~/.local/bin ]; then PATH="$HOME/.local/bin:$PATH"; fi\n',
    ".bashrc": "# Read by interactive shells.\n"
    "case $- in *i*) ;; *) return ;; esac\n"
    "HISTCONTROL=ignoreboth HISTSIZE=10000 HISTFILESIZE=20000\n"
    "shopt -s histappend checkwinsize\n"
    "PS1='\\u@\\h:\\w\\$ '\n"
    "alias ls='ls --color=auto' grep='grep --color=auto'\n",
}


class WorkspaceFolders:
    """Directories of every workspace under `state`, an existing directory. Blocking; needs root."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def prepare(self, user: User) -> None:
        """See the port. Raises NOT_FOUND when a site's home is absent, UNAVAILABLE for all else."""
        _require_home(user)
        with _told("make the directories of a workspace"), self._own(user.id, make=True) as own:
            if user.home is None:
                _make_home(own, user)
            _make_directory(own, "workspace", 0o700, (user.uid, user.gid))
            _make_directory(own, "tmp", 0o1777)
            _make_directory(own, "vartmp", 0o1777)
            _make_directory(own, "socket", 0o711)
            _make_directory(own, "etc", 0o755)
            with _opened("etc", own) as etc:
                _write_file(etc, "passwd", passwd(user))
                _write_file(etc, "group", group(user))

    def clear_temporary(self, user_id: int) -> None:
        """Empty /tmp and /var/tmp; see the port. Absent is success."""
        with _told("empty /tmp of a workspace"):
            try:
                with self._own(user_id) as own:
                    for name in ("tmp", "vartmp"):
                        with _opened(name, own) as temporary:
                            empty(temporary)
            except FileNotFoundError:
                return

    def socket_directory(self, user_id: int) -> Path:
        """See the port. `prepare` has made it."""
        return Path(directory(str(self._state), user_id)) / "socket"

    def delete(self, user_id: int) -> None:
        """See the port. Raises UNAVAILABLE when something resists; can be called again."""
        with _told("delete the files of a workspace"):
            try:
                with self._own(user_id) as own:
                    empty(own)
            except FileNotFoundError:
                return
            with _opened(self._state / "workspaces", None) as workspaces:
                os.rmdir(str(user_id), dir_fd=workspaces)

    @contextmanager
    def _own(self, user_id: int, make: bool = False) -> Iterator[int]:
        """The workspace's directory, reached without following a link below the state directory."""
        with _opened(self._state, None, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as state:
            if make:
                _make_directory(state, "workspaces", 0o711)
            with _opened("workspaces", state) as workspaces:
                if make:
                    _make_directory(workspaces, str(user_id), 0o711)
                with _opened(str(user_id), workspaces) as own:
                    yield own


def passwd(user: User) -> str:
    """The passwd(5) of her containers: git, ssh and torch look up the name of the uid that they run as."""
    return (
        "root:x:0:0:root:/root:/bin/bash\n"
        f"{user.name}:x:{user.uid}:{user.gid}::/home/{user.name}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )


def group(user: User) -> str:
    """The group(5) of her containers; tty owns the terminals (devpts gid=5)."""
    fixed = {"root": 0, "tty": 5, "nogroup": 65534}
    named = {user.name: user.gid} | {name: gid for name, gid in fixed.items() if gid != user.gid}
    return "".join(f"{name}:x:{gid}:\n" for name, gid in sorted(named.items(), key=lambda item: item[1]))


def _require_home(user: User) -> None:
    if user.home is None:
        return
    try:
        there = Path(user.home).is_dir()
    except PermissionError:
        # Root may be kept out of a file server's homes; the engine only needs to mount it.
        there = True
    if not there:
        raise PlatformError(
            Code.NOT_FOUND,
            f"the home directory {user.home} of {user.name} is not on this machine; "
            "ask your operator to mount or make it",
        )


def _make_home(own: int, user: User) -> None:
    """Make and furnish a home. It is root's until it is finished, so a crash half-way is made good here."""
    _make_directory(own, "home", 0o700)
    with _opened("home", own) as home:
        if os.fstat(home).st_uid != os.geteuid():
            return
        for name, text in _SKELETON.items():
            _write_file(home, name, text, (user.uid, user.gid))
        os.fchown(home, user.uid, user.gid)


def _make_directory(parent: int, name: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Make it, or finish what a crash left ours. One given to its owner is left as she has it."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    with _opened(name, parent) as made:
        now = os.fstat(made)
        if now.st_uid != os.geteuid():
            return
        if stat.S_IMODE(now.st_mode) != mode:
            os.fchmod(made, mode)
        if owner is not None:
            os.fchown(made, *owner)


def _write_file(parent: int, name: str, text: str, owner: tuple[int, int] | None = None) -> None:
    """Put a small file of mode 0644 in place, whole or not at all, in a directory that is still root's."""
    partial = f".{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(partial, flags, 0o600, dir_fd=parent), "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
        if owner is not None:
            os.fchown(file.fileno(), *owner)
    os.rename(partial, name, src_dir_fd=parent, dst_dir_fd=parent)


@contextmanager
def _opened(path: str | Path, parent: int | None, flags: int = _DIRECTORY) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """Turn the system's refusal into one sentence for people."""
    try:
        yield
    except OSError as error:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"cannot {doing} ({error.strerror or error}); ask your operator to look at the state directory",
        ) from error
