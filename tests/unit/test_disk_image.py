"""Workspaces in disk images of their own, on real loop devices. Needs root, as the broker."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from gateway.disks import Usage
from gateway.errors import PlatformError
from gateway.folders import WorkspaceFolders
from gateway.folders.images import Images
from gateway.folders.loops import device
from gateway.folders.steps import opened
from gateway.users import User
from tests.conftest import ROOT
from tests.contract.holding_contract import HoldingContract
from tests.support.disks import fill, image_mounts, loop_devices, small_disk, unmount_below
from tests.support.guest import run_in_guest
from tests.support.house import wait_for
from tests.support.writers import ALICE, BOB, CAROL, LIMIT, MEBI, as_, made, own, write


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory whose images are unmounted in the end."""
    folder = Path(tempfile.mkdtemp(prefix="images-"))
    folder.chmod(0o755)
    try:
        with image_mounts(folder):
            yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def folders(state: Path) -> WorkspaceFolders:
    return WorkspaceFolders(state, into_images=True)


@pytest.fixture
def disk(state: Path) -> Path:
    """The same, by the name that the contract has for it."""
    return state


class TestImage(HoldingContract):
    """A disk image holds as every other way does."""


def test_an_image_is_sparse_and_a_persons_own(state: Path, folders: WorkspaceFolders) -> None:
    for user in (ALICE, BOB):
        made(folders, user)
    assert sorted(loop_devices(state)) == ["7.ext4", "8.ext4"]
    assert image(state, ALICE).stat().st_size > LIMIT
    assert image(state, ALICE).stat().st_blocks * 512 < 64 * MEBI
    assert mode(image(state, ALICE)) == 0o600
    assert mode(image(state, ALICE).parent) == 0o700


def test_who_has_taken_every_inode_is_not_kept_out(state: Path, folders: WorkspaceFolders) -> None:
    """What listens for her runner is made outside of the image."""
    made(folders, ALICE)
    mine = own(state, ALICE)
    assert as_(ALICE, mine / "home", fill_with_files) == errno.ENOSPC
    assert os.statvfs(mine).f_favail == 0
    (mine / "socket" / "listening").touch()
    made(folders, ALICE)
    assert as_(ALICE, mine / "home", lambda: os.unlink("0")) == 0
    assert as_(ALICE, mine / "home", write(1)) == 0


def fill_with_files() -> None:
    """Take every inode: names of one file of nothing, and files of nothing, without a block of their own."""
    for number in range(1 << 20):
        os.mknod(f"{number}")


def test_a_lower_limit_makes_no_image_smaller(state: Path, folders: WorkspaceFolders) -> None:
    """It holds at once all the same."""
    made(folders, ALICE, 32 * MEBI)
    home = own(state, ALICE) / "home"
    assert as_(ALICE, home, write(16)) == 0
    size = image(state, ALICE).stat().st_size
    folders.limit(ALICE.id, LIMIT)
    assert as_(ALICE, home, write(1, "more")) == errno.ENOSPC
    assert (home / "file").stat().st_size == 16 * MEBI
    folders.limit(ALICE.id, 32 * MEBI)
    assert as_(ALICE, home, write(1, "more")) == 0
    assert image(state, ALICE).stat().st_size == size


def test_an_image_grows_and_what_is_deleted_goes_back_to_the_machine(
    state: Path, folders: WorkspaceFolders
) -> None:
    """At once where the broker may; else before the next container. A bigger quota is met either way."""
    made(folders, ALICE)
    home = own(state, ALICE) / "home"
    before = image(state, ALICE).stat().st_size
    folders.limit(ALICE.id, 180 * MEBI)
    unmount_below(state)
    made(folders, ALICE, 180 * MEBI)
    assert image(state, ALICE).stat().st_size > max(before, 180 * MEBI)
    assert folders.usage(ALICE.id).held
    assert as_(ALICE, home, write(150)) == 0
    assert as_(ALICE, home, write(64, "more")) == errno.ENOSPC
    subprocess.run(["sync", "--file-system", home], check=True)
    full = image(state, ALICE).stat().st_blocks
    for name in ("file", "more"):
        (home / name).unlink()
    subprocess.run(["sync", "--file-system", home], check=True)
    wait_for(lambda: image(state, ALICE).stat().st_blocks < full / 3, "the space that was given back")


