"""The product's queue against other ways to share GPUs, on one trace: `python -m tests.support.simulator`.

Owns the ways that are compared and what is measured. Every way is the product's own plan with other terms, so
that what differs is the policy alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean

from gateway.devices import Device
from gateway.scheduling import ordering
from gateway.scheduling.booking import LAB, Policy
from gateway.scheduling.fairness import jain
from gateway.scheduling.ordering import ARRIVAL, Queue, Term
from gateway.scheduling.waiting import Request
from tests.support import arrivals
from tests.support.arrivals import Arrival
from tests.support.lab import Lab, Quota, Run

START = datetime(2026, 1, 5, tzinfo=UTC)
GPUS = 8


@dataclass(frozen=True)
class Result:
    """What came of one way to share.

    Hours that a request waited in the mean, the mean of the half of the people who asked for the least GPU
    time, and what 95 of 100 requests waited less than; the part of all GPU time that was held while the trace
    lasted; Jain's index of `shares`, what each person had by then of what an even deal would have given her,
    and of `paces`, the part of the time since she asked in which she ran.
    """

    wait: float
    small_wait: float
    late_wait: float
    utilisation: float
    shares: float
    paces: float


def _multifactor(request: Request, queue: Queue) -> float:
    """Slurm's job_priority without sites' own weights: age up to seven days, fair share 2^(-usage/share), and
    size, each from 0 to 1 (slurm.schedmd.com/priority_multifactor.html)."""
    age = min(1.0, (queue.now - request.asked_at) / timedelta(days=7))
    total = sum(queue.usage.values()) or 1.0
    people = max(1, len(queue.usage))
    share = 0.5 ** (queue.used(request) / total * people)
    return -(1000 * age + 1000 * share + 1000 * request.count / GPUS)


FIFO = Policy(terms=(ARRIVAL,), backfill=False, grace=LAB.grace)
SLURM = Policy(terms=(Term(_multifactor, lambda request, queue: ""), ARRIVAL), grace=LAB.grace)


def ours(without: Term | None = None, backfill: bool = True) -> Policy:
    """The product's policy as it stands, or without one of its terms or backfill."""
    return replace(
        LAB, terms=tuple(term for term in ordering.TERMS if term is not without), backfill=backfill
    )


def run(trace: Sequence[Arrival], policy: Policy, gpus: int = GPUS) -> list[Run]:
    """Let the trace happen to `gpus` GPUs until all that was asked for was granted and ended."""
    ids = {user: number for number, user in enumerate(sorted({one.user for one in trace}), 1)}
    devices = [Device(f"g{index}", index, "NVIDIA H100", 80 << 30) for index in range(gpus)]
    lab = Lab(devices, {number: Quota(gpus) for number in ids.values()}, START, policy)
    for number, one in enumerate(trace, 1):
        at = START + timedelta(seconds=one.at)
        lab.advance(at)
        length = timedelta(seconds=one.length)
        request = Request(number, ids[one.user], one.user, one.gpus, length, at, one.priority)
        lab.ask(request, timedelta(seconds=one.runs))
    while lab.waiting or lab.running:
        lab.advance(lab.now + timedelta(days=1))
    return lab.ended


def static(trace: Sequence[Arrival], gpus: int = GPUS) -> list[Run]:
    """Everybody has GPUs of her own group: each group of people has two, first come first served there. Who
    asks for more makes do with them for so much longer."""
    groups = gpus // 2
    users = sorted({one.user for one in trace})
    found = []
    for group in range(groups):
        mine = [
            replace(
                one,
                gpus=min(2, one.gpus),
                length=one.length * one.gpus // min(2, one.gpus),
                runs=one.runs * one.gpus // min(2, one.gpus),
            )
            for one in trace
            if users.index(one.user) % groups == group
        ]
        found += run(mine, FIFO, 2)
    return found


