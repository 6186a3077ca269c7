"""A GPU that fails under a lease is replaced if one is free and not charged for, and its holder is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import losses, usage
from gateway.devices import Device, Health
from gateway.errors import PlatformError
from gateway.health import Signs, Told
from gateway.leases import Lease, State
from gateway.losses import Change, Loss
from gateway.replacing import Replacing
from tests.support.stores import NOW, gpu
from tests.support.world import World

ERA = "boot 550"
WELL = Told(era=ERA)
MINUTE = timedelta(minutes=1)
ALL = [gpu(index) for index in range(8)]


def ids(*indexes: int) -> tuple[str, ...]:
    return tuple(sorted(gpu(index).id for index in indexes))


class Lab(World):
    """A world whose GPUs fail, and whose notices are kept."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.notices: list[tuple[int, str]] = []
        self.broker.announce = lambda user_id, text: self.notices.append((user_id, text))
        self.replacing = Replacing(self.desk, self.broker, self.timekeeper)

    def see(self, *failing: int, use: dict[str, str | None] | None = None) -> None:
        """A look at which these GPUs do not answer."""
        seen = [device for device in ALL if device.index not in failing]
        self.store.sync_devices(seen, self.time, replace(WELL, use=use or {}))

    def health(self, index: int) -> Health:
        return next(device.state for device in self.store.devices() if device.index == index)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "state")
    yield lab
    lab.stop()
    lab.store.close()


async def test_a_lease_moves_to_a_free_gpu_of_the_same_kind_and_its_holder_is_told(lab: Lab) -> None:
    lease = lab.grant("alice", 0, 1)
    lab.grant("bob", 2)
    lab.see(1)
    lab.time += MINUTE
    await lab.replacing.replace_lost()
    now = lab.lease(lease)
    assert (now.devices, now.problem) == (ids(0, 3), None)
    assert now.losses == (Loss(gpu(1).id, lab.time, lab.time),)
    told = f"GPU 1 of your lease {lease.id} is lost: not seen by the driver. GPU 3 takes its place."
    assert lab.notices == [(1, told)]
    # Once, and the schema knows the new holder.
    await lab.replacing.replace_lost()
    assert len(lab.notices) == 1
    with pytest.raises(PlatformError):
        lab.grant("bob", 3)


async def test_the_new_set_applies_at_the_next_login_when_nothing_of_hers_runs(lab: Lab) -> None:
    lease = lab.grant("alice", 1)
    await lab.enter(1)
    lab.see(1)
    await lab.replacing.replace_lost()
    lab.present.add(1)
    assert "applies when nothing of yours runs" in await lab.enter(1)
    # Looking after strays does not take away what she had: it is nobody else's.
    await lab.broker.adopt()
    container = await lab.backend.inspect(1)
    assert container is not None
    assert (container.running, container.gpus) == (True, ids(1))
    lab.present.clear()
    await lab.enter(1)
    container = await lab.backend.inspect(1)
    assert container is not None
    assert container.gpus == lab.lease(lease).devices == ids(0)


async def test_what_may_still_be_shown_is_granted_to_nobody_when_it_is_back(lab: Lab) -> None:
    lab.grant("alice", 1)
    lab.see(1)
    await lab.replacing.replace_lost()
    assert lab.store.leftovers() == {gpu(1).id: 1}
    # It is well again, and the engine did not say who shows it.
    lab.see()
    assert lab.health(1) is Health.QUARANTINED
    lab.see(use={gpu(1).id: "its last holder's container still shows it"})
    with pytest.raises(PlatformError, match="still shows it"):
        lab.grant("bob", 1)
    lab.see(use={gpu(1).id: None})
    assert lab.store.leftovers() == {}
    assert lab.grant("bob", 1).devices == ids(1)
    lab.see()
    assert lab.health(1) is Health.HEALTHY