def test_after_a_reboot_it_is_mounted_for_the_next_container_and_not_before(
    state: Path, folders: WorkspaceFolders
) -> None:
    made(folders, ALICE)
    assert as_(ALICE, own(state, ALICE) / "home", write(1)) == 0
    unmount_below(state)
    assert loop_devices(state) == []
    assert folders.usage(ALICE.id) == Usage(None, True)
    assert asyncio.run(folders.walk(ALICE.id)) is None
    folders.limit(ALICE.id, 2 * LIMIT)
    assert os.listdir(own(state, ALICE)) == []
    made(folders, ALICE)
    assert (own(state, ALICE) / "home" / "file").stat().st_size == MEBI
    # And it is mounted once, whoever asks again.
    made(WorkspaceFolders(state), ALICE)
    assert loop_devices(state) == ["7.ext4"]


def test_who_has_a_plain_directory_keeps_it_and_who_has_an_image_too(
    state: Path, folders: WorkspaceFolders
) -> None:
    plain = WorkspaceFolders(state)
    made(plain, ALICE)
    made(folders, ALICE)
    assert not folders.usage(ALICE.id).held
    made(folders, BOB)
    unmount_below(state)
    made(plain, BOB)
    assert loop_devices(state) == ["8.ext4"]
    made(plain, CAROL)
    assert loop_devices(state) == ["8.ext4"]


def test_the_manual_moves_a_plain_directory_into_an_image(state: Path, folders: WorkspaceFolders) -> None:
    made(WorkspaceFolders(state), ALICE)
    home = own(state, ALICE) / "home"
    assert as_(ALICE, home, write(1)) == 0
    assert as_(ALICE, home, lambda: os.symlink("file", "link")) == 0
    manual = (ROOT / "docs" / "operations.md").read_text()
    (block,) = (each for each in re.findall(r"```sh\n(.*?)```", manual, re.DOTALL) if "disks/7.new" in each)
    lines = [line for line in block.splitlines() if not line.startswith(("gpuadmin", "cd "))]
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=state / "workspaces", check=True)
    made(folders, ALICE)
    assert (home / "link").stat().st_size == MEBI
    assert (home / "file").stat().st_uid == ALICE.uid
    assert as_(ALICE, home, write(64, "more")) == errno.ENOSPC
    assert sorted(os.listdir(state / "workspaces")) == ["7", "disks"]
    assert mode(own(state, ALICE)) == 0o711


def test_files_beside_an_image_are_neither_hidden_nor_mixed(state: Path, folders: WorkspaceFolders) -> None:
    made(folders, ALICE)
    unmount_below(state)
    (own(state, ALICE) / "restored").touch()
    with pytest.raises(PlatformError, match=r"files lie in .*/7 beside the image .*/7\.ext4"):
        made(folders, ALICE)
    assert loop_devices(state) == []


def test_removed_files_wait_in_their_image_and_are_gone_then(state: Path, folders: WorkspaceFolders) -> None:
    made(folders, ALICE)
    assert as_(ALICE, own(state, ALICE) / "home", write(1)) == 0
    folders.put_away(ALICE.id, 1)
    assert loop_devices(state) == []
    assert os.listdir(state / "workspaces" / "removed") == ["1.ext4"]
    made(folders, ALICE)
    folders.put_away(ALICE.id, 1)
    assert os.listdir(own(state, ALICE) / "home") != []
    folders.delete_put_away(1)
    folders.delete_put_away(1)
    assert os.listdir(state / "workspaces" / "removed") == []
    folders.delete(ALICE.id)
    folders.delete(ALICE.id)
    assert sorted(os.listdir(state / "workspaces")) == ["disks", "removed"]
    assert os.listdir(state / "workspaces" / "disks") == []
    assert loop_devices(state) == []


