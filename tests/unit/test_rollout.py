"""Who runs which image version: the decision, its rows, and what operators do to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from admin.main import cli
from gateway.channels import MOVES, Channel, Move, moved
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.rollout import Canary, Rollout, bucket, chosen, disposable, parse_percent
from gateway.sqlite.rows import stamp
from gateway.sqlite.schema import migrations
from gateway.sqlite.store import Store
from tests.support.stores import NOW, add_people, open_store, stocked

ALICE, BOB, CAROL = 1, 2, 3
PEOPLE = st.integers(1, 100_000)


def version(id_: int, channel: Channel = Channel.STABLE, name: str = "x") -> ImageVersion:
    return ImageVersion(id_, f"{name}:{id_}", name, str(id_), "cpu", f"sha256:{id_:064x}", channel)


OLD, NEW, MINE, TEAM, OTHERS = (version(id_) for id_ in range(1, 6))
ALL_IN = Canary(NEW, group=7)


@pytest.mark.parametrize(
    ("plan", "groups", "runs"),
    [
        (Rollout(None), (), None),
        (Rollout(OLD), (), OLD),
        (Rollout(OLD, True, canaries={"x": ALL_IN}), (7,), NEW),
        (Rollout(OLD, True, canaries={"x": ALL_IN}), (), OLD),
        # One version for everybody was asked for, so no trial takes anybody away from it.
        (Rollout(OLD, False, canaries={"x": ALL_IN}), (7,), OLD),
        # A trial of another image than theirs.
        (Rollout(OLD, True, canaries={"y": Canary(version(9, name="y"), group=7)}), (7,), OLD),
        (Rollout(OLD, True, groups={7: TEAM}, canaries={"x": ALL_IN}), (7,), TEAM),
        (Rollout(OLD, True, own={ALICE: MINE}, groups={7: TEAM}), (7,), MINE),
        # Of several groups' the pin that was set last.
        (Rollout(OLD, True, groups={8: OTHERS, 7: TEAM}), (7, 8), TEAM),
        (Rollout(OLD, True, groups={7: TEAM, 8: OTHERS}), (7, 8), OTHERS),
    ],
)
def test_the_most_specific_word_decides(
    plan: Rollout, groups: tuple[int, ...], runs: ImageVersion | None
) -> None:
    assert chosen(plan, ALICE, groups) == runs


@given(PEOPLE, st.integers(1, 99), st.integers(1, 99))
def test_who_is_among_a_few_is_among_more(user_id: int, few: int, more: int) -> None:
    few, more = sorted((few, more))

    def among(percent: int) -> bool:
        plan = Rollout(OLD, True, canaries={"x": Canary(NEW, percent=percent)})
        return chosen(plan, user_id, ()) == NEW

    assert among(more) or not among(few)
    # Nobody goes back and forth: the same again is the same.
    assert among(few) is among(few)


def test_a_part_is_about_that_part_of_many_users() -> None:
    for percent in (1, 20, 50, 99):
        among = sum(bucket(user_id) < percent for user_id in range(1, 10_001))
        assert abs(among / 100 - percent) < 2
    # Recorded, for it must be the same after an upgrade.
    assert [bucket(user_id) for user_id in (1, 2, 3, 4)] == [29, 93, 56, 2]


@pytest.mark.parametrize(("text", "percent"), [("20%", 20), ("20", 20), ("1%", 1), ("99%", 99)])
def test_a_part_is_written_with_or_without_the_sign(text: str, percent: int) -> None:
    assert parse_percent(text) == percent


@pytest.mark.parametrize("text", ["0%", "100%", "-1", "1.5%", "", "%", "20 %", "2\u0660%"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(PlatformError, match="1% to 99%") as caught:
        parse_percent(text)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("move", Move)
def test_what_is_not_in_the_table_is_refused_with_what_to_do(channel: Channel, move: Move) -> None:
    if move in MOVES[channel]:
        assert moved("x:1", channel, move) is MOVES[channel][move]
        return
    with pytest.raises(PlatformError, match=f"x:1 is {channel} and cannot be") as caught:
        moved("x:1", channel, move)
    assert caught.value.code is Code.CONFLICT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Three users, alice and carol in `vision`, and two versions of `x`, the second a candidate."""
    with stocked(tmp_path / "state", 0, "alice", "bob", "carol") as opened:
        opened.add_group("vision", "root", NOW)
        opened.join("vision", ["alice", "carol"], "root", NOW)
        for number in (1, 2):
            add(opened, number)
        yield opened