async def test_a_word_of_an_operator_does_not_free_what_may_still_be_shown(lab: Lab) -> None:
    lab.grant("alice", 1)
    assert lab.store.note_xid(gpu(1).id, 79, ERA, lab.time)
    await lab.replacing.replace_lost()
    lab.store.drain(gpu(1).id, None, "root", lab.time)
    assert lab.health(1) is Health.QUARANTINED
    lab.see(use={gpu(1).id: None})
    assert lab.health(1) is Health.HEALTHY


async def test_with_no_other_free_the_lease_stands_with_its_problem_until_one_is(lab: Lab) -> None:
    lease, rest = lab.grant("alice", 1), lab.grant("bob", 0, 2, 3, 4, 5, 6, 7)
    lab.see(1)
    await lab.replacing.replace_lost()
    await lab.replacing.replace_lost()
    now = lab.lease(lease)
    assert (now.devices, now.live) == (ids(1), True)
    assert now.problem == "GPU 1 is lost: not seen by the driver; no other is free"
    assert [text.rpartition(". ")[2] for _, text in lab.notices] == [
        "No other of its kind is free; its time is not counted until it is back."
    ]
    lab.store.end_lease(rest.id, "root", lab.time)
    await lab.settling.settle(2)
    await lab.replacing.replace_lost()
    assert (lab.lease(lease).devices, lab.lease(lease).problem) == (ids(0), None)


async def test_two_that_fail_are_one_problem_that_changes_only_when_they_do(lab: Lab) -> None:
    lease, _ = lab.grant("alice", 1, 2), lab.grant("bob", 0, 3, 4, 5, 6, 7)
    lab.see(1, 2)
    for _ in range(3):
        await lab.replacing.replace_lost()
    problem = lab.lease(lease).problem or ""
    assert [part.partition(":")[0] for part in problem.split("free")][:2] == [
        "GPU 2 is lost",
        "; GPU 1 is lost",
    ]
    assert len(lab.notices) == 2
    flags = "select 1 from event where verb = 'lease problem'"
    assert len(lab.store._db.rows(flags)) == 1
    lab.see(2)
    await lab.replacing.replace_lost()
    assert lab.lease(lease).problem == "GPU 2 is lost: not seen by the driver; no other is free"


async def test_one_that_comes_back_is_hers_again_and_counts_again(lab: Lab) -> None:
    lease, _ = lab.grant("alice", 1), lab.grant("bob", 0, 2, 3, 4, 5, 6, 7)
    lab.time += 10 * MINUTE
    lab.see(1)
    await lab.replacing.replace_lost()
    lab.time += 10 * MINUTE
    lab.see()
    await lab.replacing.replace_lost()
    lab.time += 10 * MINUTE
    now = lab.lease(lease)
    assert (now.devices, now.problem) == (ids(1), None)
    assert lab.notices[-1] == (
        1,
        f"GPU 1 of your lease {lease.id} can be used again; its time counts from now.",
    )
    assert usage.gpu_seconds(now, NOW, lab.time) == 20 * 60
    assert lab.health(1) is Health.HEALTHY


async def test_a_clock_that_is_set_refunds_nothing(lab: Lab) -> None:
    lease, _ = lab.grant("alice", 1), lab.grant("bob", 0, 2, 3, 4, 5, 6, 7)
    await lab.timekeeper.now()
    lab.time += 10 * MINUTE
    lab.see(1)
    await lab.replacing.replace_lost()
    lab.set_clock(timedelta(days=1))
    await lab.timekeeper.now()
    lab.see()
    await lab.replacing.replace_lost()
    lab.time += MINUTE
    now = lab.lease(lease)
    assert usage.gpu_seconds(now, now.granted_at, lab.time) == 11 * 60


async def test_what_is_only_drained_or_ails_stays(lab: Lab) -> None:
    lease = lab.grant("alice", 1, 2)
    lab.store.drain(gpu(1).id, "fan", "root", lab.time)
    ailing = replace(WELL, signs={gpu(2).id: Signs(row_pending=True)})
    lab.store.sync_devices(ALL, lab.time, ailing)
    await lab.replacing.replace_lost()
    assert (lab.lease(lease).devices, lab.notices) == (ids(1, 2), [])


