"""How a frozen dataclass becomes one message and back.

Owns the encoding that the worker protocol uses: one JSON object, its `is` naming the class, bytes as
base64, foreign text as surrogate escapes. Decoding is strict: an unknown class, a missing, surplus
or wrongly typed field is refused. Must not know any particular message, nor sockets.
"""

from __future__ import annotations

import base64
import binascii
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Union

LIMIT = 65536
"""The largest message in bytes; longer ones are refused on both sides."""

_HINTS: dict[type[Any], dict[str, Any]] = {}


class MessageError(Exception):
    """The bytes are not one well-formed message of this protocol."""


def encode(message: Any) -> bytes:
    """The bytes of a dataclass instance. Raises MessageError above LIMIT."""
    body = {"is": type(message).__name__}
    for field in fields(message):
        body[field.name] = _plain(getattr(message, field.name))
    data = json.dumps(body, separators=(",", ":")).encode("ascii")
    if len(data) > LIMIT:
        raise MessageError(f"a {type(message).__name__} of {len(data)} bytes is above the limit of {LIMIT}")
    return data


def decode(data: bytes, known: Mapping[str, type[Any]]) -> Any:
    """The instance of one of the classes in `known` (by name). Raises MessageError for anything else."""
    if len(data) > LIMIT:
        raise MessageError("the message is above the limit")
    try:
        body = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise MessageError("the message is not JSON") from error
    if not isinstance(body, dict):
        raise MessageError("the message is not an object")
    name = body.pop("is", None)
    kind = known.get(name) if isinstance(name, str) else None
    if kind is None:
        raise MessageError("the message is of no known kind")
    wanted = _annotations(kind)
    if body.keys() != wanted.keys():
        raise MessageError(f"a {kind.__name__} has other fields")
    return kind(**{key: _typed(value, wanted[key]) for key, value in body.items()})


def _annotations(kind: type[Any]) -> dict[str, Any]:
    if kind not in _HINTS:
        hints = typing.get_type_hints(kind)
        _HINTS[kind] = {field.name: hints[field.name] for field in fields(kind)}
    return _HINTS[kind]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _typed(value: Any, wanted: Any) -> Any:
    origin = typing.get_origin(wanted)
    if origin in (Union, types.UnionType):
        inner = [choice for choice in typing.get_args(wanted) if choice is not type(None)]
        return None if value is None else _typed(value, inner[0])
    if origin is tuple:
        if not isinstance(value, list):
            raise MessageError("a list was expected")
        inner = typing.get_args(wanted)[0]
        return tuple(_typed(item, inner) for item in value)
    if wanted is bytes:
        return _bytes(value)
    if type(value) is not wanted:
        raise MessageError(f"{wanted.__name__} was expected")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise MessageError("bytes were expected")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MessageError("bytes were expected") from error
