"""What operators do to whole workspaces, over a real store and real directories; the engine is in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.custody import Custody
from gateway.errors import Code, PlatformError
from gateway.folders import WorkspaceFolders, moving
from gateway.limiting import Limiting
from gateway.sqlite.wanted import Answer
from gateway.users import RETENTION, SiteAccount
from gateway.wishes import Wishes
from tests.support.world import World, until, world

ALICE, BOB = 1, 2


class House(World):
    """A world with real directories."""

    def _start(self) -> None:
        super()._start()
        self.files = WorkspaceFolders(self.state)
        self.broker._folders = self.files
        self.custody = Custody(self.desk, self.broker, self.backend, self.files, self.timekeeper)
        limiting = Limiting(self.desk, self.backend, self.rationing)
        self.wishes = Wishes(
            self.desk,
            self.broker,
            self.settling,
            self.custody,
            limiting,
            lambda id_, why: False,
            lambda: self.time,
        )

    def let_save(self, saved: asyncio.Event) -> list[int]:
        """Alice's programs save until `saved`: whom somebody waits for."""
        asked: list[int] = []

        async def part(user_id: int, reason: str) -> None:
            if user_id == ALICE:
                asked.append(user_id)
                await saved.wait()

        self.custody.part = part
        return asked

    def home(self, user_id: int) -> Path:
        """Where a user's home is."""
        return self.state / "workspaces" / str(user_id) / "home"

    async def done(self, wanted: int) -> Answer | None:
        """How something wanted ended."""
        await self.wishes.grant()
        return self.store.answer(wanted)


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Alice, Bob and Carol, and a gateway."""
    monkeypatch.setattr("tests.support.world.World", House)
    async with world(tmp_path / "state") as made:
        assert isinstance(made, House)
        yield made


def start(here: House, rescue: bool = False) -> int:
    return here.store.start_workspace("alice", rescue, "root", here.time)


def hand_over(here: House, giver: str = "alice", taker: str = "bob") -> int:
    return here.store.hand_over(giver, taker, "root", here.time)


async def test_a_container_is_started_without_its_user_and_stopped(here: House) -> None:
    assert await here.done(start(here)) == Answer(None)
    assert here.broker.running() == {ALICE}
    assert len(here.backend.started) == 1
    assert await here.done(start(here)) == Answer(None)
    assert len(here.backend.started) == 1, "what runs is left alone"
    assert await here.done(here.store.want("stop", str(ALICE), "root", here.time)) == Answer(None)
    assert here.broker.running() == set()
    assert here.told == [(ALICE, "An operator stopped your container; log in again to have it started.")]


@pytest.mark.parametrize("verb", ["stop", "recreate", "remove"])
async def test_programs_save_their_work_before_an_operator_has_her_container(here: House, verb: str) -> None:
    """The operator's word waits for them, nobody else's does, and she may come in meanwhile."""
    await here.enter(ALICE)
    saved = asyncio.Event()
    asked = here.let_save(saved)
    wanted = wish(here, verb)
    async with asyncio.TaskGroup() as group:
        await here.wishes.begin(group)
        await until(lambda: asked)
        other = here.store.stop_workspace("bob", "root", here.time)
        await here.wishes.begin(group)
        await until(lambda: here.store.answer(other))
        await here.custody.resume()
        assert (here.store.answer(wanted), here.broker.running()) == (None, {ALICE})
        await here.enter(ALICE)
        saved.set()
    assert (here.store.answer(wanted), here.broker.running(), len(asked)) == (Answer(None), set(), 1)


@pytest.mark.parametrize("verb", ["stop", "recreate", "remove"])
async def test_an_operator_who_does_not_wait_ends_the_wait_of_others_too(here: House, verb: str) -> None:
    """What she has then, when the first one's wait is over, is another container: it stays."""
    await here.enter(ALICE)
    saved = asyncio.Event()
    asked = here.let_save(saved)
    wanted = wish(here, verb)
    async with asyncio.TaskGroup() as group:
        await here.wishes.begin(group)
        await until(lambda: asked)
        at_once = wish(here, verb, at_once=True)
        await here.wishes.begin(group)
        await until(lambda: here.store.answer(at_once))
        assert here.broker.running() == set()
        await here.enter(ALICE)
        saved.set()
    assert [here.store.answer(each) for each in (wanted, at_once)] == [Answer(None)] * 2
    assert here.broker.running() == {ALICE}


async def test_a_removal_that_nobody_waits_for_any_more_is_done_at_once(here: House) -> None:
    """One that an absent engine has kept from it: she has had her time."""
    await here.enter(ALICE)
    wanted = wish(here, "remove")
    here.store.done(wanted, "The engine does not answer; try again.", here.time)
    asked = here.let_save(asyncio.Event())
    await here.custody.resume()
    assert (asked, here.store.removals()) == ([], [])


