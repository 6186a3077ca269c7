"""What a worker and the broker say survives the wire, and nothing else is understood."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import proofs, verbs
from gateway.messages import LIMIT, MessageError, decode, encode

EVERY = {**verbs.FROM_WORKER, **verbs.FROM_BROKER, **verbs.SIGNING}

# A lone surrogate stands for a foreign byte; two that would make a pair are one character to JSON.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)
)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    bool: st.booleans(),
    str: TEXT,
    bytes: st.binary(max_size=200),
    str | None: st.none() | TEXT,
    tuple[str, ...]: st.lists(TEXT, max_size=5).map(tuple),
    tuple[bytes, ...]: st.lists(st.binary(max_size=99), max_size=5).map(tuple),
}


def instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Every message of a kind, whatever its fields hold."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: VALUES[hints[field.name]] for field in fields(kind)})


MESSAGES = st.one_of([instances(kind) for kind in EVERY.values()])


def test_every_verb_goes_one_way() -> None:
    assert not verbs.FROM_WORKER.keys() & verbs.FROM_BROKER.keys()
    assert not (verbs.FROM_WORKER | verbs.FROM_BROKER).keys() & verbs.SIGNING.keys()


@given(MESSAGES)
def test_a_verb_survives_the_wire(message: Any) -> None:
    assert decode(encode(message), EVERY) == message


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_bytes_are_refused_and_never_more(data: bytes) -> None:
    with pytest.raises(MessageError):
        verbs.from_worker(data, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(sorted(EVERY)), st.data())
def test_wrong_fields_are_refused(name: str, data: st.DataObject) -> None:
    body = {field.name: data.draw(JSON) for field in fields(EVERY[name])} | {"is": name}
    try:
        message = decode(json.dumps(body).encode(), EVERY)
    except MessageError:
        return
    hints = get_type_hints(EVERY[name])
    for field in fields(message):
        value = getattr(message, field.name)
        assert type(value) in (hints[field.name], str, type(None), tuple), (field, value)


@given(MESSAGES, st.data())
def test_a_cut_message_is_refused(message: Any, data: st.DataObject) -> None:
    whole = encode(message)
    with pytest.raises(MessageError):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))], EVERY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * 60_000,
        b"9" * 60_000,
        b'{"is":["Gone"],"connection":"1"}',
        b'{"is":"Gone"}',
        b'{"is":"Gone","connection":1}',
        b'{"is":"Gone","connection":null}',
        b'{"is":"Gone","connection":"1","more":1}',
        b'{"is":"Pipes","request":true,"sets":1}',
        b'{"is":"Pipes","request":1.0,"sets":1}',
        b'{"is":"Hello","version":1,"connections":"12"}',
        b'{"is":"Evidence","connection":"1","user":"a","key":"\\u00e4","signed":"","signature":""}',
        b'{"is":"Evidence","connection":"1","user":"a","key":"AA=","signed":"","signature":""}',
        b'{"is":"Ticket","connection":"1","ticket":"2"}',
        b'{"is":"Sign","connection":"1","key":"","algorithm":"","data":""}',
        b'{"is":"Gone","connection":"\xff"}',
    ],
)
def test_a_worker_may_not_say(data: bytes) -> None:
    with pytest.raises(MessageError):
        verbs.from_worker(data, 0)


@pytest.mark.parametrize(
    ("message", "right"),
    [
        (verbs.Connection("1"), 1),
        (verbs.Entered(1, ""), 1),
        (verbs.Piped(1, 2), 12),
        (proofs.Ticket("1", "2", ()), 0),
    ],
)
def test_surplus_and_missing_descriptors_are_refused(message: Any, right: int) -> None:
    assert verbs.from_broker(encode(message), right) == message
    for wrong in {0, right - 1, right + 1, 6} - {right, -1}:
        with pytest.raises(MessageError, match="descriptors"):
            verbs.from_broker(encode(message), wrong)


def test_a_negative_number_of_sets_is_no_number() -> None:
    with pytest.raises(MessageError):
        verbs.from_broker(encode(verbs.Piped(1, -1)), 0)


def test_no_worker_sends_descriptors() -> None:
    with pytest.raises(MessageError, match="came with 1 descriptors"):
        verbs.from_worker(encode(verbs.Gone("1")), 1)


@dataclass(frozen=True)
class _Long:
    text: str


def test_the_limit_holds_on_both_sides() -> None:
    longest = LIMIT - len(encode(_Long("")))
    assert len(encode(_Long("x" * longest))) == LIMIT
    with pytest.raises(MessageError, match="above the limit"):
        encode(_Long("x" * (longest + 1)))
    with pytest.raises(MessageError, match="above the limit"):
        decode(b'{"is":"_Long","text":"' + b"x" * LIMIT + b'"}', {"_Long": _Long})
