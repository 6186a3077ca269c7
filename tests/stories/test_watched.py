"""An operator's Prometheus and her watchdog, before a real gateway."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.stories.conftest import a_house, ended
from tests.support.house import House, wait_for


@pytest.fixture
def house(base_image: str) -> Iterator[House]:
    """A started gateway that tells metrics on a port of its own."""
    house = a_house(base_image)
    config = house.folder / "config.toml"
    config.write_text(config.read_text().replace('listen = "off"', 'listen = "127.0.0.1:0"'))
    try:
        house.start()
        yield house
    finally:
        ended(house)


def get(house: House, path: str) -> tuple[int, str]:
    """What this gateway answers now."""
    where = [event["listen"] for event in house.events() if event["event"] == "metrics"][-1]
    try:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_person_is_seen_and_a_silent_engine_is_told(house: House) -> None:
    alice = house.add("alice")
    assert wait_for(lambda: get(house, "/healthz")[0] == 200, "health")
    stranger = house.person("mallory")
    assert stranger.ssh("true").returncode == 255

    def told(*lines: str) -> bool:
        body = get(house, "/metrics")[1].splitlines()
        return all(line in body for line in lines)

    with alice.start("echo in; cat") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        wait_for(
            lambda: told(
                "gpu_gateway_connections 1.0",
                'gpu_gateway_sessions{kind="exec"} 1.0',
                'gpu_gateway_logins_total{result="ok"} 1.0',
                'gpu_gateway_logins_total{result="abandoned"} 1.0',
                'gpu_gateway_container_starts_total{result="ok"} 1.0',
                "gpu_gateway_container_start_seconds_count 1.0",
                "gpu_gateway_workers 2.0",
            ),
            "what she does",
        )
        session.communicate(timeout=20)
    wait_for(lambda: told("gpu_gateway_connections 0.0", 'gpu_gateway_sessions{kind="exec"} 0.0'), "her end")
    house.stop()
    before = house.environment
    house.environment = {**before, "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    try:
        house.start()
        silent = (503, "The container engine has not answered lately.\n")
        wait_for(lambda: get(house, "/healthz") == silent, "the watchdog's reason")
    finally:
        house.environment = before
