"""Writes a request as JSON; names with its path each value that JSON cannot hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import orjson

from cometstream.errors import InvalidRequestError
from cometstream.views.view import View

__all__ = ["encode_body", "is_json_list", "join_path", "opened"]


def is_json_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether `value` is written as a JSON list: any sequence except text and bytes."""
    return isinstance(value, (list, tuple)) or (
        isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))
    )


def opened(value: Any) -> Any:
    """Return what a view of an answer, or a pydantic model, stands for in a request: its dict; anything else as it is.

    A model's fields that are None are left out: they were given by nobody.
    """
    if isinstance(value, View):
        return value.to_dict()
    if hasattr(type(value), "model_dump") and not isinstance(value, Mapping):
        return value.model_dump(mode="json", exclude_none=True)
    return value


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Write a request body as JSON.

    Args:
        body: The whole body, with `extra_body` merged in. Mappings, sequences and views of answers may stand at every depth.

    Returns:
        UTF-8 bytes on one line.

    Raises:
        InvalidRequestError: Values that JSON cannot hold, each with its path: NaN and infinities, integers beyond 64
            bits, lone surrogates, keys that are not strings, circular references, other objects.
    """
    try:
        encoded = orjson.dumps(body, default=_plain)
    except TypeError as error:
        raise InvalidRequestError(list(_unwritable(body, "", ())) or [f"body: {error}"]) from None
    # orjson writes NaN and infinities as null. A body without "null" has none of them.
    if b"null" in encoded and not _is_finite(body):
        raise InvalidRequestError(list(_unwritable(body, "", ())))
    return encoded


def _plain(value: object) -> object:
    if (stands_for := opened(value)) is not value:
        return stands_for
    if isinstance(value, Mapping):
        return dict(value)
    if is_json_list(value):
        return list(value)
    if isinstance(value, float):  # numpy's float64 is a float, of a class that orjson does not know
        return float(value)
    raise TypeError


def _is_finite(value: object) -> bool:
    """Whether no float in `value` is NaN or infinite; ten times as fast as `_unwritable`, which looks for the path."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (dict, Mapping)):
        return all(type(item) is str or _is_finite(item) for item in value.values())
    if (stands_for := opened(value)) is not value:
        return _is_finite(stands_for)
    return not is_json_list(value) or all(type(item) is str or _is_finite(item) for item in value)


def _unwritable(value: object, path: str, parents: tuple[int, ...]) -> Iterator[str]:
    """Yield a problem for each value that JSON cannot hold; `parents` are the ids of the containers around it."""
    value = opened(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            yield f"{path}: is {value}; JSON has finite numbers only"
    elif isinstance(value, Mapping) or is_json_list(value):
        if id(value) in parents:
            yield f"{path}: contains itself; JSON has no circular references"
        elif len(parents) >= 254:  # orjson's own limit
            yield f"{path[:80]}...: is nested too deep; at most 254 levels are allowed"
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if type(key) is not str:
                    yield f"{path or 'body'}: has a key of type {type(key).__name__}; keys must be strings"
                else:
                    yield from _scalar(key, inner := join_path(path, key))
                    yield from _unwritable(item, inner, (*parents, id(value)))
        else:
            for index, item in enumerate(value):
                yield from _unwritable(item, f"{path}[{index}]", (*parents, id(value)))
    else:
        yield from _scalar(value, path)


def _scalar(value: object, path: str) -> Iterator[str]:
    try:
        orjson.dumps(value)
    except TypeError as error:
        yield f"{path}: cannot be written as JSON ({error}); plain JSON values are allowed"


def join_path(path: str, key: str) -> str:
    """Return the path of a key below `path`: dotted where the key is a word, else in brackets."""
    if not key.isidentifier():
        return f"{path}[{key!r}]"
    return f"{path}.{key}" if path else key