def wish(here: House, verb: str, *, at_once: bool = False) -> int:
    ask = {
        "stop": here.store.stop_workspace,
        "recreate": here.store.recreate_workspace,
        "remove": here.store.remove_workspace,
    }
    return ask[verb]("alice", "root", here.time, at_once=at_once)


async def test_a_disabled_user_has_nothing_started(here: House) -> None:
    here.store.set_enabled("alice", False, "root", here.time)
    with pytest.raises(PlatformError, match="gpuadmin user enable alice"):
        start(here)


async def test_a_rescue_gives_a_clean_home_with_hers_in_it(here: House) -> None:
    await here.enter(ALICE)
    (here.home(ALICE) / ".bashrc").write_text("exit 1")
    assert await here.done(start(here, rescue=True)) == Answer(None)
    shown = {mount.target: mount.source for mount in here.backend.started[-1].mounts}
    assert shown["/home/alice"].endswith("/1/rescue")
    assert shown["/home/alice/broken"].endswith("/1/home")
    clean = here.home(ALICE).parent / "rescue"
    assert (clean / ".bashrc").read_text() != "exit 1"
    assert (here.home(ALICE) / ".bashrc").read_text() == "exit 1"
    assert "yours is ~/broken" in await here.enter(ALICE)
    assert (clean.stat().st_uid, (clean / "broken").stat().st_uid) == (30001, 30001)
    # The second one is clean again, though she filled the first.
    (clean / ".bashrc").write_text("exit 2")
    assert await here.done(start(here, rescue=True)) == Answer(None)
    assert (clean / ".bashrc").read_text() != "exit 2"


@pytest.mark.parametrize("how", ["start", "recreate"])
async def test_a_rescue_ends_with_the_next_start_or_recreate(here: House, how: str) -> None:
    await here.done(start(here, rescue=True))
    wanted = start(here) if how == "start" else here.store.recreate_workspace("alice", "root", here.time)
    assert await here.done(wanted) == Answer(None)
    await here.enter(ALICE)
    assert [mount.target for mount in here.backend.started[-1].mounts][:2] == ["/home/alice", "/workspace"]


async def test_a_rescue_that_a_crash_cut_short_lets_her_in(here: House) -> None:
    """It is recorded, and nothing of it was done."""
    start(here, rescue=True)
    await here.enter(ALICE)
    assert here.backend.started[-1].mounts[0].source.endswith("/rescue")
    assert (here.home(ALICE).parent / "rescue" / ".bashrc").exists()


async def test_a_removed_workspace_is_put_away_and_deleted_after_its_retention(here: House) -> None:
    await here.enter(ALICE)
    (here.home(ALICE) / "thesis").write_text("all of it")
    assert await here.done(here.store.remove_workspace("alice", "root", here.time)) == Answer(None)
    assert here.broker.running() == set()
    kept = here.state / "workspaces" / "removed" / "1"
    assert (kept / "home" / "thesis").read_text() == "all of it"
    await here.enter(ALICE)
    assert not (here.home(ALICE) / "thesis").exists()
    here.time += RETENTION - timedelta(seconds=1)
    await here.custody.purge()
    assert kept.exists()
    here.time += timedelta(seconds=1)
    await here.custody.purge()
    assert not kept.exists()
    assert here.home(ALICE).exists()
    assert here.store.purgeable_removals(here.time) == []


async def test_a_holder_of_gpus_keeps_her_workspace(here: House) -> None:
    here.grant("alice", 0)
    with pytest.raises(PlatformError, match="gpuadmin release alice"):
        here.store.remove_workspace("alice", "root", here.time)
    assert here.store.removals() == []


async def test_an_absent_engine_does_not_undo_a_removal(here: House) -> None:
    await here.enter(ALICE)
    here.backend.away = True
    wanted = here.store.remove_workspace("alice", "root", here.time)
    answer = await here.done(wanted)
    assert answer is not None
    assert answer.code == "unavailable"
    here.backend.away = False
    await here.custody.resume()
    assert not here.home(ALICE).exists()
    assert here.store.removals() == []


async def test_a_removal_done_twice_takes_no_new_files(here: House) -> None:
    """A crash between the rename and its record."""
    await here.enter(ALICE)
    here.store.remove_workspace("alice", "root", here.time)
    await here.broker.end(ALICE, "")
    here.files.put_away(ALICE, 1)
    await here.enter(ALICE)
    (here.home(ALICE) / "new").touch()
    await here.custody.resume()
    assert (here.home(ALICE) / "new").exists()