@pytest.mark.parametrize(("giver_in_image", "taker_in_image"), [(True, True), (True, False), (False, True)])
def test_what_is_handed_over_counts_as_the_takers(
    state: Path, giver_in_image: bool, taker_in_image: bool
) -> None:
    """Whole, also above her limit, from and to an image; her image grows for it."""
    made(WorkspaceFolders(state, into_images=giver_in_image), ALICE, 64 * MEBI)
    folders = WorkspaceFolders(state, into_images=taker_in_image)
    made(folders, BOB)
    home = own(state, ALICE) / "home"
    assert as_(ALICE, home, write(12)) == 0
    assert as_(ALICE, home, lambda: os.symlink("/etc/passwd", "link")) == 0
    if taker_in_image:
        folders.limit(BOB.id, LIMIT)
    assert folders.hand_over(ALICE, BOB) == "/home/u8/from-u7"
    given = own(state, BOB) / "home" / "from-u7"
    assert sorted(os.listdir(given)) == ["home", "workspace"]
    assert (given / "home" / "file").stat().st_size == 12 * MEBI
    assert {(given / "home" / name).lstat().st_uid for name in ("file", "link")} == {BOB.uid}
    assert Path("/etc/passwd").stat().st_uid == 0
    assert os.listdir(state / "workspaces" / "handed-over") == []
    assert loop_devices(state) == (["8.ext4"] if taker_in_image else [])
    if taker_in_image:
        assert as_(BOB, given / "home", write(1, "more")) == errno.ENOSPC
    assert folders.hand_over(ALICE, BOB) is None


def test_an_image_that_took_harm_is_told_and_mended_for_the_next_container(
    state: Path, folders: WorkspaceFolders
) -> None:
    """As the kernel stops writing to one in which it finds a fault, or when the machine's disk is full."""
    made(folders, ALICE)
    home = own(state, ALICE) / "home"
    assert as_(ALICE, home, synced(1)) == 0
    (facts(state, ALICE) / "trigger_fs_error").write_text("for a test")
    assert as_(ALICE, home, write(1, "more")) == errno.EROFS
    assert folders.usage(ALICE.id).failed
    assert Images(state / "workspaces").failed() == 1
    folders.limit(ALICE.id, 2 * LIMIT)
    made(folders, ALICE)
    assert not folders.usage(ALICE.id).failed
    assert as_(ALICE, home, write(1, "more")) == 0
    assert (home / "file").stat().st_size == MEBI


def test_while_something_shows_it_a_harmed_image_is_not_mended_under_it(
    state: Path, folders: WorkspaceFolders
) -> None:
    """Two at once would destroy it: a container has it still, though it is mounted nowhere else."""
    made(folders, ALICE)
    (facts(state, ALICE) / "trigger_fs_error").write_text("for a test")
    mine = own(state, ALICE)
    with subprocess.Popen(["sleep", "60"], cwd=mine / "home") as inside:
        try:
            made(folders, ALICE)
            subprocess.run(["umount", "--lazy", "--recursive", mine], check=True)
            made(folders, ALICE)
            assert folders.usage(ALICE.id).failed
            assert b"clean with errors" in state_of(image(state, ALICE))
            assert loop_devices(state) == ["7.ext4"]
        finally:
            inside.kill()
    made(folders, ALICE)
    assert not folders.usage(ALICE.id).failed


def test_a_damaged_image_is_mended_or_left_alone_and_told(state: Path, folders: WorkspaceFolders) -> None:
    made(folders, ALICE)
    assert as_(ALICE, own(state, ALICE) / "home", write(1)) == 0
    unmount_below(state)
    for wrong in ("ssv free_blocks_count 1", "ssv state 2"):
        subprocess.run(["debugfs", "-w", "-R", wrong, image(state, ALICE)], check=True, capture_output=True)
    made(folders, ALICE)
    assert (own(state, ALICE) / "home" / "file").stat().st_size == MEBI
    unmount_below(state)
    whole = image(state, ALICE).read_bytes()
    image(state, ALICE).write_bytes(bytes(len(whole)))
    with pytest.raises(PlatformError, match=r"disk image .*/7\.ext4 is damaged; run e2fsck -f on it"):
        made(folders, ALICE)
    assert image(state, ALICE).stat().st_size == len(whole)
    assert loop_devices(state) == []


def test_an_image_that_is_gone_is_not_replaced_by_another(state: Path, folders: WorkspaceFolders) -> None:
    """A disk that was not mounted under the images, say, must not look like a new user."""
    made(folders, ALICE)
    unmount_below(state)
    image(state, ALICE).unlink()
    with pytest.raises(PlatformError, match=r"the disk image .*/7\.ext4 is gone"):
        made(folders, ALICE)