def measure(runs: Sequence[Run], trace: Sequence[Arrival], gpus: int = GPUS) -> Result:
    """What came of it, while the trace lasted and for all that was asked in it."""
    end = START + timedelta(seconds=max(one.at for one in trace))
    demand: dict[str, float] = {}
    for one in trace:
        demand[one.user] = demand.get(one.user, 0.0) + one.gpus * one.runs
    held = dict.fromkeys(demand, 0.0)
    for each in runs:
        held[each.request.user] += each.seconds(START, end)
    even = fair_shares(demand, sum(held.values()))
    small = set(sorted(demand, key=lambda user: demand[user])[: len(demand) // 2])
    waits = sorted(map(waited, runs))
    return Result(
        wait=fmean(waits),
        small_wait=fmean(waited(each) for each in runs if each.request.user in small),
        late_wait=waits[int(0.95 * (len(waits) - 1))],
        utilisation=sum(held.values()) / (gpus * (end - START).total_seconds()),
        shares=jain([held[user] / even[user] for user in demand]),
        paces=jain([_pace([each for each in runs if each.request.user == user]) for user in demand]),
    )


def waited(run: Run) -> float:
    """Hours between the asking and the grant."""
    return (run.begin - run.request.asked_at) / timedelta(hours=1)


def _pace(runs: Sequence[Run]) -> float:
    """The part of the time since they were asked for in which they ran."""
    ran = sum((each.stop - each.begin) / timedelta(hours=1) for each in runs)
    return ran / (ran + sum(map(waited, runs)))


def fair_shares(demand: Mapping[str, float], supply: float) -> dict[str, float]:
    """What each would have if `supply` were dealt out evenly and nobody got more than she wants (max-min)."""
    shares: dict[str, float] = {}
    left = dict(demand)
    while left:
        even = supply / len(left)
        content = [user for user, wanted in left.items() if wanted <= even] or list(left)
        for user in content:
            shares[user] = min(left.pop(user), even)
            supply -= shares[user]
    return shares


WAYS: Mapping[str, Callable[[Sequence[Arrival]], list[Run]]] = {
    "gpu-gateway": lambda trace: run(trace, ours()),
    "gpu-gateway without usage": lambda trace: run(trace, ours(without=ordering.USAGE)),
    "gpu-gateway without backfill": lambda trace: run(trace, ours(backfill=False)),
    "Slurm's order": lambda trace: run(trace, SLURM),
    "first come, first served": lambda trace: run(trace, FIFO),
    "two GPUs for each group": static,
}


def table(results: Mapping[str, Result]) -> str:
    """The results as a table in Markdown."""
    head = (
        "| | mean wait, h | of who asks least, h | 95 of 100 waited less, h | GPUs held "
        "| Jain, shares | Jain, paces |"
    )
    rows = [
        f"| {name} | {one.wait:.1f} | {one.small_wait:.1f} | {one.late_wait:.1f} "
        f"| {one.utilisation:.0%} | {one.shares:.2f} | {one.paces:.2f} |"
        for name, one in results.items()
    ]
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def main() -> None:
    """Print the table for a trace, or write the generated one."""
    parser = argparse.ArgumentParser(prog="./dev run python -m tests.support.simulator", description=__doc__)
    parser.add_argument("--trace", type=Path, help="a CSV file of your own (docs/scheduling.md)")
    parser.add_argument("--seed", type=int, default=1, help="of the lab that is generated (1)")
    parser.add_argument("--days", type=int, default=28, help="how long the generated lab lasts (28)")
    parser.add_argument("--rush", type=float, default=1, help="how many sweeps of runs there are in it (1)")
    parser.add_argument("--write", action="store_true", help="print the trace and simulate nothing")
    options = parser.parse_args()
    trace = arrivals.lab(options.seed, options.days, options.rush)
    if options.trace is not None:
        with options.trace.open() as file:
            trace = arrivals.read(file)
    if options.write:
        arrivals.write(trace, sys.stdout)
        return
    sys.stdout.write(table({name: measure(way(trace), trace) for name, way in WAYS.items()}) + "\n")


if __name__ == "__main__":
    main()