def add(store: Store, number: int, ref: str | None = None) -> ImageVersion:
    digest = f"sha256:{number:064x}"
    return store.add_image("x", str(number), "cpu", ref or f"x:{number}", digest, "root", NOW)


def runs(store: Store) -> list[str]:
    """What alice, bob and carol run."""
    return [store.workspace(id_).image.version for id_ in (ALICE, BOB, CAROL)]


def channels(store: Store) -> dict[str, str]:
    return {image.version: image.channel.value for image in store.images()}


def test_promotions_and_the_ways_back(store: Store) -> None:
    assert (runs(store), channels(store)) == (["1"] * 3, {"1": "stable", "2": "candidate"})
    first = store.image_version("x:1")
    assert store.promote("x:2", "root", NOW) == first
    assert (runs(store), channels(store)) == (["2"] * 3, {"1": "deprecated", "2": "stable"})
    add(store, 3)
    store.promote("x:3", "root", NOW)
    assert runs(store) == ["3"] * 3
    assert [image.version for image in store.roll_back("x", "root", NOW)] == ["3", "2"]
    assert [image.version for image in store.roll_back("x", "root", NOW)] == ["2", "1"]
    assert (runs(store), channels(store)) == (["1"] * 3, {"1": "stable", "2": "candidate", "3": "candidate"})
    with pytest.raises(PlatformError, match="No version of x was stable before x:1") as caught:
        store.roll_back("x", "root", NOW)
    assert caught.value.code is Code.CONFLICT
    store.promote("x:3", "root", NOW)
    store.roll_back("x", "root", NOW)
    assert runs(store) == ["1"] * 3


def test_a_canary_is_offered_to_some_and_taken_back_alone(store: Store) -> None:
    few = min(bucket(id_) for id_ in (ALICE, BOB, CAROL)) + 1
    store.offer("x:2", few, None, "root", NOW)
    among = ["2" if bucket(id_) < few else "1" for id_ in (ALICE, BOB, CAROL)]
    assert runs(store) == among
    assert "1" in among
    assert "2" in among
    store.offer("x:2", None, "vision", "root", NOW)
    assert runs(store) == ["2", "1", "2"]
    assert [image.version for image in store.roll_back("x", "root", NOW)] == ["2", "1"]
    assert (runs(store), channels(store)) == (["1"] * 3, {"1": "stable", "2": "candidate"})
    # A promotion ends the trial: nobody is left behind on what was tried.
    store.offer("x:2", None, "vision", "root", NOW)
    add(store, 3)
    store.promote("x:3", "root", NOW)
    assert runs(store) == ["3"] * 3
    assert store.rollout().canaries == {}


def test_the_same_tag_built_again_moves_nobody(store: Store) -> None:
    store.pin_image("alice", "x:1", "root", NOW)
    add(store, 7, ref="x:1")
    assert {store.workspace(id_).image.digest for id_ in (ALICE, BOB)} == {f"sha256:{1:064x}"}
    # The tag means the new build from now on, and the former one is found by its digest.
    store.pin_image("bob", "x:1", "root", NOW)
    store.pin_group("vision", f"sha256:{1:064x}", "root", NOW)
    assert [store.workspace(id_).image.digest[-1] for id_ in (ALICE, BOB, CAROL)] == ["1", "7", "1"]


def test_pins_of_groups_end_with_them(store: Store) -> None:
    store.pin_group("vision", "x:2", "root", NOW)
    store.pin_image("alice", "x:1", "root", NOW)
    assert runs(store) == ["1", "1", "2"]
    store.pin_group("vision", None, "root", NOW)
    assert runs(store) == ["1", "1", "1"]
    store.pin_group("vision", "x:2", "root", NOW)
    store.offer("x:2", None, "vision", "root", NOW)
    store.leave("vision", ["alice", "carol"], "root", NOW)
    store.remove_group("vision", "root", NOW)
    assert (store.rollout().groups, store.rollout().canaries) == ({}, {})


