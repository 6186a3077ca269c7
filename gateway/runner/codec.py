"""Frames to messages and back, each field checked on both ways.

Owns the rules that decide whether bytes are a message; `protocol` says what the messages mean. Must not
know sockets. Whatever the bytes are, nothing but ProtocolError is raised.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from gateway.runner import listening, protocol
from gateway.runner.protocol import Message, Messages, ProtocolError
from gateway.sessions import Kind, Pty, Window

_LENGTH = struct.Struct(">I")
_U32 = 2**32 - 1
_NAME_LIMIT = 256
_VALUE_LIMIT = 4096
_ENV_LIMIT = 64

Reader = Callable[[Any], Any]


def encode(message: Message) -> bytes:
    """The frame that says `message`. Raises ProtocolError when a field is above its limit."""
    header: dict[str, Any] = {"type": type(message).__name__}
    blob = b""
    for name, reader in _SHAPES[type(message)].items():
        value = getattr(message, name)
        if reader is _blob:
            blob = reader(value)
        else:
            header[name] = _plain(value)
            reader(header[name])
    _check(message, blob)
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    if len(text) > protocol.HEADER_LIMIT:
        raise ProtocolError(f"the header is longer than {protocol.HEADER_LIMIT} bytes")
    return _LENGTH.pack(len(text)) + text + blob


def decode(frame: bytes, descriptors: int | None, accepted: Messages) -> Message:
    """The message in `frame`, which came with so many descriptors; None where none can be passed.

    Raises ProtocolError for anything else than exactly one well-formed message of a type in `accepted`.
    """
    header, blob = _split(frame)
    name = header.pop("type", None)
    cls = _BY_NAME.get(name) if isinstance(name, str) else None
    if cls is None or cls not in accepted:
        raise ProtocolError("a message of this type is not expected here")
    shape = _SHAPES[cls]
    values = {field: reader(blob) for field, reader in shape.items() if reader is _blob}
    if header.keys() | values.keys() != shape.keys() or header.keys() & values.keys():
        raise ProtocolError(f"a {cls.__name__} has other fields")
    values.update((field, shape[field](value)) for field, value in header.items())
    message: Message = cls(**values)
    _check(message, blob)
    if descriptors is not None and protocol.descriptors(message) != descriptors:
        raise ProtocolError(f"a {cls.__name__} does not come with {descriptors} descriptors")
    return message


def _split(frame: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON object and the blob of a frame, sizes checked before anything is parsed."""
    if not 4 <= len(frame) <= protocol.FRAME_LIMIT:
        raise ProtocolError(f"a frame of {len(frame)} bytes")
    (length,) = _LENGTH.unpack_from(frame)
    if length > protocol.HEADER_LIMIT or 4 + length > len(frame):
        raise ProtocolError(f"a header of {length} bytes")
    try:
        header = json.loads(frame[4 : 4 + length].decode("ascii"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        raise ProtocolError("the header is not JSON in ASCII") from problem
    if not isinstance(header, dict):
        raise ProtocolError("the header is not an object")
    return header, frame[4 + length :]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ: two readers of one frame must never see two messages."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ProtocolError("a key is there twice")
    return found


def _check(message: Message, blob: bytes) -> None:
    """The rules that no single field can tell."""
    if blob and _blob not in _SHAPES[type(message)].values():
        raise ProtocolError("a blob that does not belong here")
    if isinstance(message, protocol.Start) and (len(blob) > protocol.COMMAND_LIMIT or b"\0" in blob):
        raise ProtocolError(f"a command of more than {protocol.COMMAND_LIMIT} bytes, or with a NUL")
    if isinstance(message, protocol.Data) and not 0 < len(blob) <= protocol.WINDOW:
        raise ProtocolError(f"data of {len(blob)} bytes")
    if isinstance(message, protocol.Exited) and (message.status is None) == (message.signal is None):
        raise ProtocolError("an exit needs one of status and signal")


def _plain(value: Any) -> Any:
    """A field's value in JSON's types."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _number(low: int, high: int) -> Reader:
    """A reader of whole numbers from `low` to `high`."""

    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ProtocolError(f"a number outside {low}..{high}")
        return value

    return read


def _text(limit: int, pattern: str = r"[^\0]*") -> Reader:
    """A reader of strings that are bytes under surrogateescape, at most `limit` of them."""
    whole = re.compile(pattern, re.DOTALL)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not whole.fullmatch(value):
            raise ProtocolError(f"a text of another form than {pattern}")
        try:
            size = len(value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as problem:
            raise ProtocolError("a text that never was bytes") from problem
        if size > limit:
            raise ProtocolError(f"a text longer than {limit} bytes")
        return value

    return read


def _maybe(reader: Reader) -> Reader:
    """A reader that also takes null."""
    return lambda value: None if value is None else reader(value)


def _mapping(key: Reader, item: Reader, limit: int) -> Reader:
    """A reader of objects with at most `limit` entries."""

    def read(value: Any) -> dict[Any, Any]:
        if not isinstance(value, dict) or len(value) > limit:
            raise ProtocolError(f"not an object of at most {limit} entries")
        return {key(name): item(content) for name, content in value.items()}

    return read


def _record(cls: type[Any], **readers: Reader) -> Reader:
    """A reader of one nested dataclass."""

    def read(value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() != readers.keys():
            raise ProtocolError(f"not a {cls.__name__}")
        return cls(**{name: reader(value[name]) for name, reader in readers.items()})

    return read


def _names(value: Any) -> tuple[str, ...]:
    """The connection ids of a hello."""
    if not isinstance(value, list) or len(value) > 512:
        raise ProtocolError("not a list of connections")
    return tuple(_CONNECTION(name) for name in value)


def _opcode(value: str) -> int:
    """A terminal mode's opcode, which JSON keeps as a string."""
    return int(_text(3, r"0|[1-9][0-9]{0,2}")(value))


def _kind(value: Any) -> Kind:
    """One of the three kinds of session."""
    try:
        return Kind(value)
    except ValueError as problem:
        raise ProtocolError("not a kind of session") from problem


def _flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ProtocolError("not a boolean")
    return value


def _blob(value: bytes) -> bytes:
    """Marks the field that travels behind the header."""
    return value


_ID = _number(1, 2**31 - 1)
_CONNECTION = _text(64, r"[A-Za-z0-9_.:-]+")
_WINDOW = _record(Window, **dict.fromkeys(("columns", "rows", "width", "height"), _number(0, 65535)))
_PTY = _record(Pty, term=_text(_NAME_LIMIT), window=_WINDOW, modes=_mapping(_opcode, _number(0, _U32), 256))
_ENV = _mapping(_text(_NAME_LIMIT, r"[^\0=]+"), _text(_VALUE_LIMIT), _ENV_LIMIT)
_TOKEN = _text(32, r"[A-Z][A-Z0-9+-]*")
_ADDRESS = _text(64, r"[0-9A-Za-z.:%_-]*")
_STATUS = _maybe(_number(0, 255))
_STREAM = {"id": _ID, "stream": _number(0, 2)}
_SHAPES: dict[type[Any], dict[str, Reader]] = {
    protocol.Hello: {"version": _number(0, _U32), "connections": _names},
    protocol.Connection: {"connection": _CONNECTION},
    protocol.Part: {"id": _ID, "seconds": _number(0, _U32), "reason": _text(_VALUE_LIMIT)},
    protocol.Parting: {"id": _ID, "programs": _number(0, _U32), "hook": _flag},
    protocol.Parted: {"id": _ID},
    protocol.Start: {
        "id": _ID, "kind": _kind, "env": _ENV, "pty": _maybe(_PTY),
        "greeting": _text(_VALUE_LIMIT), "command": _blob,
    },
    protocol.Signal: {"id": _ID, "name": _text(64)},
    protocol.Resize: {"id": _ID, "window": _WINDOW},
    protocol.Break: {"id": _ID},
    protocol.Close: {"id": _ID},
    protocol.Dial: {"id": _ID, "host": _text(255), "port": _number(0, 65535)},
    protocol.DialUnix: {"id": _ID, "path": _text(_VALUE_LIMIT)},
    listening.Listen: {"id": _ID, "host": _text(255), "port": _number(0, 65535)},
    listening.ListenUnix: {"id": _ID, "path": _text(_VALUE_LIMIT)},
    listening.ListenPrivate: {"id": _ID},
    listening.Unlisten: {"id": _ID},
    listening.Accept: {"id": _ID, "arrival": _ID},
    listening.Decline: {"arrival": _ID},
    listening.Listening: {"id": _ID, "port": _number(0, 65535), "path": _text(_NAME_LIMIT)},
    listening.Unlistened: {"id": _ID},
    listening.Arrived: {"id": _ID, "arrival": _ID, "host": _ADDRESS, "port": _number(0, 65535)},
    protocol.Started: {"id": _ID, "pid": _number(1, 2**31 - 1)},
    protocol.Failed: {"id": _ID, "error": _TOKEN, "message": _text(512)},
    protocol.Exited: {
        "id": _ID, "status": _STATUS, "signal": _maybe(_TOKEN), "core_dumped": _flag, "out_of_memory": _flag,
    },
    protocol.Taken: {"id": _ID},
    protocol.Dialed: {"id": _ID},
    protocol.Refused: {"id": _ID, "reason": _text(16, "|".join(protocol.REASONS))},
    protocol.Data: {**_STREAM, "data": _blob},
    protocol.Eof: _STREAM,
    protocol.Credit: {**_STREAM, "bytes": _number(1, protocol.WINDOW)},
    protocol.Stop: _STREAM,
}  # fmt: skip
_BY_NAME = {cls.__name__: cls for cls in _SHAPES}
