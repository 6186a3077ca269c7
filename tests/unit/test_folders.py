"""The workspaces' directories: who owns what, and root is never led astray. Needs root, as the broker."""

from __future__ import annotations

import dataclasses
import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.errors import Code, PlatformError
from gateway.folders import WorkspaceFolders
from gateway.folders.emptying import empty
from gateway.users import User

UID, GID = 39001, 39002


def user(home: str | None = None, uid: int = UID, gid: int = GID) -> User:
    return User(7, "alice", uid, gid, True, datetime(2026, 1, 1, tzinfo=UTC), home)


def facts(path: Path) -> tuple[int, int, int]:
    """Owner, group and permission bits."""
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def test_makes_what_a_workspace_needs(tmp_path: Path) -> None:
    WorkspaceFolders(tmp_path).prepare(user())
    own = tmp_path / "workspaces" / "7"
    assert {path.name: facts(path) for path in own.iterdir()} == {
        "home": (UID, GID, 0o700),
        "workspace": (UID, GID, 0o700),
        "tmp": (0, 0, 0o1777),
        "vartmp": (0, 0, 0o1777),
        "socket": (0, 0, 0o711),
        "etc": (0, 0, 0o755),
    }
    assert facts(own) == facts(own.parent) == (0, 0, 0o711)
    assert WorkspaceFolders(tmp_path).socket_directory(7) == own / "socket"


def test_names_the_user_for_programs_that_look_her_up(tmp_path: Path) -> None:
    WorkspaceFolders(tmp_path).prepare(user())
    etc = tmp_path / "workspaces" / "7" / "etc"
    assert f"alice:x:{UID}:{GID}::/home/alice:/bin/bash" in (etc / "passwd").read_text().splitlines()
    assert f"alice:x:{GID}:" in (etc / "group").read_text().splitlines()
    assert facts(etc / "passwd") == facts(etc / "group") == (0, 0, 0o644)


def test_a_site_group_takes_the_place_of_ours(tmp_path: Path) -> None:
    WorkspaceFolders(tmp_path).prepare(user(gid=5))
    groups = (tmp_path / "workspaces" / "7" / "etc" / "group").read_text()
    assert "alice:x:5:" in groups
    assert "tty" not in groups


def test_furnishes_a_home_once(tmp_path: Path) -> None:
    folders = WorkspaceFolders(tmp_path)
    folders.prepare(user())
    home = tmp_path / "workspaces" / "7" / "home"
    assert facts(home / ".bashrc") == facts(home / ".profile") == (UID, GID, 0o644)
    (home / ".bashrc").unlink()
    (home / ".profile").write_text("mine")
    home.chmod(0o755)
    folders.prepare(user())
    assert sorted(os.listdir(home)) == [".profile"]
    assert (home / ".profile").read_text() == "mine"
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_finishes_a_home_that_a_crash_left_half_made(tmp_path: Path) -> None:
    home = tmp_path / "workspaces" / "7" / "home"
    home.mkdir(parents=True)
    (home / ".profile").touch()
    WorkspaceFolders(tmp_path).prepare(user())
    assert facts(home) == (UID, GID, 0o700)
    assert "bashrc" in (home / ".profile").read_text()


def test_a_home_of_the_site_is_a_directory_of_hers(tmp_path: Path) -> None:
    hers, other = tmp_path / "hers", tmp_path / "other"
    for path in (hers, other):
        path.mkdir()
    os.chown(hers, UID, GID)
    (tmp_path / "link").symlink_to(hers)
    (tmp_path / "file").touch()
    folders = WorkspaceFolders(tmp_path)
    folders.prepare(user(str(hers)))
    for home, why in (
        (tmp_path / "link", f"is a link; give the directory {hers}"),
        (tmp_path / "file", "is not a directory"),
        (other, f"belongs to the uid 0, and alice has {UID}"),
    ):
        with pytest.raises(PlatformError) as caught:
            folders.prepare(user(str(home)))
        assert (caught.value.code, why in caught.value.message) == (Code.INVALID, True)