async def test_files_are_handed_over_with_everything_in_them(here: House) -> None:
    await here.enter(ALICE)
    home = here.home(ALICE)
    (home / "data").mkdir(mode=0o700)
    (home / "data" / "set").write_text("numbers")
    (home / "link").symlink_to("/etc/shadow")
    (home.parent / "workspace" / "run").touch()
    (home.parent / "tmp" / "scratch").touch()
    for path in (home / "data", home / "data" / "set"):
        os.chown(path, 30001, 30001)
    before = os.stat("/etc/shadow").st_uid
    await here.broker.end(ALICE, "")
    assert await here.done(hand_over(here)) == Answer(None)
    given = here.home(BOB) / "from-alice"
    assert (given / "home" / "data" / "set").read_text() == "numbers"
    assert (given / "workspace" / "run").exists()
    assert sorted(os.listdir(given)) == ["home", "workspace"]
    for path in (given, given / "home" / "data", given / "home" / "data" / "set", given / "home" / "link"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (30002, 30002)
    assert os.stat("/etc/shadow").st_uid == before
    assert not home.exists()
    await here.enter(ALICE)
    await here.broker.end(ALICE, "")
    assert await here.done(hand_over(here)) == Answer(None)
    assert (here.home(BOB) / "from-alice-2").is_dir(), "what is there is never replaced"


async def test_a_running_container_keeps_its_files(here: House) -> None:
    await here.enter(ALICE)
    assert await here.done(hand_over(here)) == Answer(
        "The container of alice runs; first run: gpuadmin workspace stop alice", "conflict"
    )
    assert here.home(ALICE).exists()


async def test_a_removed_users_files_are_handed_over_too(here: House) -> None:
    await here.enter(ALICE)
    (here.home(ALICE) / "thesis").write_text("all of it")
    await here.done(here.store.remove_user("alice", "root", here.time))
    assert await here.done(hand_over(here)) == Answer(None)
    assert (here.home(BOB) / "from-alice" / "home" / "thesis").read_text() == "all of it"
    here.time += RETENTION
    await here.custody.purge()
    assert (here.home(BOB) / "from-alice" / "home" / "thesis").exists()
    with pytest.raises(PlatformError, match="no user 'alice' whose files are still kept"):
        hand_over(here)


async def test_a_hand_over_that_a_crash_cut_short_goes_on(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.enter(ALICE)
    (here.home(ALICE) / "thesis").write_text("all of it")
    await here.broker.end(ALICE, "")
    with monkeypatch.context() as patch:
        patch.setattr(moving, "give", lambda *args: (_ for _ in ()).throw(OSError(5, "the disk failed")))
        answer = await here.done(hand_over(here))
    assert answer is not None
    assert "cannot hand the files of alice over (the disk failed)" in str(answer.error)
    assert not (here.home(BOB) / "from-alice").exists()
    here.restart()
    assert await here.done(hand_over(here)) == Answer(None)
    assert (here.home(BOB) / "from-alice" / "home" / "thesis").read_text() == "all of it"


async def test_who_has_a_home_of_the_sites_gets_files_beside_it(here: House, tmp_path: Path) -> None:
    site = tmp_path / "nfs"
    site.mkdir(mode=0o700)
    os.chown(site, 2001, 2001)
    here.store.add_user("dora", [], SiteAccount(2001, 2001, str(site)), "root", here.time)
    await here.enter(ALICE)
    await here.broker.end(ALICE, "")
    assert await here.done(hand_over(here, taker="dora")) == Answer(None)
    assert os.listdir(site) == []
    assert (here.state / "workspaces" / "4" / "workspace" / "from-alice").stat().st_uid == 2001


@pytest.mark.parametrize(
    ("giver", "taker", "code"),
    [("alice", "alice", Code.CONFLICT), ("nobody", "bob", Code.NOT_FOUND), ("alice", "dora", Code.NOT_FOUND)],
)
async def test_who_cannot_give_or_take(here: House, giver: str, taker: str, code: Code) -> None:
    with pytest.raises(PlatformError) as caught:
        hand_over(here, giver, taker)
    assert caught.value.code is code


async def test_nothing_to_hand_over_is_said(here: House) -> None:
    assert await here.done(hand_over(here)) == Answer(
        "alice has no files here that could be handed over.", "not_found"
    )


async def test_who_runs_is_shown(here: House) -> None:
    await here.enter(BOB)
    here.store.show_running(here.broker.running())
    assert here.store.running() == {BOB}
    here.store.show_running([])
    assert here.store.running() == set()
