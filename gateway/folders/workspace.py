"""The workspaces' directories on this machine: the port Folders.

Owns what lies under the state directory's `workspaces`, and that root never follows a link that a user
made there. Every step is taken from a directory's descriptor with O_NOFOLLOW; users can write below
`home`, `workspace`, `tmp` and `vartmp` only, and nothing is opened below those but to delete it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.disks import USUAL, Usage
from gateway.errors import Code, PlatformError
from gateway.folders import moving
from gateway.folders.emptying import empty
from gateway.folders.holding import hold_on, lifted
from gateway.folders.images import Images
from gateway.folders.loops import failed, starved
from gateway.folders.shared import check_home
from gateway.folders.steps import make_directory, opened, told, write_file
from gateway.folders.walking import walk
from gateway.mounts import SharedMount
from gateway.users import User
from gateway.workspaces import BROKEN, RESCUE, directory

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

    def __init__(self, state: Path, mounts: Iterable[SharedMount] = (), into_images: bool = False) -> None:
        """`mounts` are the site's own directories, whose groups get names.

        `into_images`: new workspaces are made in disk images; those that are there stay where they are.
        """
        self._state = state
        self._gids = sorted({mount.gid for mount in mounts if mount.gid is not None})
        self._into_images = into_images
        self._images = Images(state / "workspaces")

    def prepare(self, user: User, rescue: bool = False, size: int | None = None) -> None:
        """See the port. Raises what `check_home` raises, NOT_FOUND for an absent home, or UNAVAILABLE."""
        _require_home(user)
        with (
            told("make the directories of a workspace"),
            self._own(user.id, make=True, size=size) as own,
            lifted(hold_on(own), own),
        ):
            if user.home is None:
                _make_home(own, user)
            if rescue and not moving.present(RESCUE, own):
                _make_clean_home(own, user)
            make_directory(own, "workspace", 0o700, (user.uid, user.gid))
            make_directory(own, "tmp", 0o1777)
            make_directory(own, "vartmp", 0o1777)
            # The broker listens there whenever it starts, so it is no part of what she may fill.
            hold_on(own).make(own, "socket")
            make_directory(own, "socket", 0o711)
            make_directory(own, "etc", 0o755)
            with opened("etc", own) as etc:
                write_file(etc, "passwd", passwd(user))
                write_file(etc, "group", group(user, self._gids))

    def clean_home(self, user: User) -> None:
        """See the port."""
        with told("make a clean home"), self._own(user.id, make=True) as own, lifted(hold_on(own), own):
            _make_clean_home(own, user)

    def put_away(self, user_id: int, number: int) -> None:
        """See the port."""
        with told("put the files of a workspace away"), self._all() as workspaces:
            make_directory(workspaces, moving.PUT_AWAY, 0o700)
            if not self._images.put_away(str(user_id), self._path(moving.PUT_AWAY, number)):
                moving.put_away(workspaces, str(user_id), str(number))

    def delete_put_away(self, number: int) -> None:
        """See the port."""
        with told("delete the files of a removed workspace"), self._all() as workspaces:
            self._images.delete(self._path(moving.PUT_AWAY, number))
            moving.delete(workspaces, str(number))

    def hand_over(self, giver: User, taker: User) -> str | None:
        """See the port. `prepare` has made the taker's directories."""
        staged = f"{giver.id}-{taker.id}"
        place = "workspace" if taker.home is not None else "home"
        with (
            told(f"hand the files of {giver.name} over"),
            self._all() as workspaces,
            self._own(taker.id) as own,
        ):
            if not moving.present(staged, own) and not self._stage(workspaces, giver, taker, own):
                return None
            if moving.present(staged, own):
                self._images.delete(self._path(moving.HANDED, staged))
                moving.discard(workspaces, staged)
            name = moving.settle(workspaces, staged, own, place, f"from-{giver.name}")
        return f"/workspace/{name}" if taker.home is not None else f"/home/{taker.name}/{name}"

    def _stage(self, workspaces: int, giver: User, taker: User, own: int) -> bool:
        """Have the giver's files out of everybody's sight and the taker's; False when there are none.

        What is in an image, or goes into one, is copied into the workspace open as `own`.
        """
        make_directory(workspaces, moving.HANDED, 0o700)
        handed = self._path(moving.HANDED, f"{giver.id}-{taker.id}")
        shown = self._images.put_away(str(giver.id), handed) and self._images.show(handed)
        if moving.stage(workspaces, giver.id, taker.id) is None:
            return False
        moving.give(handed, taker.uid, taker.gid)
        if shown or self._images.has(str(taker.id)):
            moving.bring(workspaces, handed.name, own)
        return True

    def clear_temporary(self, user_id: int) -> None:
        """Empty /tmp and /var/tmp; see the port. Absent is success."""
        with told("empty /tmp of a workspace"):
            try:
                with self._own(user_id) as own, lifted(hold_on(own), own):
                    for name in ("tmp", "vartmp"):
                        with opened(name, own) as temporary:
                            empty(temporary)
            except FileNotFoundError:
                return

    def limit(self, user_id: int, size: int) -> None:
        """See the port. An image that is not mounted gets its size before the next container."""
        with told("hold a workspace to its size"), suppress(FileNotFoundError):
            if self._asleep(user_id):
                return
            with self._own(user_id, mount=False) as own:
                hold_on(own).limit(own, size)

    def usage(self, user_id: int) -> Usage:
        """See the port. Nothing is counted in an image that is not mounted, for nothing changes there."""
        with told("count what a workspace takes"), suppress(FileNotFoundError):
            if self._asleep(user_id):
                return Usage(None, True)
            with self._own(user_id, mount=False) as own:
                hold = hold_on(own)
                held = hold.limited_to(own) is not None
                return Usage(hold.counted(own), held, failed(own), starved(own))
        return Usage(0, False)

    async def walk(self, user_id: int) -> int | None:
        """See the port."""
        if self._asleep(user_id):
            return None
        return await walk(Path(directory(str(self._state), user_id)))

    def socket_directory(self, user_id: int) -> Path:
        """See the port. `prepare` has made it."""
        return Path(directory(str(self._state), user_id)) / "socket"

    def delete(self, user_id: int) -> None:
        """See the port. Raises UNAVAILABLE when something resists; can be called again."""
        with told("delete the files of a workspace"):
            self._images.remove(str(user_id))
            try:
                with self._own(user_id, mount=False) as own:
                    moving.hollow(own)
            except FileNotFoundError:
                return
            with opened(self._state / "workspaces", None) as workspaces:
                os.rmdir(str(user_id), dir_fd=workspaces)

    @contextmanager
    def _own(
        self, user_id: int, make: bool = False, mount: bool = True, size: int | None = None
    ) -> Iterator[int]:
        """The workspace's directory, reached without following a link below the state directory.

        Its image, if it has one, gets mounted, with room for `size` bytes.
        """
        name = str(user_id)
        with self._all(make) as workspaces:
            if make and self._into_images:
                self._images.make(name, size or USUAL)
            if mount and self._images.has(name):
                self._images.attach(name, size or 0)
            elif make:
                hold_on(workspaces).make(workspaces, name)
            if make:
                make_directory(workspaces, name, 0o711)
            with opened(name, workspaces) as own:
                yield own

    def _asleep(self, user_id: int) -> bool:
        """Whether a workspace is in an image that is not mounted, since the machine started for instance."""
        return self._images.has(str(user_id)) and not self._images.is_attached(str(user_id))

    def _path(self, kind: str, name: str | int) -> Path:
        return self._state / "workspaces" / kind / str(name)

    @contextmanager
    def _all(self, make: bool = True) -> Iterator[int]:
        """The directory of all workspaces. The state directory itself may be a link of the operator's."""
        with opened(self._state, None, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as state:
            if make:
                make_directory(state, "workspaces", 0o711)
            with opened("workspaces", state) as workspaces:
                yield workspaces


def passwd(user: User) -> str:
    """The passwd(5) of her containers: git, ssh and torch look up the name of the uid that they run as."""
    return (
        "root:x:0:0:root:/root:/bin/bash\n"
        f"{user.name}:x:{user.uid}:{user.gid}::/home/{user.name}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )


def group(user: User, gids: Iterable[int] = ()) -> str:
    """The group(5) of her containers; tty owns the terminals (devpts gid=5), `gids` datasets."""
    fixed = {"root": 0, "tty": 5, "nogroup": 65534} | {f"gid{gid}": gid for gid in gids}
    named = {user.name: user.gid} | {name: gid for name, gid in fixed.items() if gid != user.gid}
    return "".join(f"{name}:x:{gid}:\n" for name, gid in sorted(named.items(), key=lambda item: item[1]))


def _require_home(user: User) -> None:
    if user.home is not None and not check_home(user.home, user.uid, user.name):
        raise PlatformError(
            Code.NOT_FOUND,
            f"the home directory {user.home} of {user.name} is not on this machine; "
            "ask your operator to mount or make it",
        )


def _make_home(own: int, user: User, name: str = "home") -> None:
    """Make and furnish a home. It is root's until it is finished, so a crash half-way is made good here."""
    make_directory(own, name, 0o700)
    with opened(name, own) as home:
        if os.fstat(home).st_uid != os.geteuid():
            return
        for file, text in _SKELETON.items():
            write_file(home, file, text, (user.uid, user.gid))
        os.fchown(home, user.uid, user.gid)


def _make_clean_home(own: int, user: User) -> None:
    """A home as a new user's, and the place in it where hers is shown; what was there before is deleted."""
    make_directory(own, RESCUE, 0o700)
    with opened(RESCUE, own) as home:
        # Root's until it is furnished, as every home.
        os.fchown(home, os.geteuid(), os.getegid())
        empty(home)
        make_directory(home, BROKEN, 0o700, (user.uid, user.gid))
    _make_home(own, user, RESCUE)
