"""What a second worker brings: transfers at once through a gateway with two, and through one with one.

Owns the other gateway. Clients share the cores with both, so a machine with more of them gains more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.bench.figures import Row
from tests.bench.sides import Side, Sides
from tests.bench.timing import Work, command, in_turn
from tests.stories.conftest import a_house, ended
from tests.support import images

TRANSFERS = 4
EACH = 1 << 28


def workers(sides: Sides) -> list[Row]:
    """Four transfers at once, each way, each of a connection of its own."""
    file = str(sides.quiet_file("quarter", EACH))
    two = sides.ours
    with _one_worker(sides) as one:
        down = [_at_once([command(side.ssh(f"head -c {EACH} /dev/zero"))] * TRANSFERS) for side in (two, one)]
        up = [_at_once([command(side.ssh("cat > /dev/null"), file)] * TRANSFERS) for side in (two, one)]
        return [
            Row(
                f"{TRANSFERS} times 256 MiB {way} at once, two workers",
                "one worker",
                "s",
                *in_turn(*works, 3),
                1.0,
            )
            for way, works in (("down", down), ("up", up))
        ]


def _at_once(works: Sequence[Work]) -> Work:
    """All of them, each in a thread that only waits."""

    def run() -> None:
        with ThreadPoolExecutor(len(works)) as pool:
            for done in [pool.submit(work) for work in works]:
                done.result()

    return run


@contextmanager
def _one_worker(sides: Sides) -> Iterator[Side]:
    """A gateway like the measured one, but for its number of workers."""
    house = a_house(images.base())
    house.workers = 1
    try:
        house.start()
        side = Side("one worker", house.add("alice").config, sides.options)
        side.run("true")
        yield side
    finally:
        ended(house)
