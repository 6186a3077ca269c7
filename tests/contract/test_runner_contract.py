"""Runs the runner's contract on this machine and in a container, with descriptors and over a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import uvloop

pytest.register_assert_rewrite("tests.contract.runner_contract")

from tests.contract.places import (  # noqa: E402
    ContainerDescriptors,
    ContainerStream,
    LocalDescriptors,
    LocalStream,
)
from tests.contract.runner_contract import LinkedRunnerContract, RunnerContract  # noqa: E402 - rewritten first
from tests.support.runner_places import Place, local_descriptors, local_stream  # noqa: E402


@pytest.mark.parametrize("opened", [local_descriptors, local_stream])
def test_the_workers_side_runs_on_uvloop(opened: Callable[[], Awaitable[Place]]) -> None:
    async def all_kinds() -> None:
        place = await opened()
        try:
            client = await place.client()
            contract = RunnerContract()
            await contract.test_a_mebibyte_comes_back(client)
            await contract.test_terminal(client)
            await contract.test_dial(client)
            await contract.test_no_descriptor_is_left_here(client)
        finally:
            place.close()

    uvloop.run(all_kinds())


class TestLocalDescriptors(LocalDescriptors, LinkedRunnerContract):
    pass


class TestLocalStream(LocalStream, RunnerContract):
    pass


class TestContainerDescriptors(ContainerDescriptors, LinkedRunnerContract):
    pass


class TestContainerStream(ContainerStream, RunnerContract):
    pass
