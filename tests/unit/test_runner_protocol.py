"""Frames: what is said comes back as it was, and whatever else arrives is refused without harm."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runner import codec, listening, packets, protocol
from gateway.runner.asked import State, after
from gateway.runner.protocol import (
    COMMAND_LIMIT,
    FRAME_LIMIT,
    HEADER_LIMIT,
    STREAMED,
    TO_RUNNER,
    TO_WORKER,
    WINDOW,
    ProtocolError,
    descriptors,
)
from gateway.sessions import Exit, Kind, Pty, SessionRequest, Window

ALL = frozenset(codec._SHAPES)

ids = st.integers(1, 2**31 - 1)
sides = st.integers(0, 65535)
text = st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
names = st.text("ABCZ_ü$ ", min_size=1, max_size=20)
windows = st.builds(Window, sides, sides, sides, sides)
ptys = st.builds(
    Pty, text, windows, st.dictionaries(st.integers(0, 255), st.integers(0, 2**32 - 1), max_size=9)
)
commands = st.binary(max_size=300).map(lambda raw: raw.replace(b"\0", b""))
tokens = st.sampled_from(["TERM", "RT34", "ENOENT", "E2BIG"])
streams = st.integers(0, 2)
statuses = st.one_of(
    st.tuples(st.integers(0, 255), st.none(), st.just(False)), st.tuples(st.none(), tokens, st.booleans())
)
messages = st.one_of(
    st.builds(protocol.Hello, st.integers(0, 9), st.lists(st.uuids().map(str), max_size=3).map(tuple)),
    st.builds(protocol.Connection, st.uuids().map(lambda one: one.hex)),
    st.builds(protocol.Part, ids, st.integers(0, 9999), text),
    st.builds(protocol.Parting, ids, st.integers(0, 9999), st.booleans()),
    st.builds(protocol.Parted, ids),
    st.builds(
        protocol.Start,
        ids,
        st.sampled_from(Kind),
        st.dictionaries(names, text, max_size=4),
        st.none() | ptys,
        text,
        commands,
    ),
    st.builds(protocol.Signal, ids, tokens),
    st.builds(protocol.Resize, ids, windows),
    st.builds(protocol.Break, ids),
    st.builds(protocol.Close, ids),
    st.builds(protocol.Dial, ids, text, sides),
    st.builds(protocol.DialUnix, ids, text),
    st.builds(listening.Listen, ids, text, sides),
    st.builds(listening.ListenUnix, ids, text),
    st.builds(listening.ListenPrivate, ids),
    st.builds(listening.Unlisten, ids),
    st.builds(listening.Accept, ids, ids),
    st.builds(listening.Decline, ids),
    st.builds(listening.Listening, ids, sides, text),
    st.builds(listening.Unlistened, ids),
    st.builds(listening.Arrived, ids, ids, st.sampled_from(["", "127.0.0.1", "fe80::1%eth0"]), sides),
    st.builds(protocol.Started, ids, ids),
    st.builds(protocol.Failed, ids, tokens, text),
    st.tuples(ids, statuses).map(lambda both: protocol.Exited(both[0], *both[1])),
    st.builds(protocol.Taken, ids),
    st.builds(protocol.Dialed, ids),
    st.builds(protocol.Refused, ids, st.sampled_from(protocol.REASONS)),
    st.builds(protocol.Data, ids, streams, st.binary(min_size=1, max_size=300)),
    st.builds(protocol.Eof, ids, streams),
    st.builds(protocol.Credit, ids, streams, st.integers(1, WINDOW)),
    st.builds(protocol.Stop, ids, streams),
)


def frame(header: Any, blob: bytes = b"") -> bytes:
    """A frame around any header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">I", len(raw)) + raw + blob


def start(**changes: Any) -> dict[str, Any]:
    """A header that is right but for the changes."""
    return {"type": "Start", "id": 1, "kind": "exec", "env": {}, "pty": None, "greeting": "", **changes}


@given(messages)
def test_what_is_said_is_what_is_heard(message: protocol.Message) -> None:
    encoded = codec.encode(message)
    assert codec.decode(encoded, descriptors(message), ALL) == message
    assert len(encoded) <= FRAME_LIMIT


