"""What has to change of a running container's limits: nothing that is right, and no memory in use."""

from __future__ import annotations

from typing import Any

import docker
import pytest
import requests

from gateway.docker import limits
from gateway.docker.naming import resource_name
from gateway.errors import Code, PlatformError
from gateway.workspaces import Limits

GIB = 1 << 30
NOW = {"NanoCpus": 2_000_000_000, "PidsLimit": 4096, "Memory": 4 * GIB, "MemorySwap": 4 * GIB}
USED = {"memory_stats": {"usage": 3 * GIB, "stats": {"inactive_file": GIB}}}


def test_what_is_right_is_left_alone() -> None:
    assert limits.changes(NOW, Limits(2.0, 4 * GIB, GIB, 4096)) == ({}, {})


def test_only_what_differs_is_changed() -> None:
    assert limits.changes(NOW, Limits(1.5, 4 * GIB, GIB, 4096)) == ({"NanoCpus": 1_500_000_000}, {})
    assert limits.changes(NOW, Limits(2.0, 4 * GIB, GIB, 32)) == ({"PidsLimit": 32}, {})
    more = {"Memory": 8 * GIB, "MemorySwap": 8 * GIB}
    assert limits.changes(NOW, Limits(2.0, 8 * GIB, GIB, 4096)) == ({}, more)


@pytest.mark.parametrize(
    ("stats", "memory", "room"),
    [
        (USED, 3 * GIB, True),
        (USED, 2 * GIB, False),
        ({"memory_stats": {"usage": 3 * GIB}}, 3 * GIB, False),
        ({"memory_stats": {"usage": 0, "stats": {}}}, GIB, True),
        ({"memory_stats": {}}, GIB, False),
        ({}, GIB, False),
    ],
)
def test_what_is_in_use_must_fit_with_some_room_and_the_file_cache_counts_not(
    stats: dict[str, object], memory: int, room: bool
) -> None:
    assert limits.has_room(stats, memory) is room


class Engine:
    """The few answers of an engine on cgroup v2, which this machine may not have."""

    def __init__(self, stats: dict[str, Any], trouble: int = 0) -> None:
        self.updates: list[dict[str, int]] = []
        self._stats = stats
        self._trouble = trouble

    def inspect_container(self, name: str) -> dict[str, Any]:
        assert name == resource_name("ab12", 7)
        return {"Id": "c7", "State": {"Running": True}, "HostConfig": NOW}

    def info(self) -> dict[str, str]:
        return {"CgroupVersion": "2"}

    def stats(self, name: str, stream: bool, one_shot: bool) -> dict[str, Any]:
        assert (name, stream, one_shot) == ("c7", False, True)
        return self._stats

    def _url(self, pattern: str, id_: str) -> str:
        return pattern.format(id_)

    def _post_json(self, url: str, data: dict[str, int]) -> str:
        assert url == "/containers/c7/update"
        if self._trouble:
            answer = requests.Response()
            answer.status_code = self._trouble
            raise docker.errors.APIError("no", answer)
        self.updates.append(data)
        return ""

    def _result(self, answer: str) -> None:
        assert answer == ""


def test_where_the_kernel_would_kill_memory_is_lowered_only_with_room() -> None:
    with_room, without = Engine(USED), Engine({})
    for engine in (with_room, without):
        limits.apply(engine, "ab12", 7, Limits(1.0, 3 * GIB, GIB, 4096))
    cores = {"NanoCpus": 1_000_000_000}
    assert with_room.updates == [cores, {"Memory": 3 * GIB, "MemorySwap": 3 * GIB}]
    assert without.updates == [cores]


def test_a_container_that_stops_meanwhile_is_no_error_and_another_refusal_is() -> None:
    for trouble in (404, 409):
        limits.apply(Engine({}, trouble), "ab12", 7, Limits(1.0, 4 * GIB, GIB, 4096))
    with pytest.raises(PlatformError, match="refused to change the container's limits") as caught:
        limits.apply(Engine({}, 500), "ab12", 7, Limits(1.0, 4 * GIB, GIB, 4096))
    assert caught.value.code is Code.UNAVAILABLE