def test_what_somebody_is_to_run_is_not_retired(store: Store) -> None:
    def refused(ref: str) -> str:
        with pytest.raises(PlatformError) as caught:
            store.retire(ref, "root", NOW)
        assert caught.value.code is Code.CONFLICT
        return caught.value.message

    assert "is what people without a pin run" in refused("x:1")
    store.pin_default("x:2", "root", NOW)
    assert "is stable and cannot be retired" in refused("x:1")
    store.pin_default("x", "root", NOW)
    store.pin_image("alice", "x:2", "root", NOW)
    assert "is pinned for a user" in refused("x:2")
    store.pin_image("alice", None, "root", NOW)
    store.pin_group("vision", "x:2", "root", NOW)
    assert "is pinned for a group" in refused("x:2")
    store.pin_group("vision", None, "root", NOW)
    store.offer("x:2", 1, None, "root", NOW)
    assert "is offered to some as a canary" in refused("x:2")
    store.roll_back("x", "root", NOW)
    store.retire("x:2", "root", NOW)
    for act in (
        lambda: store.promote("x:2", "root", NOW),
        lambda: store.offer("x:2", 5, None, "root", NOW),
        lambda: store.pin_image("alice", "x:2", "root", NOW),
        lambda: store.pin_group("vision", "x:2", "root", NOW),
        lambda: store.pin_default("x:2", "root", NOW),
        lambda: store.retire("x:2", "root", NOW),
    ):
        with pytest.raises(PlatformError, match="x:2 is retired and cannot be") as caught:
            act()
        assert caught.value.code is Code.CONFLICT
    assert add(store, 2).channel is Channel.CANDIDATE


def test_every_change_is_an_event_with_who_and_why(store: Store) -> None:
    store.promote("x:2", "root", NOW, "tuesday")
    store.roll_back("x", "root", NOW, "wednesday")
    store.offer("x:2", 20, None, "root", NOW, "a trial")
    store.roll_back("x", "root", NOW)
    store.pin_group("vision", "x:2", "root", NOW, "their paper")
    store.pin_group("vision", None, "root", NOW)
    store.pin_image("bob", "x:2", "root", NOW, "his own")
    store.pin_default("x:1", "root", NOW, "quiet")
    store.pin_image("bob", None, "root", NOW)
    store.retire("x:2", "root", NOW, "a hole")
    rows = store._db.rows("select * from event where verb like 'image %' order by id")[2:]
    one, two = ({"image": f"x:{n}", "digest": f"sha256:{n:064x}"} for n in (1, 2))
    told = [
        (row["verb"], row["subject"], json.loads(row["before"] or "null"), json.loads(row["after"] or "null"))
        for row in rows
    ]
    assert told == [
        ("image promote", "x", one, two),
        ("image rollback", "x", two, one),
        ("image promote", "x", None, {**two, "canary": "20%"}),
        ("image rollback", "x", two, one),
        ("image pin", "group vision", None, two),
        ("image pin", "group vision", two, None),
        ("image pin", "bob", None, two),
        ("image pin", "default", one, {"image": "x:1"}),
        ("image pin", "bob", two, None),
        ("image retire", "x", two, None),
    ]
    assert {row["actor"] for row in rows} == {"root"}
    reasons = ["tuesday", "wednesday", "a trial", "", "their paper", "", "his own", "quiet", "", "a hole"]
    assert [row["reason"] for row in rows] == reasons


def test_one_version_of_an_image_is_stable_as_a_fact_of_the_schema(store: Store) -> None:
    with pytest.raises(PlatformError), store._db.write():
        store._db.change("update image_version set channel = 'stable' where version = '2'")
    assert channels(store) == {"1": "stable", "2": "candidate"}


def test_databases_of_before_keep_what_everybody_ran(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o750)
    with closing(Database(state / "gateway.db", execute_plugins=False)) as database, database.conn:
        database.execute("pragma journal_mode = wal")
        migrations.apply(database, stop_before="m024_rollouts")
        rows = [(1, "x"), (2, "x"), (3, "y"), (4, "x")]
        database.conn.executemany(
            "insert into image_version (id, ref, name, version, flavour, digest, channel, built_at)"
            " values (:id, :name || ':' || :id, :name, :id, 'cpu', 'sha256:' || :id, 'stable', :at)",
            # The first was built again after the others.
            [{"id": id_, "name": name, "at": stamp(NOW) + ("2" if id_ == 1 else "1")} for id_, name in rows],
        )
        database.execute("insert into meta values ('default_image', 'x')")
    with closing(open_store(state)) as store:
        add_people(store, "alice")
        assert store.workspace(1).image.version == "1"
        assert channels(store) == {"1": "stable", "2": "deprecated", "3": "stable", "4": "deprecated"}
        # What was built before it is what a rollback goes to.
        assert [image.version for image in store.roll_back("x", "root", NOW)] == ["1", "4"]