def test_every_message_is_tried() -> None:
    from_runner = TO_WORKER | protocol.TO_BROKER | protocol.PARTING
    assert TO_RUNNER | from_runner | STREAMED | protocol.FROM_BROKER == ALL


@given(st.binary(max_size=400), st.integers(0, 5))
def test_arbitrary_bytes_are_refused(raw: bytes, count: int) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(raw, count, ALL)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(messages, st.data())
def test_a_changed_field_is_a_message_or_refused(message: protocol.Message, data: st.DataObject) -> None:
    encoded = codec.encode(message)
    length = int.from_bytes(encoded[:4], "big")
    header = json.loads(encoded[4 : 4 + length])
    header[data.draw(st.sampled_from(sorted(header)))] = data.draw(json_values)
    try:
        heard = codec.decode(frame(header, encoded[4 + length :]), None, ALL)
    except ProtocolError:
        return
    assert codec.decode(codec.encode(heard), None, ALL) == heard


@given(messages, st.data())
def test_a_cut_frame_is_refused(message: protocol.Message, data: st.DataObject) -> None:
    encoded = codec.encode(message)
    length = 4 + int.from_bytes(encoded[:4], "big")
    cut = data.draw(st.integers(0, length - 1))
    with pytest.raises(ProtocolError):
        codec.decode(encoded[:cut], descriptors(message), ALL)


@given(messages, st.integers(0, 4))
def test_the_number_of_descriptors_must_be_right(message: protocol.Message, count: int) -> None:
    if count != descriptors(message):
        with pytest.raises(ProtocolError):
            codec.decode(codec.encode(message), count, ALL)


