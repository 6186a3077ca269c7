"""The queue: who comes first, who may begin before her, whose quota keeps her, and the sentences about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from gateway.devices import Hardware, Health
from gateway.quotas import Allowance
from gateway.scheduling.booking import Policy
from gateway.scheduling.waiting import Entitlement
from tests.support.queues import (
    HOUR,
    asks,
    everybody,
    gpus,
    granted,
    holds,
    places,
    planned,
    reserved,
    sliced,
    starts,
    user_id,
)
from tests.support.stores import NOW

WEEK = timedelta(days=7)


def test_what_is_free_is_granted_lowest_index_first() -> None:
    made = planned([asks(1, "alice", 2), asks(2, "bob")], gpus(4), [holds(9, "carol", ["l0"])])
    assert granted(made) == {1: ("l1", "l2"), 2: ("l3",)}
    assert starts(made) == {1: 0, 2: 0}
    assert [standing.reasons for standing in made.standings] == [(), ()]


# Each pair differs in what the term looks at, and all that follows it in the order says the opposite.
ORDER = [
    (
        "a quota's use before preemptible",
        asks(1, "alice", preemptible=True, ago=99),
        asks(2, "bob", ago=1),
        {},
    ),
    ("patience", asks(1, "bob", priority=9, ago=167), asks(2, "alice", ago=169), {"alice": 50.0}),
    ("priority", asks(1, "bob", ago=9), asks(2, "alice", priority=1, ago=1), {"alice": 50.0}),
    ("decayed usage", asks(1, "alice", ago=9), asks(2, "bob", ago=1), {"alice": 50.0, "bob": 49.0}),
    ("arrival", asks(1, "alice", ago=1), asks(2, "bob", ago=2), {}),
    ("patience makes arrival decide", asks(1, "bob", priority=9, ago=168), asks(2, "alice", ago=169), {}),
]


@pytest.mark.parametrize(
    ("later", "first", "usage"), [row[1:] for row in ORDER], ids=[row[0] for row in ORDER]
)
def test_the_order(later: object, first: object, usage: dict[str, float]) -> None:
    for waiting in permutations([later, first]):
        made = planned(waiting, gpus(1), usage=usage)  # type: ignore[arg-type]
        assert places(made) == [2, 1]
        assert granted(made) == {2: ("l0",)}


def test_a_reservation_in_force_comes_before_priority_and_takes_its_own_gpus() -> None:
    waiting = [asks(1, "alice", priority=9, ago=200), asks(2, "bob")]
    made = planned(waiting, gpus(2), reservations=[reserved(1, "bob", ["l1"], -1, 9)])
    assert places(made) == [2, 1]
    assert granted(made) == {2: ("l1",), 1: ("l0",)}


def test_a_reservation_gives_precedence_to_what_fits_in_it_and_no_more() -> None:
    keeps = [reserved(1, "bob", ["l1"], -1, 9)]
    assert places(planned([asks(1, "alice", ago=9), asks(2, "bob", 2)], gpus(2), reservations=keeps)) == [
        1,
        2,
    ]
    first, second = asks(2, "bob", ago=2), asks(3, "bob", ago=1)
    waiting = [asks(1, "alice", ago=9), second, first]
    assert places(planned(waiting, gpus(2), reservations=keeps)) == [2, 1, 3]
    # She has it already: the reservation is used up.
    held = [holds(9, "bob", ["l1"])]
    assert places(planned([asks(1, "alice", ago=9), first], gpus(2), held, keeps)) == [1, 2]


def test_nothing_runs_into_somebody_elses_reservation() -> None:
    keeps = [reserved(1, "bob", ["l0"], 4, 9)]
    assert starts(planned([asks(1, "alice", length=4)], gpus(1), reservations=keeps)) == {1: 0}
    made = planned(
        [asks(1, "alice", length=4.5), asks(2, "bob", length=4.5, ago=0)], gpus(1), reservations=keeps
    )
    assert starts(made) == {1: 9, 2: 0}
    assert made.standings[0].reasons == (
        (
            "1 GPU is wanted and 0 are free: a reservation of bob has GPU 0 "
            "from 2026-11-23 19:00 UTC until 2026-11-24 00:00 UTC"
        ),
    )


def test_a_later_request_passes_when_it_delays_nobody() -> None:
    held = [holds(9, "eve", ["l0"], until=4)]
    big, small = asks(1, "alice", 2, ago=9), asks(2, "bob", length=4)
    assert starts(planned([big, small], gpus(2), held)) == {1: 4, 2: 0}
    too_long = asks(2, "bob", length=4.01)
    assert starts(planned([big, too_long], gpus(2), held)) == {1: 4, 2: 12}


def test_without_backfill_nobody_passes() -> None:
    held = [holds(9, "eve", ["l0"], until=4)]
    waiting = [asks(1, "alice", 2, ago=9), asks(2, "bob", length=4)]
    made = planned(waiting, gpus(2), held, policy=Policy(backfill=False, grace=timedelta()))
    assert starts(made) == {1: 4, 2: 12}


def test_gpus_stay_taken_for_the_grace_after_a_lease() -> None:
    keeps = [reserved(1, "bob", ["l0"], 4, 9)]
    waiting = [asks(1, "alice", length=4)]
    assert starts(planned(waiting, gpus(1), reservations=keeps, policy=Policy()))[1] == pytest.approx(9)
    waiting = [asks(1, "alice", length=3), asks(2, "carol", ago=0, length=3)]
    assert starts(planned(waiting, gpus(1), policy=Policy())) == {1: 0, 2: pytest.approx(3 + 1 / 6)}


def test_a_lease_that_should_be_over_holds_what_it_has() -> None:
    made = planned([asks(1, "alice")], gpus(1), [holds(9, "bob", ["l0"], until=-1)])
    assert granted(made) == {}
    assert made.standings[0].reasons == (
        "1 GPU is wanted and 0 are free: bob holds GPU 0 until its container has stopped",
    )
    assert made.standings[0].start == NOW + timedelta(minutes=1)


def test_a_lease_from_the_future_of_a_clock_that_was_set_back_holds_too() -> None:
    assert granted(planned([asks(1, "alice", length=1)], gpus(1), [holds(9, "bob", ["l0"], since=-2)])) == {}


def test_who_is_at_her_quota_blocks_nobody() -> None:
    held = [holds(9, "alice", ["l0"], until=4)]
    waiting = [asks(1, "alice", ago=9), asks(2, "bob", length=100)]
    made = planned(waiting, gpus(2), held, allowances=everybody(1))
    assert starts(made) == {1: 4, 2: 0}
    assert made.standings[0].reasons == ("alice may hold 1 GPU at once and holds 1",)


def test_her_own_requests_pass_each_other_only_without_delay() -> None:
    held = [holds(9, "eve", ["l0", "l1"], until=4)]
    big, short, long = asks(1, "alice", 2, ago=9), asks(2, "alice", length=4), asks(3, "alice", length=5)
    allowances = everybody(8, alice=Entitlement(2))
    assert starts(planned([big, short], gpus(3), held, allowances=allowances)) == {1: 4, 2: 0}
    made = planned(
        [big, long], gpus(4), held[:0] + [holds(9, "eve", ["l0", "l1", "l2"])], allowances=allowances
    )
    assert starts(made) == {1: 4, 3: 12}
    assert made.standings[1].reasons == (
        "alice may hold 2 GPUs at once and holds 0, and her requests before this one need the rest",
    )


def test_what_she_asks_for_beyond_her_quota_is_not_put_off_by_what_she_asks_for_later() -> None:
    held = [holds(9, "alice", ["l0"], until=4)]
    two = everybody(2)
    waiting = [asks(1, "alice", 2, ago=9), asks(2, "alice", length=4), asks(3, "bob")]
    assert starts(planned(waiting, gpus(4), held, allowances=two)) == {1: 4, 2: 0, 3: 0}
    waiting[1] = asks(2, "alice", length=4.01)
    assert starts(planned(waiting, gpus(4), held, allowances=two)) == {1: 4, 2: 12, 3: 0}


def test_preemptible_use_leaves_her_quota_to_her() -> None:
    held = [holds(9, "alice", ["l0"], preemptible=True)]
    assert granted(planned([asks(1, "alice")], gpus(2), held, allowances=everybody(1))) == {1: ("l1",)}


def test_gpu_hours_are_given_only_when_all_of_the_request_is_left() -> None:
    tight = Entitlement(8, Allowance(100 * 3600, WEEK), spent=92 * 3600)
    allowances = everybody(8, alice=tight)
    assert starts(planned([asks(1, "alice", 1, 8)], gpus(2), allowances=allowances)) == {1: 0}
    waiting = [asks(1, "alice", 1, 8, ago=9), asks(2, "alice", 1, 1), asks(3, "bob", 2)]
    made = planned(waiting, gpus(3), allowances=allowances)
    assert starts(made) == {1: 0, 2: None, 3: 0}
    assert made.standings[1].reasons == (
        (
            "alice may hold 100 GPU-hours in 7d: 0 are left after what she held, holds and asked for before, "
            "and 1 are asked for"
        ),
    )


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (asks(1, "alice", 5), "5 GPUs are wanted and the largest machine has 4"),
        (asks(1, "alice", model="A100"), "1 GPU is wanted and the largest machine has 0 of the model 'A100'"),
        (asks(1, "alice", ids=["x9"]), "1 GPU is wanted and the largest machine has 0 among x9"),
        (
            asks(1, "alice", profile="1g.10gb"),
            "1 GPU is wanted and the largest machine has 0 of the profile 1g.10gb",
        ),
        (asks(1, "bob", 2), "bob may hold 1 GPU at once, so never 2"),
        (asks(1, "carol", 1, 9), "carol may hold 8 GPU-hours in 7d, so never 9 in one go"),
        (asks(1, "dan"), "dan may hold 0 GPUs at once, so never 1"),
    ],
)
def test_what_can_never_be_granted_says_so_and_keeps_nothing(request_: object, reason: str) -> None:
    allowances = {
        user_id("alice"): Entitlement(8),
        user_id("bob"): Entitlement(1),
        user_id("carol"): Entitlement(8, Allowance(8 * 3600, WEEK)),
        user_id("eve"): Entitlement(8),
    }
    waiting = [request_, asks(2, "eve", 4, ago=0)]
    made = planned(waiting, gpus(4), allowances=allowances)  # type: ignore[arg-type]
    assert made.standings[0].reasons == (reason,)
    assert starts(made) == {1: None, 2: 0}


def test_a_model_is_a_part_of_its_name_in_any_case_and_ids_are_exact() -> None:
    devices = gpus(3)
    assert granted(planned([asks(1, "alice", model="h100")], devices)) == {1: ("l0",)}
    assert granted(planned([asks(1, "alice", 2, ids=["l2", "l1"])], devices)) == {1: ("l1", "l2")}
    made = planned([asks(1, "alice", ids=["l1"])], devices, [holds(9, "bob", ["l1"], 4)])
    assert starts(made) == {1: 4}


def test_all_gpus_of_a_request_are_of_one_machine() -> None:
    devices = [*gpus(2, "here"), *gpus(3, "there")]
    held = [holds(9, "bob", ["h0"], until=2), holds(8, "bob", ["t0", "t1"], until=4)]
    made = planned([asks(1, "alice", 2)], devices, held)
    assert starts(made) == {1: 2}
    assert (
        made.standings[0]
        .reasons[0]
        .startswith("2 GPUs are wanted and 1 is free on one machine: bob holds GPU 0")
    )
    # One GPU goes where the least is left over.
    assert granted(planned([asks(1, "alice")], devices, held[1:])) == {1: ("t2",)}


def test_slices_are_for_those_who_ask_for_them_and_count_as_sevenths() -> None:
    devices = [*gpus(1), *sliced(1, "3g.40gb", "3g.40gb")]
    assert granted(planned([asks(1, "alice")], devices)) == {1: ("l0",)}
    waiting = [asks(number, name, profile="3g.40gb") for number, name in ((1, "alice"), (2, "bob"))]
    made = planned(waiting, devices, allowances=everybody(1))
    assert granted(made) == {1: ("l1/3g.40gb@0",), 2: ("l1/3g.40gb@4",)}
    held = [holds(9, "alice", ["l0"])]
    made = planned(waiting, devices, held, allowances=everybody(1))
    assert granted(made) == {2: ("l1/3g.40gb@0",)}
    assert made.standings[0].reasons == ("alice may hold 1 GPU at once and holds 1",)


def test_nobody_has_two_slices_whatever_is_free() -> None:
    """CUDA uses one of them: she waits for the end of her first, and nobody waits for her."""
    devices = sliced(0, "1g.10gb", "1g.10gb", "1g.10gb")
    held = [holds(9, "alice", ["l0/1g.10gb@0"], until=3)]
    waiting = [asks(number, name, profile="1g.10gb") for number, name in ((1, "alice"), (2, "bob"))]
    made = planned(waiting, devices, held)
    assert granted(made) == {2: ("l0/1g.10gb@4",)}
    assert starts(made) == {1: 3, 2: 0}
    assert (
        made.standings[0]
        .reasons[0]
        .startswith("1 GPU is wanted and 0 are free: alice holds GPU 0/1g.10gb@0 until")
    )
    assert "alice holds a MIG slice, and nobody has two: not GPU 0/1g.10gb@4" in made.standings[0].reasons[0]
    two = [asks(number, "carol", profile="1g.10gb") for number in (1, 2)]
    assert starts(planned(two, devices)) == {1: 0, 2: 8}


def test_a_reserved_slice_puts_nobody_first_for_a_gpu() -> None:
    devices = [*gpus(1), *sliced(1, "1g.10gb")]
    kept = [reserved(1, "bob", ["l1/1g.10gb@0"], -1, 12)]
    waiting = [asks(1, "alice", ago=2), asks(2, "bob")]
    assert places(planned(waiting, devices, reservations=kept)) == [1, 2]
    waiting.append(asks(3, "bob", profile="1g.10gb"))
    made = planned(waiting, devices, reservations=kept)
    assert places(made) == [3, 1, 2]
    assert granted(made) == {1: ("l0",), 3: ("l1/1g.10gb@0",)}


def test_a_gpu_is_never_granted_whole_while_it_is_divided_or_a_part_of_it_is_held() -> None:
    divided = sliced(0, "1g.10gb")
    assert starts(planned([asks(1, "alice")], divided)) == {1: None}
    # MIG was switched off under a lease, or on.
    plain = [replace(divided[0], hardware=Hardware(mig=False)), divided[1]]
    assert starts(planned([asks(1, "bob")], plain, [holds(9, "alice", [divided[1].id], until=3)])) == {1: 3}
    slice_ = [asks(1, "bob", profile="1g.10gb")]
    assert starts(planned(slice_, divided, [holds(9, "alice", ["l0"], until=3)])) == {1: 3}


def test_a_gpu_that_is_out_of_order_or_drained_is_not_granted() -> None:
    broken = [*gpus(1, problem="Xid 79"), *gpus(3, drained="for a test")[1:2], *gpus(3, drained="")[2:]]
    made = planned([asks(1, "alice")], broken)
    assert starts(made) == {1: None}
    assert made.standings[0].reasons == (
        (
            "1 GPU is wanted and 0 are free: GPU 0 is out of order (Xid 79); GPU 1 is drained (for a test); "
            "GPU 2 is drained"
        ),
    )


def test_well_connected_gpus_are_taken() -> None:
    first, second, third, fourth = gpus(4)
    second = replace(second, hardware=Hardware(links=(("l0", "SYS"), ("l2", "SYS"), ("l3", "NV18"))))
    assert granted(planned([asks(1, "alice", 2)], [first, second, third, fourth])) == {1: ("l1", "l3")}


def test_a_gpu_that_ails_is_granted_last() -> None:
    devices = [*gpus(1, health=Health.DEGRADED), *gpus(3)[1:]]
    assert granted(planned([asks(1, "alice", 2)], devices)) == {1: ("l1", "l2")}
    assert granted(planned([asks(1, "alice", 3)], devices)) == {1: ("l0", "l1", "l2")}


def test_every_term_has_a_line_and_every_wait_a_reason() -> None:
    held = [holds(9, "bob", ["l0", "l2"], until=2), holds(8, "dan", ["l1"], until=5)]
    waiting = [asks(1, "alice", 3, ago=1 / 3), asks(2, "carol", priority=2), asks(3, "eve", ago=0.1)]
    made = planned(waiting, gpus(4), held, usage={"alice": 12.5, "dan": 1, "eve": 3})
    first, second, third = made.standings
    assert (first.request_id, first.place, first.reasons) == (2, 1, ())
    assert (second.request_id, third.request_id, third.place) == (3, 1, 3)
    assert third.terms == (
        "within a quota",
        "no reservation is in force",
        "waits for less than 7d",
        "priority 0",
        "used 12.5 GPU-hours lately (half-life 7d); of those who wait, 2 people used less",
        "asked 20m ago",
    )
    assert third.start == NOW + 8 * HOUR
    assert third.reasons == (
        (
            "3 GPUs are wanted and 0 are free: bob holds GPU 0 and GPU 2 until 2026-11-23 17:00 UTC; "
            "dan holds GPU 1 until 2026-11-23 20:00 UTC; "
            "request 2 of carol, which comes before, has GPU 3 from 2026-11-23 15:00 UTC"
        ),
    )


def test_an_endless_queue_ends_with_the_calendar() -> None:
    waiting = [asks(number, "alice", length=1000 * 365 * 24, ago=9 - number / 1000) for number in range(9)]
    made = planned(waiting, gpus(1))
    assert made.standings[0].start == NOW
    assert made.standings[-1].start is None


def test_what_is_in_the_way_of_a_preemptible_request() -> None:
    held = [holds(9, "eve", ["l0"], until=4)]
    within, above = asks(1, "alice", 2), asks(2, "bob", length=5, ago=9, preemptible=True)
    made = planned([within, above], gpus(2), held, allowances=everybody(2, bob=Entitlement(0)))
    assert starts(made) == {1: 4, 2: 12}
    # Nobody could use the other GPU before that: it is lent.
    short = asks(2, "bob", length=4, preemptible=True)
    assert granted(planned([within, short], gpus(2), held)) == {2: ("l1",)}


def notices(*arguments: object, **named: object) -> list[tuple[int, int]]:
    made = planned(*arguments, **named)  # type: ignore[arg-type]
    return [(notice.lease_id, notice.request_id) for notice in made.notices]


def test_the_youngest_preemptible_leases_get_notice_and_no_more_than_needed() -> None:
    held = [
        holds(7, "bob", ["l0"], 50, since=3, preemptible=True),
        holds(8, "bob", ["l1"], 50, since=1, preemptible=True),
        holds(9, "carol", ["l2"], 50, since=2, preemptible=True),
        holds(10, "dan", ["l3"], 50, since=0.5),
    ]
    none = everybody(0, alice=Entitlement(2), eve=Entitlement(1))
    made = planned([asks(1, "alice")], gpus(4), held, allowances=none)
    assert [(notice.lease_id, notice.at) for notice in made.notices] == [(8, NOW + HOUR)]
    assert starts(made) == {1: 1}
    assert made.standings[0].reasons[1] == "the preemptible lease 8 ends for it at 2026-11-23 16:00 UTC"
    assert notices([asks(1, "alice", 2)], gpus(4), held, allowances=none) == [(8, 1), (9, 1)]
    waiting = [asks(1, "alice", ago=2), asks(2, "eve")]
    assert notices(waiting, gpus(4), held, allowances=none) == [(8, 1), (9, 2)]
    # The ones that can be used, though others are younger.
    assert notices([asks(1, "alice", ids=["l0"])], gpus(4), held, allowances=none) == [(7, 1)]


def test_after_a_notice_the_grace_passes_as_after_any_lease() -> None:
    held = [holds(7, "bob", ["l0"], 50, preemptible=True)]
    allowances = everybody(1, bob=Entitlement(0))
    made = planned([asks(1, "alice")], gpus(1), held, allowances=allowances, policy=Policy())
    assert [notice.at for notice in made.notices] == [NOW + HOUR]
    assert starts(made) == {1: pytest.approx(1 + 1 / 6)}


def test_who_comes_later_may_count_on_the_notice() -> None:
    held = [holds(7, "bob", ["l0"], 50, preemptible=True)]
    waiting = [asks(1, "alice", length=2, ago=2), asks(2, "carol", length=2)]
    made = planned(waiting, gpus(1), held, allowances=everybody(1, bob=Entitlement(0)))
    assert ([notice.request_id for notice in made.notices], starts(made)) == ([1], {1: 1, 2: 3})


def test_a_notice_that_was_given_is_not_given_again_nor_another_one() -> None:
    held = [
        holds(7, "bob", ["l0"], 50, since=3, preemptible=True),
        holds(8, "bob", ["l1"], 0.75, since=1, preemptible=True, noticed=True),
    ]
    made = planned([asks(1, "alice")], gpus(2), held, allowances=everybody(0, alice=Entitlement(1)))
    assert made.notices == ()
    assert starts(made) == {1: 0.75}


def test_nobody_is_taken_below_her_quota() -> None:
    held = [
        holds(7, "bob", ["l0"], 50, since=4),
        holds(8, "bob", ["l1"], 50, since=3, preemptible=True),
        holds(9, "bob", ["l2"], 50, since=2, preemptible=True),
    ]
    two = everybody(2, alice=Entitlement(3))
    assert notices([asks(1, "alice")], gpus(3), held, allowances=two) == [(9, 1)]
    assert notices([asks(1, "alice", 2)], gpus(3), held, allowances=two) == []
    # The one that can be used counts, not one that is younger.
    assert notices([asks(1, "alice", ids=["l1"])], gpus(3), held, allowances=two) == [(8, 1)]
    # What ends already is gone, whoever was told of it and when.
    both = [asks(1, "alice", ids=["l1"], ago=2), asks(2, "alice", ids=["l2"])]
    assert notices(both, gpus(3), held, allowances=two) == [(8, 1)]
    held[1] = holds(8, "bob", ["l1"], 0.5, since=3, preemptible=True, noticed=True)
    assert notices(both, gpus(3), held, allowances=two) == []


def test_no_notice_without_need() -> None:
    lent = [holds(8, "bob", ["l1"], 50, preemptible=True)]
    zero = everybody(0, alice=Entitlement(2), carol=Entitlement(1))
    # Somebody else is in the way for longer than a notice takes.
    busy = [*lent, holds(9, "carol", ["l0"], until=5)]
    made = planned([asks(1, "alice", 2)], gpus(2), busy, allowances=zero)
    assert (made.notices, starts(made)) == ((), {1: 5})
    # It begins as early without.
    soon = [*lent, holds(9, "carol", ["l0"], until=0.9)]
    assert notices([asks(1, "alice")], gpus(2), soon, allowances=zero) == []
    # Preemptible use ends nobody's, nor does who is at her quota.
    full = [*lent, holds(9, "carol", ["l0"], until=50)]
    assert notices([asks(1, "alice", preemptible=True)], gpus(2), full, allowances=zero) == []
    assert notices([asks(1, "carol")], gpus(2), full, allowances=zero) == []
