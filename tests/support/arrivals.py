"""Who asked for how many GPUs, when, for how long, and how long she used them: traces for the simulator.

Owns the CSV format (docs/scheduling.md) and a generator of use such as a lab's. The same seed gives the same
trace. Decides nothing about the queue.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TextIO

HOUR = 3600
DAY = 24 * HOUR


@dataclass(frozen=True)
class Arrival:
    """At second `at` of the trace `user` asks for `gpus` GPUs for `length` seconds, and stops after `runs`
    of them."""

    at: int
    user: str
    gpus: int
    length: int
    runs: int
    priority: int = 0


COLUMNS = tuple(field.name for field in fields(Arrival))


def read(file: TextIO) -> list[Arrival]:
    """The arrivals of a CSV file, by time. Raises ValueError with the line for one that says nothing."""
    rows = csv.DictReader(file)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise ValueError(f"the first line must be {','.join(COLUMNS)}")
    found = []
    for number, row in enumerate(rows, 2):
        try:
            numbers = {name: int(row[name]) for name in COLUMNS if name != "user"}
        except (TypeError, ValueError):
            raise ValueError(f"line {number} has no whole number where one belongs") from None
        arrival = Arrival(user=row["user"], **numbers)
        if not arrival.user or arrival.at < 0 or min(arrival.gpus, arrival.length, arrival.runs) < 1:
            raise ValueError(f"line {number} has no user, a time before 0, or nothing asked for")
        found.append(arrival)
    return sorted(found, key=lambda arrival: arrival.at)


def write(arrivals: Iterable[Arrival], file: TextIO) -> None:
    """The same as CSV, for `read`."""
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([getattr(arrival, name) for name in COLUMNS] for arrival in arrivals)


# Two people train day and night, three in campaigns, most try things in the daytime.
_HEAVY = ("ada", "bela")
_CAMPAIGN = ("cleo", "dora", "emma")
_LIGHT = ("finn", "gita", "hugo", "ines", "jona", "kaya", "lars")
LAB = (*_HEAVY, *_CAMPAIGN, *_LIGHT)
"""Everybody in the lab that is generated."""


def lab(seed: int, days: int = 28, rush: float = 1) -> list[Arrival]:
    """The arrivals of `days` in a lab of twelve that shares eight GPUs.

    Two submit sweeps of long runs, `rush` times as many as usual; three have some days of bigger trainings
    each; the others ask in working hours for short times. Everybody asks for more time than she uses, as
    people do.
    """
    chance = random.Random(seed)
    found: list[Arrival] = []
    for user in _HEAVY:
        for day in range(0, days, 2):
            at = day * DAY + chance.randrange(DAY)
            found += [_one(chance, user, at, 1, 12) for _ in range(round(rush * chance.randint(2, 6)))]
    for user in _CAMPAIGN:
        start = chance.randrange(max(1, days - 7))
        for day in range(start, min(days, start + 7)):
            for _ in range(chance.randint(1, 3)):
                found.append(_one(chance, user, _daytime(chance, day), chance.choice((2, 2, 4, 8)), 8))
    for user in _LIGHT:
        for day in range(days):
            if day % 7 < 5 and chance.random() < 0.7:
                found += [
                    _one(chance, user, _daytime(chance, day), 1, 3) for _ in range(chance.randint(1, 2))
                ]
    return sorted(found, key=lambda arrival: (arrival.at, arrival.user))


def _daytime(chance: random.Random, day: int) -> int:
    return day * DAY + int(chance.triangular(8, 20, 11) * HOUR)


def _one(chance: random.Random, user: str, at: int, gpus: int, hours: float) -> Arrival:
    """A run whose real length is around `hours`, asked for longer, in whole hours, and up to a day."""
    runs = min(24 * HOUR, max(600, int(chance.lognormvariate(0, 0.6) * hours * HOUR)))
    asked = min(24, max(1, -(-int(runs * chance.choice((1.1, 1.5, 2, 3))) // HOUR)))
    return Arrival(at, user, gpus, max(asked * HOUR, runs), runs)