@given(messages)
def test_a_message_of_the_wrong_direction_is_refused(message: protocol.Message) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(codec.encode(message), descriptors(message), ALL - {type(message)})


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * 60_000,
        b'{"type":"Break","id":1,"id":2}',
        b'{"type":"Break","id":' + b"9" * 10_000 + b"}",
        b'{"type":"Break","id":NaN}',
        b'{"type":"Break","id":1.0}',
        b'{"type":"Break","id":true}',
        b'{"type":"Break","id":0}',
        b'{"type":"Break","id":1,"more":1}',
        b'{"type":"Break"}',
        b'{"type":["Break"],"id":1}',
        b"null",
        b"\xff",
        json.dumps(start(env={"A=B": "x"})).encode(),
        json.dumps(start(env={"A": "x\0"})).encode(),
        json.dumps(start(env={"A": "\ud800"})).encode(),
        json.dumps(start(env={"A": "x" * 4097})).encode(),
        json.dumps(start(env={str(n): "" for n in range(65)})).encode(),
        json.dumps(start(kind="root")).encode(),
        json.dumps(start(pty={"term": "x"})).encode(),
        json.dumps(start(command="x")).encode(),
        b'{"type":"Arrived","id":1,"arrival":1,"host":"\\u001b[2J","port":1}',
        b'{"type":"Arrived","id":1,"arrival":0,"host":"","port":1}',
        json.dumps({"type": "Exited", "id": 1, "status": 1, "signal": "HUP", "core_dumped": False}).encode(),
        json.dumps(
            {"type": "Exited", "id": 1, "status": None, "signal": None, "core_dumped": False}
        ).encode(),
        json.dumps({"type": "Exited", "id": 1, "status": 256, "signal": None, "core_dumped": False}).encode(),
        json.dumps(
            {"type": "Exited", "id": 1, "status": None, "signal": "x\x1b", "core_dumped": False}
        ).encode(),
    ],
)
def test_headers_that_lie(hostile: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(frame(hostile), None, ALL)


def test_a_blob_where_none_belongs_is_refused() -> None:
    with pytest.raises(ProtocolError):
        codec.decode(frame({"type": "Break", "id": 1}, b"x"), 0, ALL)


def test_sizes_have_limits_on_both_ways() -> None:
    longest = protocol.Start.of(1, SessionRequest(Kind.EXEC, b"\xff" * COMMAND_LIMIT))
    assert codec.decode(codec.encode(longest), 3, TO_RUNNER) == longest
    env = {str(number): "\udcff" * 4096 for number in range(3)}
    for request in (
        SessionRequest(Kind.EXEC, b"x" * (COMMAND_LIMIT + 1)),
        SessionRequest(Kind.EXEC, b"a\0b"),
        SessionRequest(Kind.EXEC, b"", env),
    ):
        with pytest.raises(ProtocolError):
            codec.encode(protocol.Start.of(1, request))
    for header, blob in (
        (start(), b"x" * (COMMAND_LIMIT + 1)),
        (start(), b"\0"),
        (b" " * HEADER_LIMIT + json.dumps(start()).encode(), b""),
    ):
        with pytest.raises(ProtocolError):
            codec.decode(frame(header, blob), None, ALL)


@given(st.integers(0, 9), st.binary(max_size=20))
def test_received_descriptors_are_all_accounted_for(count: int, raw: bytes) -> None:
    """Those that fit are ours to close, the kernel closes the rest; none is inheritable."""
    before = os.listdir("/proc/self/fd")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        packets.send(theirs, b"x" + raw, [theirs.fileno()] * count)
        heard, fds = packets.receive(ours)
        assert (heard, len(fds)) == (b"x" + raw, min(count, 4))
        assert not any(os.get_inheritable(fd) for fd in fds)
        packets.close_all(fds)
    assert os.listdir("/proc/self/fd") == before


def test_a_packet_above_the_limit_is_no_message() -> None:
    """A command that is one byte too long must not pass for one that was cut to fit."""
    header = json.dumps(start()).encode().ljust(HEADER_LIMIT)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for surplus, refused in ((0, False), (1, True), (9, True)):
            packets.send(theirs, frame(header, b"x" * (COMMAND_LIMIT + surplus)), ())
            heard, _ = packets.receive(ours)
            if refused:
                with pytest.raises(ProtocolError):
                    codec.decode(heard, 3, ALL)
            else:
                assert isinstance(codec.decode(heard, 3, ALL), protocol.Start)


def test_answers_follow_what_was_asked() -> None:
    assert after(State.STARTING, protocol.Started(1, 2)) is State.RUNNING
    assert after(State.STARTING, protocol.Failed(1, "ENOENT", "")) is None
    assert after(State.RUNNING, protocol.Exited(1, 0, None, False)) is None
    assert after(State.DIALLING, protocol.Taken(1)) is State.TAKEN
    assert after(State.TAKEN, protocol.Dialed(1)) is None
    assert after(State.TAKEN, protocol.Refused(1, "denied")) is None
    assert after(State.ASKING, listening.Listening(1, 80, "")) is State.LISTENING
    assert after(State.ASKING, protocol.Refused(1, "in_use")) is None
    assert after(State.LISTENING, listening.Arrived(1, 7, "", 0)) is State.LISTENING
    assert after(State.ENDING, listening.Arrived(1, 7, "", 0)) is State.ENDING
    assert after(State.ENDING, listening.Unlistened(1)) is None


@given(st.sampled_from([None, *State]), messages)
def test_nothing_else_is_an_answer(state: State | None, message: protocol.Message) -> None:
    allowed = {
        State.STARTING: (protocol.Started, protocol.Failed),
        State.RUNNING: (protocol.Exited,),
        State.DIALLING: (protocol.Taken,),
        State.TAKEN: (protocol.Dialed, protocol.Refused),
        State.ASKING: (listening.Listening, protocol.Refused),
        State.LISTENING: (listening.Arrived,),
        State.ENDING: (listening.Arrived, listening.Unlistened),
    }
    if not isinstance(message, allowed.get(state, ())):  # type: ignore[arg-type]
        with pytest.raises(ProtocolError):
            after(state, message)


def test_an_exit_is_told_in_the_gateways_words() -> None:
    assert protocol.Exited(1, None, "SEGV", True).exit == Exit(signal="SEGV", core_dumped=True)
    assert protocol.Start.of(1, SessionRequest(Kind.SHELL)).request == SessionRequest(Kind.SHELL)


def test_the_longest_hello_fits() -> None:
    hello = protocol.Hello(protocol.VERSION, tuple(f"{number:064}" for number in range(512)))
    assert codec.decode(codec.encode(hello), 0, protocol.TO_BROKER) == hello
    with pytest.raises(ProtocolError):
        codec.encode(protocol.Hello(protocol.VERSION, ("x",) * 513))
