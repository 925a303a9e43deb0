"""A run as JSON, so that another process can go on with it; a digest over all of it tells of every change."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.errors import ConfigurationError, ToolStateError
from cometstream.request.describe import kind, shown
from cometstream.request.encode import encode_body

if TYPE_CHECKING:
    from cometstream.views.completion import ChatCompletion

__all__ = ["VERSION", "Progress", "checked_secret", "dump_state", "load_state"]

VERSION: Final = 1
"""Of the format; a state of another is refused."""

_LARGEST: Final = 256 * 1024 * 1024

_FIELDS: Final[dict[str, type | tuple[type, ...]]] = {
    "run": str,
    "model": str,
    "params": dict,
    "messages": list,
    "round": int,
    "max_rounds": int,
    "corrections": int,
    "max_corrections": int,
    "usage": (dict, type(None)),
    "cost": (int, float, type(None)),
    "outcome": (str, type(None)),
    "message": (dict, type(None)),
    "calls": list,
}

_CALL_FIELDS: Final[dict[str, type | tuple[type, ...]]] = {
    "id": str,
    "name": str,
    "text": str,
    "index": int,
    "attempt": int,
    "unknown": bool,
    "status": str,
    "content": (str, type(None)),
}


@dataclass(eq=False)
class Progress:
    """How far a run has come, without the round under way.

    Attributes:
        run: Its name, the same in every process that goes on with it.
        messages: The conversation.
        rounds: Answers that were taken.
        corrections: Rounds in which the model had to be corrected.
        usage: What all answers have used; None where none told.
        cost: What they have cost, in US dollars; None where nobody says.
    """

    run: str
    messages: list[Any]
    rounds: int = 0
    corrections: int = 0
    usage: dict[str, Any] | None = None
    cost: float | None = None

    def add(self, completion: ChatCompletion) -> None:
        """Add what an answer has used and cost."""
        usage, cost = completion.usage, completion.cost
        if usage is not None:
            self.usage = _added(self.usage or {}, usage.to_dict())
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost


def _added(total: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Add the numbers of an object to those of another, at every depth."""
    added = dict(total)
    for name, value in more.items():
        before = total.get(name)
        if isinstance(value, dict):
            added[name] = _added(before if isinstance(before, dict) else {}, value)
        elif _is_number(value):
            added[name] = value + before if _is_number(before) else value
        else:
            added.setdefault(name, value)
    return added


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def checked_secret(secret: object) -> bytes | None:
    """Return the key of the digest.

    Raises:
        ConfigurationError: It is not a text or bytes, or is empty.
    """
    if secret is None:
        return None
    made = secret.encode("utf-8", "replace") if isinstance(secret, str) else secret
    if not isinstance(made, bytes) or not made:
        raise ConfigurationError(f"secret must be a text or bytes that are not empty; got {kind(secret)}")
    return made


def dump_state(state: dict[str, Any], secret: bytes | None) -> str:
    """Return a state as JSON, with its version and digest.

    Raises:
        InvalidRequestError: The conversation holds what JSON cannot.
    """
    plain = orjson.loads(encode_body({"version": VERSION, **state}))
    return orjson.dumps({**plain, "digest": _digest(plain, secret)}).decode()


def load_state(state: object, secret: bytes | None) -> dict[str, Any]:
    """Return a state whose digest is right.

    Args:
        state: A text, bytes, or the object that was parsed of them: a database may have written it anew.
        secret: As when it was made.
    Raises:
        ToolStateError: It is none, was changed, or is of another version.
    """
    if isinstance(state, (str, bytes, bytearray)):
        if len(state) > _LARGEST:
            raise ToolStateError(f"the state is larger than {_LARGEST} bytes")
        try:
            state = orjson.loads(state)
        except ValueError:
            raise ToolStateError("the state is not JSON: pass what run.state() gave") from None
    if not isinstance(state, dict):
        raise ToolStateError(f"the state must be what run.state() gave; got {kind(state)}")
    version = state.get("version")
    if isinstance(version, bool) or version != VERSION:
        raise ToolStateError(
            f"the state has version {shown(version)}; this library reads version {VERSION}: "
            "go on with it by the library that wrote it"
        )
    plain = {name: value for name, value in state.items() if name != "digest"}
    digest = state.get("digest")
    try:
        right = _digest(plain, secret)
    except Exception:
        raise ToolStateError("the state holds what JSON cannot: pass what run.state() gave") from None
    if not isinstance(digest, str) or not hmac.compare_digest(digest.encode("utf-8", "replace"), right.encode()):
        raise ToolStateError(
            "the state was changed since run.state() made it, or its secret is another: nothing was run"
        )
    _check_shape(plain, _FIELDS)
    for call in plain["calls"]:
        if not isinstance(call, dict):
            raise ToolStateError("the state's calls are not objects: pass what run.state() gave")
        _check_shape(call, _CALL_FIELDS)
        if call["status"] not in ("pending", "settled", "cancelled") or (call["content"] is None) != (
            call["status"] == "pending"
        ):
            raise ToolStateError("the state's calls cannot be read: pass what run.state() gave")
    return plain


def _check_shape(state: dict[str, Any], fields: dict[str, type | tuple[type, ...]]) -> None:
    for name, types in fields.items():
        if not isinstance(state.get(name, ...), types):
            raise ToolStateError(f"the state's {name} is {kind(state.get(name))}: pass what run.state() gave")


def _digest(plain: dict[str, Any], secret: bytes | None) -> str:
    # Databases order keys anew, and some write 1.0 as 1: neither changes what the digest is made of.
    data = orjson.dumps(_numbers_alike(plain), option=orjson.OPT_SORT_KEYS)
    if secret is not None:
        return "hmac-sha256:" + hmac.new(secret, data, hashlib.sha256).hexdigest()
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _numbers_alike(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers_alike(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_numbers_alike(item) for item in value]
    # Beyond that JSON's integers are not all readable.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