def test_what_cannot_be_is_one_sentence_and_changes_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPU_GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("GPU_GATEWAY_STATE", str(tmp_path / "state"))
    events = store._db.rows("select * from event")
    for words, status, sentence in (
        ("promote x:9", 1, "There is no image 'x:9'"),
        ("promote x:2 --canary 20% --group vision", 2, "not both"),
        ("promote x:2 --canary 120%", 2, "1% to 99%"),
        ("promote x:2 --group nurses", 1, "There is no group 'nurses'"),
        ("rollback y", 1, "There is no stable image 'y'"),
        ("rollback x", 1, "No version of x was stable before"),
        ("retire x:1", 1, "is what people without a pin run"),
        ("pin --group nurses x:1", 1, "There is no group 'nurses'"),
        ("pin --group vision --default x:1", 2, "Say whose image"),
        ("pin --group vision alice x:1", 2, "Say whose image"),
        # The engine has none of these.
        ("promote x:2", 1, "has x:2 no more"),
        ("promote x:2 --canary 20%", 1, "has x:2 no more"),
        ("pin --group vision x:2", 1, "has x:2 no more"),
    ):
        result = CliRunner().invoke(cli, ["image", *words.split()])
        assert (result.exit_code, result.stderr.count("\n")) == (status, 1), (words, result.output)
        assert sentence in result.stderr
    assert store._db.rows("select * from event") == events


def test_the_list_shows_who_runs_what(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("GPU_GATEWAY_STATE", str(tmp_path / "state"))
    add(store, 3)
    store.offer("x:2", 20, None, "root", NOW)
    store.pin_group("vision", "x:3", "root", NOW)
    store.pin_image("bob", "x:3", "root", NOW)

    def shown() -> dict[str, tuple[object, ...]]:
        records = json.loads(CliRunner().invoke(cli, ["image", "list", "--json"]).stdout)
        keys = ("channel", "default", "canary", "pinned_by", "pinned_by_groups")
        return {record["ref"]: tuple(record[key] for key in keys) for record in records}

    assert shown() == {
        "x:1": ("stable", True, None, [], []),
        "x:2": ("candidate", False, "20%", [], []),
        "x:3": ("candidate", False, None, ["bob"], ["vision"]),
    }
    store.offer("x:2", None, "vision", "root", NOW)
    assert shown()["x:2"][2] == "group vision"
    table = CliRunner().invoke(cli, ["image", "list"]).stdout
    assert "bob, group vision" in table or "bob group vision" in table, table


C, S, D, R = Channel


@pytest.mark.parametrize(
    ("plan", "keep", "run", "gone"),
    [
        # 5 is what a rollback goes back to, 6 stable, 8 and 7 the newest.
        (Rollout(None), 2, set(), [1, 2, 3, 4]),
        (Rollout(None), 1, set(), [1, 2, 3, 4, 7]),
        (Rollout(None), 9, set(), [1]),
        (Rollout(None), 1, {1, 2, 7}, [3, 4]),
        (Rollout(None, own={ALICE: version(2, D)}), 2, set(), [1, 3, 4]),
        (Rollout(None, groups={7: version(3, C)}), 2, set(), [1, 2, 4]),
        (Rollout(None, canaries={"x": Canary(version(4, C), percent=1)}), 2, set(), [1, 2, 3]),
        (Rollout(version(2, D)), 2, set(), [1, 3, 4]),
    ],
)
def test_what_nobody_needs(plan: Rollout, keep: int, run: set[int], gone: list[int]) -> None:
    channels = (R, D, C, C, D, S, C, C)
    versions = [
        replace(version(id_, channel), promoted=id_ if channel in (D, S) else None)
        for id_, channel in enumerate(channels, 1)
    ]
    digests = {f"sha256:{id_:064x}" for id_ in run}
    assert [each.id for each in disposable(versions, plan, keep, digests)] == gone


def test_a_digest_that_has_two_names_is_needed_for_either() -> None:
    versions = [version(1, S), replace(version(1, C, name="y"), id=2), version(3, C, name="y")]
    assert disposable(versions, Rollout(None), 1, set()) == []


def test_a_removed_users_pin_keeps_nothing(store: Store) -> None:
    store.pin_image("alice", "x:2", "root", NOW)
    store.remove_user("alice", "root", NOW)
    store.retire("x:2", "root", NOW)