async def test_a_lease_that_is_over_moves_nowhere(lab: Lab) -> None:
    lease = lab.grant("alice", 1)
    lab.store.expire(lease.id, "over", "gateway", lab.time)
    lab.see(1)
    await lab.replacing.replace_lost()
    assert (lab.lease(lease).devices, lab.lease(lease).losses) == (ids(1), ())


def test_a_replacement_is_of_the_same_kind_and_the_healthiest() -> None:
    lost = replace(gpu(0), health=Health.LOST, problem="gone")
    other_model = replace(gpu(1), model="NVIDIA A100")
    other_node = replace(gpu(2), node="far")
    ailing = replace(gpu(3), health=Health.DEGRADED)
    drained = replace(gpu(4), drained="fan")
    fit: list[Device] = [other_model, other_node, ailing, drained, gpu(5), gpu(6)]
    assert losses.replacement(lost, fit, {gpu(5).id}) == gpu(6)
    assert losses.replacement(lost, fit, {gpu(5).id, gpu(6).id}) == ailing
    assert losses.replacement(lost, fit[:2], ()) is None


def test_only_the_part_of_a_loss_within_the_time_is_refunded() -> None:
    at = [NOW + index * MINUTE for index in range(5)]
    assert losses.lost_seconds([Loss("a", at[0], at[2]), Loss("b", at[3])], at[1], at[4]) == 120
    assert losses.lost_seconds([Loss("a", at[3], at[1])], at[0], at[4]) == 0
    lease = Lease(1, 1, "alice", ("a",), State.ACTIVE, at[0], at[4], losses=(Loss("a", at[1]),))
    assert usage.gpu_seconds(lease, at[0], at[4]) == 60


def test_a_change_says_what_an_operator_looks_at() -> None:
    lost = replace(gpu(0), health=Health.LOST, problem="gone")
    assert losses.problem(Change(1, 1, lost, NOW)) == "GPU 0 is lost: gone; no other is free"
    assert losses.problem(Change(1, 1, lost, NOW, gpu(1))) is None
    assert losses.problem(Change(1, 1, lost, NOW, back=True)) is None


def test_a_message_says_what_failed_what_is_held_and_what_is_not_counted() -> None:
    change = Change(7, 1, gpu(0, "it fell off the bus"), NOW)
    name, spared = "GPU 0 of your lease 7", "the 1h 30m without it are not counted."
    failed = f"{name} failed at 2026-11-23 15:00 UTC: it fell off the bus."
    other = replace(change, by=gpu(3))
    for what, after, said in (
        (change, 0, f"{failed} No other of its kind was free; its time is not counted until it is back."),
        (other, 0, f"{failed} GPU 3 takes its place."),
        (other, 90, f"{failed} GPU 3 takes its place; {spared}"),
        (
            replace(change, back=True),
            90,
            f"{name}, which failed at 2026-11-23 15:00 UTC, can be used again: {spared}",
        ),
    ):
        assert losses.message(what, NOW + after * MINUTE) == said


async def test_every_change_leaves_its_holder_a_message(lab: Lab) -> None:
    """Also one that nobody else learned of: a gateway that ended between the two has told nobody."""
    lab.grant("alice", 1)
    rest = lab.grant("bob", 0, 2, 3, 4, 5, 6, 7)
    lab.see(1)
    lab.store.replace_lost(lab.time)
    lab.time += 90 * MINUTE
    lab.store.replace_lost(lab.time)
    lab.store.end_lease(rest.id, "root", lab.time)
    lab.store.released(rest.id, "root", lab.time)
    lab.store.replace_lost(lab.time)
    unread = lab.store.unread(1)
    assert unread is not None
    first, second = unread.lines
    assert "No other of its kind was free" in first
    assert "GPU 0 takes its place; the 1h 30m without it are not counted." in second
    assert lab.store.unread(2) is None
