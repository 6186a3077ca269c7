"""The choice of devices: well connected, few fragments, lowest index, always the same."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.placement import EXACT, Link, Links, choose, level


def ids(count: int) -> list[str]:
    return [f"g{index}" for index in range(count)]


def groups(count: int, size: int, link: Link) -> dict[frozenset[str], Link]:
    """Of `count` devices each `size` in a row reach each other so."""
    pairs = combinations(range(count), 2)
    return {frozenset((f"g{a}", f"g{b}")): link for a, b in pairs if a // size == b // size}


# Two sockets of four; in each two pairs with NVLink.
BOX = {**groups(8, 4, Link.NUMA), **groups(8, 2, Link.NVLINK)}


@pytest.mark.parametrize(
    ("word", "link"),
    [
        ("NV18", Link.NVLINK),
        ("NV1", Link.NVLINK),
        ("PIX", Link.SWITCH),
        ("PXB", Link.SWITCH),
        ("PHB", Link.NUMA),
        ("NODE", Link.NUMA),
        ("SYS", Link.OTHER),
        ("NV", Link.OTHER),
        ("", Link.OTHER),
    ],
)
def test_the_words_of_nvidia_smi(word: str, link: Link) -> None:
    assert level(word) is link


@pytest.mark.parametrize(
    ("free", "count", "links", "chosen"),
    [
        # Nothing is known: lowest index.
        ("0123", 2, {}, "01"),
        # A pair with NVLink before lower indexes.
        ("0235", 2, BOX, "23"),
        # One socket, with a pair in it, before two pairs of two sockets.
        ("01457", 3, BOX, "457"),
        # One GPU: the one whose pair is broken already.
        ("0134", 1, BOX, "4"),
        ("123", 1, BOX, "1"),
        # Two of one socket: the pair, so that no pair is torn.
        ("0123", 2, BOX, "01"),
        ("123", 2, BOX, "23"),
        # Whichever is the third, the worst pair is as bad: the pair in it decides, then the index.
        ("0124", 3, BOX, "012"),
        # All of them.
        ("467", 3, BOX, "467"),
    ],
)
def test_the_choice(free: str, count: int, links: Links, chosen: str) -> None:
    assert choose([f"g{index}" for index in free], count, links) == tuple(f"g{index}" for index in chosen)


def test_a_good_pair_is_taken_though_another_is_torn() -> None:
    links = {
        frozenset(("g0", "g1")): Link.NUMA,
        frozenset(("g1", "g2")): Link.SWITCH,
        frozenset(("g2", "g3")): Link.SWITCH,
    }
    assert choose(ids(4), 2, links) == ("g2", "g3")


def test_the_worst_pair_decides_first() -> None:
    # 0, 1, 2 have two NVLinks and a stranger; 3, 4, 5 are behind one switch.
    links = {
        frozenset(("g0", "g1")): Link.NVLINK,
        frozenset(("g1", "g2")): Link.NVLINK,
        **{frozenset(pair): Link.SWITCH for pair in combinations(("g3", "g4", "g5"), 2)},
    }
    assert choose(ids(6), 3, links) == ("g3", "g4", "g5")


def test_a_rank_decides_before_the_links() -> None:
    assert choose(ids(4), 2, BOX, {"g0": 1}) == ("g2", "g3")
    assert choose(ids(4), 1, BOX, {"g3": -1}) == ("g3",)
    assert choose(ids(4), 2, {}, {"g0": 1, "g3": -1}) == ("g1", "g3")


LINKS = st.integers(2, 7).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.integers(1, count),
        st.fixed_dictionaries(
            {frozenset(pair): st.sampled_from(Link) for pair in combinations(ids(count), 2)}
        ),
    )
)


@given(LINKS)
def test_no_other_set_has_a_better_worst_pair(case: tuple[int, int, Links]) -> None:
    count, wanted, links = case

    def worst(some: tuple[str, ...]) -> int:
        return max((links[frozenset(pair)] for pair in combinations(some, 2)), default=0)

    chosen = choose(ids(count), wanted, links)
    assert len(set(chosen)) == wanted
    assert worst(chosen) == min(worst(some) for some in combinations(ids(count), wanted))


@given(LINKS, st.randoms())
def test_the_answer_is_always_the_same(case: tuple[int, int, Links], random: object) -> None:
    count, wanted, links = case
    mixed = list(links.items())
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert choose(ids(count), wanted, dict(mixed)) == choose(ids(count), wanted, links)


@pytest.mark.parametrize("wanted", [1, 2, 8, 16, 31, 32])
def test_of_many_devices_whole_groups_are_found(wanted: int) -> None:
    size = 2 * EXACT
    links = groups(size, 8, Link.NVLINK)
    chosen = choose(ids(size), wanted, links)
    assert chosen == tuple(ids(size)[:wanted])
    # One group is broken already: it is used up before another is broken.
    free = ids(size)[5:]
    assert choose(free, 3, links) == ("g5", "g6", "g7")
