"""What every way to hold workspaces to a size must do, as the kernel lets people feel it. Needs root.

Owns no disk: whoever runs this brings the fixtures `disk`, a state directory, and `folders`, its workspaces.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gateway.disks import Usage
from gateway.folders import WorkspaceFolders
from tests.support.disks import committed
from tests.support.writers import ALICE, BOB, CAROL, LIMIT, MEBI, as_, made, own, person, write

FULL = {errno.EDQUOT, errno.ENOSPC}


class HoldingContract:
    """The promises of `disk` in docs/operations.md, Disk quotas."""

    def test_nobody_writes_above_her_limit_wherever_she_writes(
        self, disk: Path, folders: WorkspaceFolders
    ) -> None:
        for user in (ALICE, BOB):
            made(folders, user)
        mine = own(disk, ALICE)
        assert as_(ALICE, mine / "home", write(64)) in FULL
        committed(mine)
        usage = folders.usage(ALICE.id)
        assert (usage.held, usage.failed, usage.starved) == (True, False, False)
        assert usage.counted is not None
        assert LIMIT * 0.8 < usage.counted <= LIMIT
        for place in ("workspace", "tmp", "vartmp"):
            assert as_(ALICE, mine / place, write(64, "other")) in FULL
        assert as_(BOB, own(disk, BOB) / "home", write(2)) == 0

    def test_a_full_workspace_is_prepared_for_a_login_and_her_files_can_be_deleted(
        self, disk: Path, folders: WorkspaceFolders
    ) -> None:
        made(folders, ALICE)
        mine = own(disk, ALICE)
        for place in ("tmp/deep/er", "home/deep"):
            assert as_(ALICE, mine, lambda place=place: os.makedirs(place)) == 0
        assert as_(ALICE, mine / "home", write(64)) in FULL
        committed(mine)
        (mine / "socket" / "listening").touch()
        (mine / "etc" / "group").unlink()
        made(folders, ALICE)
        assert os.listdir(mine / "tmp") == []
        assert "u7" in (mine / "etc" / "group").read_text()
        folders.clean_home(ALICE)
        assert (mine / "rescue" / ".bashrc").exists()
        committed(mine)
        assert as_(ALICE, mine / "home", write(2, "more")) in FULL
        for name in ("file", "more"):
            assert as_(ALICE, mine / "home", lambda name=name: Path(name).unlink(missing_ok=True)) == 0
        committed(mine)
        assert as_(ALICE, mine / "home", write(1)) == 0

    def test_a_limit_below_what_is_there_loses_nothing_and_one_above_gives_room(
        self, disk: Path, folders: WorkspaceFolders
    ) -> None:
        made(folders, ALICE, 32 * MEBI)
        home = own(disk, ALICE) / "home"
        assert as_(ALICE, home, write(16)) == 0
        committed(home)
        folders.limit(ALICE.id, LIMIT)
        assert as_(ALICE, home, write(1, "more")) in FULL
        assert (home / "file").stat().st_size == 16 * MEBI
        folders.limit(ALICE.id, 32 * MEBI)
        assert as_(ALICE, home, write(1, "more")) == 0

    def test_a_workspace_that_is_not_there_yet_has_no_limit(
        self, disk: Path, folders: WorkspaceFolders
    ) -> None:
        folders.limit(ALICE.id, LIMIT)
        assert folders.usage(ALICE.id) == Usage(0, False)

    def test_a_home_of_the_site_is_not_held(self, disk: Path, folders: WorkspaceFolders) -> None:
        site = disk / "carol"
        site.mkdir()
        os.chown(site, CAROL.uid, CAROL.gid)
        carol = person(CAROL.id, str(site))
        made(folders, carol)
        assert as_(carol, site, write(16)) == 0
        assert as_(carol, own(disk, carol) / "workspace", write(16)) in FULL
        (site / "file").unlink()
        site.rmdir()

    def test_what_is_handed_over_counts_as_the_takers(self, disk: Path, folders: WorkspaceFolders) -> None:
        """However deep it lies, also above her limit; and nothing is left of what was removed."""
        for user in (ALICE, BOB):
            made(folders, user)
        home = own(disk, ALICE) / "home"
        assert as_(ALICE, home, lambda: os.makedirs("/".join(["d"] * 200))) == 0
        os.mkfifo(home / "fifo")
        (home / "link").symlink_to("/etc/passwd")
        assert as_(ALICE, home / Path(*["d"] * 200), write(64)) in FULL
        committed(home)
        assert folders.hand_over(ALICE, BOB) == "/home/u8/from-u7"
        committed(own(disk, BOB))
        assert (folders.usage(BOB.id).counted or 0) > LIMIT * 0.8
        given = own(disk, BOB) / "home" / "from-u7" / "home"
        assert (given / "link").lstat().st_uid == BOB.uid
        assert as_(BOB, given, write(16, "more")) in FULL
        assert folders.hand_over(ALICE, BOB) is None
        folders.put_away(BOB.id, 1)
        assert folders.usage(BOB.id) == Usage(0, False)
        folders.delete_put_away(1)
        for kind in ("handed-over", "removed"):
            assert os.listdir(disk / "workspaces" / kind) == []
