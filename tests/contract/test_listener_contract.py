"""Runs the contract of listeners on this machine and in a container, with descriptors and over a stream."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contract.listener_contract")

from tests.contract.listener_contract import LinkedListenerContract, ListenerContract  # noqa: E402 - rewritten first
from tests.contract.places import (  # noqa: E402
    ContainerDescriptors,
    ContainerStream,
    LocalDescriptors,
    LocalStream,
)


class TestLocalDescriptors(LocalDescriptors, LinkedListenerContract):
    pass


class TestLocalStream(LocalStream, ListenerContract):
    pass


class TestContainerDescriptors(ContainerDescriptors, LinkedListenerContract):
    pass


class TestContainerStream(ContainerStream, ListenerContract):
    pass