def test_a_full_disk_keeps_nobody_out_who_was_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there and right is not written again."""
    folders = WorkspaceFolders(tmp_path)
    folders.prepare(user())

    def full(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    folders.prepare(user())
    with pytest.raises(PlatformError, match="No space left on device"):
        folders.prepare(dataclasses.replace(user(), id=8))


def test_never_touches_a_home_of_the_site(tmp_path: Path) -> None:
    site = tmp_path / "nfs" / "alice"
    site.mkdir(parents=True, mode=0o750)
    os.chown(site, UID, GID)
    before = site.stat()
    WorkspaceFolders(tmp_path).prepare(user(str(site)))
    after = site.stat()
    assert os.listdir(site) == []
    assert (before.st_uid, before.st_mode, before.st_ctime_ns) == (
        after.st_uid,
        after.st_mode,
        after.st_ctime_ns,
    )
    assert not (tmp_path / "workspaces" / "7" / "home").exists()


def test_says_which_home_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="/nowhere/alice of alice is not on this machine") as caught:
        WorkspaceFolders(tmp_path).prepare(user("/nowhere/alice"))
    assert caught.value.code is Code.NOT_FOUND


def test_refuses_a_link_in_place_of_a_directory_of_ours(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir(mode=0o700)
    (tmp_path / "workspaces" / "7").mkdir(parents=True)
    (tmp_path / "workspaces" / "7" / "home").symlink_to(canary)
    with pytest.raises(PlatformError) as caught:
        WorkspaceFolders(tmp_path).prepare(user())
    assert caught.value.code is Code.UNAVAILABLE
    assert facts(canary) == (0, 0, 0o700)
    assert os.listdir(canary) == []


def test_empties_temporary_files_only(tmp_path: Path) -> None:
    folders = WorkspaceFolders(tmp_path)
    folders.clear_temporary(7)
    folders.prepare(user())
    own = tmp_path / "workspaces" / "7"
    for place in ("tmp", "vartmp", "home", "workspace"):
        (own / place / "deep" / "er").mkdir(parents=True)
        (own / place / "deep" / "file").touch()
    folders.clear_temporary(7)
    assert [len(os.listdir(own / name)) for name in ("tmp", "vartmp", "workspace")] == [0, 0, 1]
    assert (own / "home" / "deep" / "file").exists()
    assert facts(own / "tmp") == (0, 0, 0o1777)


def test_deletes_everything_of_one_workspace(tmp_path: Path) -> None:
    folders = WorkspaceFolders(tmp_path)
    folders.delete(7)
    folders.prepare(user())
    canary = tmp_path / "canary"
    (canary / "inner").mkdir(parents=True)
    home = tmp_path / "workspaces" / "7" / "home"
    (home / "away").symlink_to(canary)
    (home / "loop").symlink_to("loop")
    os.mkfifo(home / "fifo")
    (home / "sealed").mkdir()
    (home / "sealed" / "file").touch()
    (home / "sealed").chmod(0)
    folders.delete(7)
    folders.delete(7)
    assert os.listdir(tmp_path / "workspaces") == []
    assert (canary / "inner").is_dir()


def test_deletes_a_tree_deeper_than_any_stack(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    inner = os.dup(top)
    for _ in range(5000):
        os.mkdir("d", dir_fd=inner)
        deeper = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    try:
        empty(top)
        assert os.listdir(top) == []
    finally:
        os.close(top)


def test_follows_nothing_while_somebody_exchanges_directories(tmp_path: Path) -> None:
    """A user swaps a directory and a link to a canary, as fast as she can, while root deletes."""
    canary = tmp_path / "canary"
    canary.mkdir()
    for number in range(50):
        (canary / f"kept{number}").touch()
    over = threading.Event()
    place = tmp_path / "place"

    def exchange() -> None:
        link, aside = place / "link", place / "aside"
        while not over.is_set():
            try:
                (place / "victim").mkdir(exist_ok=True)
                (place / "victim" / "file").touch()
                link.symlink_to(canary)
                os.rename(place / "victim", aside)
                os.rename(link, place / "victim")
            except OSError:
                continue

    for _ in range(40):
        place.mkdir()
        over.clear()
        attacker = threading.Thread(target=exchange)
        attacker.start()
        top = os.open(place, os.O_RDONLY)
        try:
            for _ in range(20):
                try:
                    empty(top)
                except OSError:
                    continue
        finally:
            over.set()
            attacker.join()
            empty(top)
            os.close(top)
        place.rmdir()
    kept = [name for name in os.listdir(canary) if name.startswith("kept")]
    assert len(kept) == 50
