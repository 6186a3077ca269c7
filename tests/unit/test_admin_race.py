"""Eight operators grant the last GPU at the same instant: one wins, the others are told who holds it."""

from __future__ import annotations

import multiprocessing
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from click.testing import CliRunner

from admin.main import cli
from tests.support.stores import NOW, add_people, gpu, open_store

RIVALS = [f"user{number}" for number in range(8)]


def rival(state: Path, name: str, rounds: int, start: Barrier, answers: Connection) -> None:
    """One operator's process: the whole command line each time, with a store of its own."""
    for _ in range(rounds):
        start.wait(60)
        result = CliRunner().invoke(
            cli, ["--state", str(state), "allocate", name, "--gpus", "1", "--for", "8h"]
        )
        answers.send((result.exit_code, result.stdout, result.stderr))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_last_gpu_goes_to_exactly_one_of_eight_each_time(tmp_path: Path, rounds: int) -> None:
    state = tmp_path / "state"
    with closing(open_store(state)) as store:
        store.sync_devices([gpu(0)], NOW)
        add_people(store, *RIVALS)
        forking = multiprocessing.get_context("fork")
        start = forking.Barrier(len(RIVALS) + 1)
        pipes = [forking.Pipe(duplex=False) for _ in RIVALS]
        processes = [
            forking.Process(target=rival, args=(state, name, rounds, start, there))
            for name, (_, there) in zip(RIVALS, pipes, strict=True)
        ]
        for process in processes:
            process.start()
        try:
            winners = [_round(store, start, [here for here, _ in pipes]) for _ in range(rounds)]
        finally:
            start.abort()
            for process in processes:
                process.join(30)
                process.kill()
    assert [process.exitcode for process in processes] == [0] * len(RIVALS)
    # Not a race when the same one is always first.
    assert len(set(winners)) > 1


def _round(store, start: Barrier, pipes: list[Connection]) -> str:  # type: ignore[no-untyped-def]
    start.wait(60)
    answers = [pipe.recv() for pipe in pipes]
    (lease,) = store.held_leases()
    until = lease.expires_at.strftime("%Y-%m-%d %H:%M UTC")
    for name, (status, out, error) in zip(RIVALS, answers, strict=True):
        if name == lease.user:
            assert (status, error) == (0, "")
            assert out.startswith(f"Lease {lease.id}: {name} holds 1 GPU")
        else:
            assert (status, out) == (75, "")
            assert f"{lease.user} holds GPU 0 until {until}" in error
    store.expire(lease.id, "next round", "test", NOW)
    store.released(lease.id, "test", NOW)
    return str(lease.user)