def test_when_the_machines_disk_is_full_it_is_told_and_nothing_else_is_lost(state: Path) -> None:
    """People were promised more than there is; what was written before is there after somebody made room."""
    with small_disk(state, 160) as disk, image_mounts(disk):
        folders = WorkspaceFolders(disk, into_images=True)
        made(folders, ALICE, 400 * MEBI)
        home = own(disk, ALICE) / "home"
        assert as_(ALICE, home, synced(16)) == 0
        filler = fill(disk)
        assert as_(ALICE, home, synced(64, "lost")) in (errno.EIO, errno.EROFS, errno.ENOSPC)
        assert folders.usage(ALICE.id).starved
        filler.unlink()
        unmount_below(disk)
        made(folders, ALICE, 400 * MEBI)
        assert (folders.usage(ALICE.id).failed, folders.usage(ALICE.id).starved) == (False, False)
        assert (home / "file").stat().st_size == 16 * MEBI
        assert as_(ALICE, home, write(1, "more")) == 0


def prepare(folders: WorkspaceFolders, state: Path) -> None:
    made(folders, ALICE)


def grow(folders: WorkspaceFolders, state: Path) -> None:
    """What an operator and the next container do, where the broker may not grow it at once."""
    made(folders, ALICE)
    folders.limit(ALICE.id, 256 * MEBI)
    unmount_below(state)
    made(folders, ALICE, 256 * MEBI)


def put_away(folders: WorkspaceFolders, state: Path) -> None:
    made(folders, BOB)
    folders.put_away(ALICE.id, 1)


def hand_over(folders: WorkspaceFolders, state: Path) -> None:
    made(folders, BOB)
    folders.hand_over(ALICE, BOB)


def delete(folders: WorkspaceFolders, state: Path) -> None:
    folders.delete(ALICE.id)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("work", [prepare, grow, put_away, hand_over, delete])
def test_a_gateway_that_is_killed_at_any_step_goes_on_where_it_was(
    state: Path, folders: WorkspaceFolders, work: Callable[[WorkspaceFolders, Path], None]
) -> None:
    """SIGKILL before each step that changes anything; then the same again, as after a restart or a reboot."""
    for last in count(1):
        if work is not prepare:
            made(folders, ALICE)
            assert as_(ALICE, own(state, ALICE) / "home", synced(1)) == 0
        survived = killed_before(last, lambda: work(folders, state))
        if last % 2:
            unmount_below(state)
        work(folders, state)
        found = [path for path in (state / "workspaces").rglob("file") if path.stat().st_size == MEBI]
        expected = {prepare: 0, grow: 1, put_away: 0, hand_over: 1, delete: 0}[work]
        assert len(found) == expected, f"after a crash before step {last}"
        assert (
            set(loop_devices(state))
            == {
                prepare: {"7.ext4"},
                grow: {"7.ext4"},
                put_away: {"8.ext4"},
                hand_over: {"8.ext4"},
                delete: set(),
            }[work]
        )
        assert (state / "workspaces" / "removed" / "1.ext4").exists() is (work is put_away)
        folders.delete_put_away(1)
        folders.delete(ALICE.id)
        folders.delete(BOB.id)
        left = {path.name for path in (state / "workspaces").rglob("*")}
        assert left <= {"disks", "removed", "handed-over"}, f"after a crash before step {last}"
        if survived:
            break
    assert last > 5


def killed_before(step: int, work: Callable[[], None]) -> bool:
    """Do it in a process that is killed before its step number `step`; True when it has no such step."""
    child = os.fork()
    if not child:
        left = step

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            if event in _STEPS or writes:
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status == 0


_STEPS = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "subprocess.Popen", "fcntl.ioctl")


def synced(megabytes: int, name: str = "file") -> Callable[[], object]:
    """Writes that many, and has them written to the disk."""

    def work() -> None:
        write(megabytes, name)()
        descriptor = os.open(name, os.O_RDONLY)
        os.fsync(descriptor)

    return work


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_service_with_the_rights_that_it_asks_for(tmp_path: Path) -> None:
    """This machine's processes may lack them: tests/guest/images.py runs where they do not."""
    said = run_in_guest(tmp_path, ROOT / "tests" / "guest" / "images.py")
    assert "guest ended with 0" in said, said


def state_of(image: Path) -> bytes:
    """What an image's own superblock says."""
    return subprocess.run(["dumpe2fs", "-h", image], check=True, capture_output=True).stdout


def image(state: Path, user: User) -> Path:
    return state / "workspaces" / "disks" / f"{user.id}.ext4"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def facts(state: Path, user: User) -> Path:
    """Where ext4 tells of her image."""
    with opened(own(state, user), None) as files:
        found = device(files)
    assert found is not None
    return found.facts
