"""How far the transfer of an image is, and what names an image in a registry."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import Code, PlatformError
from gateway.references import Reference, parse_repository
from gateway.transfers import Tally, Transfer, bar, words

DIGEST = "sha256:" + "0123456789abcdef" * 4


def line(status: str, layer: str = "", current: int = 0, total: int = 0) -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {}
    return {"status": status, "id": layer, "progressDetail": detail}


def test_layers_are_added_up_as_the_engine_tells_of_them() -> None:
    tally = Tally()
    steps = [
        ({"status": "Pulling from lab/x", "id": "2.9"}, Transfer(0, 0, True)),
        (line("Pulling fs layer", "a"), Transfer(0, 0, False)),
        (line("Pulling fs layer", "b"), Transfer(0, 0, False)),
        (line("Already exists", "c"), Transfer(0, 0, False)),
        (line("Downloading", "a", 10, 100), Transfer(10, 100, False)),
        (line("Downloading", "b", 50, 200), Transfer(60, 300, True)),
        # More than it said it would be.
        (line("Downloading", "a", 120, 100), Transfer(150, 300, True)),
        (line("Download complete", "b"), Transfer(300, 300, True)),
        # What is unpacked is counted otherwise, and is no news of the transfer.
        (line("Extracting", "a", 5, 100), Transfer(300, 300, True)),
        ({"status": "Digest: " + DIGEST}, Transfer(300, 300, True)),
    ]
    for told, transfer in steps:
        assert tally.hear(told) == transfer, told


@pytest.mark.parametrize(
    ("transfer", "seconds", "said"),
    [
        (Transfer(0, 0, False), 5, "waiting for the registry"),
        (Transfer(0, 2 << 30, True), 5, "0 of 2G"),
        (Transfer(1 << 30, 2 << 30, True), 100, "1G of 2G, about 2m left"),
        (Transfer(1 << 30, 2 << 30, True), 30, "1G of 2G, about 30s left"),
        (Transfer(1 << 30, 2 << 30, False), 30, "1G of at least 2G, about 30s left"),
        (Transfer(2 << 30, 2 << 30, False), 30, "2G of at least 2G, about 1s left"),
        (Transfer(2 << 30, 2 << 30, True), 30, "2G are here, unpacking"),
    ],
)
def test_how_far_it_is_in_words(transfer: Transfer, seconds: float, said: str) -> None:
    assert words(transfer, seconds) == said


def test_a_bar_is_as_full_as_the_transfer() -> None:
    assert bar(Transfer(0, 0, False)) == "[--------------------]   0%"
    assert bar(Transfer(38, 100, True)) == "[#######-------------]  38%"
    assert bar(Transfer(100, 100, True)) == "[####################] 100%"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("registry.example.org/gpu/pytorch:2.9", Reference("registry.example.org/gpu/pytorch", "2.9")),
        ("127.0.0.1:5000/x", Reference("127.0.0.1:5000/x")),
        ("localhost/x:1", Reference("localhost/x", "1")),
        ("node7:5000/x", Reference("node7:5000/x")),
        (f"localhost/a/b_c@{DIGEST}", Reference("localhost/a/b_c", digest=DIGEST)),
        # An image of this machine's own, or of Docker's hub.
        ("gpu-gateway/pytorch:2.9", None),
        ("pytorch", None),
        ("Registry.example.org/x", None),
        ("registry.example.org/x@sha256:123", None),
        ("registry.example.org/x:1\n", None),
        ("registry.example.org/../x", None),
        ("registry.example.org/" + "x" * 300, None),
    ],
)
def test_what_names_an_image_in_a_registry(text: str, reference: Reference | None) -> None:
    assert Reference.parse(text) == reference
    assert reference is None or str(reference) == text


@pytest.mark.parametrize("text", ["pytorch", "localhost/x:1", f"localhost/x@{DIGEST}", ""])
def test_where_to_push_has_neither_tag_nor_digest(text: str) -> None:
    with pytest.raises(PlatformError, match="HOST/NAME without a tag") as caught:
        parse_repository(text)
    assert caught.value.code is Code.INVALID
    assert parse_repository("localhost:5000/x").host == "localhost:5000"
