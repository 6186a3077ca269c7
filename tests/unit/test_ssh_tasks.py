"""A worker's tasks: what becomes of their errors, and of work that never began."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from gateway.ssh.tasks import Tasks


async def test_an_error_ends_its_task_alone(capsys: pytest.CaptureFixture[str]) -> None:
    done = asyncio.Event()

    async def wrong() -> None:
        raise ValueError("unforeseen")

    async def right() -> None:
        done.set()

    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group)
        tasks.create_task(wrong())
        tasks.create_task(right())
    assert done.is_set()
    assert "unforeseen" in capsys.readouterr().err


async def test_work_that_the_end_of_the_worker_forestalls_is_closed_quietly() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    async def worker() -> None:
        async with asyncio.TaskGroup() as group:
            Tasks(group).create_task(work())
            raise SystemExit(0)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(SystemExit):
            await worker()
        gc.collect()
    assert [str(each.message) for each in seen] == []
