"""What a ledger keeps of a row: the key that it is found by, and its answer as bytes."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.errors import CometError
from cometstream.request.encode import encode_body
from cometstream.views.completion import ChatCompletion

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_answer", "row_key", "written_answer"]

_DIGEST: Final = 20
# What is not sent, or does not change what an answer says.
_LEFT_OUT: Final = frozenset({"pace", "timeouts", "retry", "max_event_size", "extra_body", "response_format", "stream"})


def row_key(custom_id: str | None, index: int, params: Mapping[str, Any], response_format: object) -> bytes:
    """Return the key of a row: a digest of its name and of what is sent for it.

    Args:
        custom_id: The row's name; None for a row that has none, which its place stands for.
        index: Its place among the requests.
        params: What its stream is opened with.
        response_format: The wire's form of it.

    Raises:
        InvalidRequestError: It cannot be written as JSON.
    """
    body = {name: value for name, value in params.items() if value is not None and name not in _LEFT_OUT}
    if response_format is not None:
        body["response_format"] = response_format
    body.update(params.get("extra_body") or {})
    # Equal rows may come with their names in another order: an engine's table has an order of its own.
    sent = orjson.dumps(orjson.loads(encode_body(body)), option=orjson.OPT_SORT_KEYS)
    name = f"at {index}" if custom_id is None else f"id {custom_id}"
    encoded = name.encode(errors="surrogatepass")
    return blake2b(b"%d %b %b" % (len(encoded), encoded, sent), digest_size=_DIGEST).digest()


def written_answer(completion: ChatCompletion, request_id: str | None) -> bytes:
    """Return a whole answer as a ledger keeps it."""
    kept = {"completion": completion.raw, "normalizations": completion.normalizations, "request_id": request_id}
    return orjson.dumps(kept)


def read_answer(answer: bytes) -> ChatCompletion:
    """Return the answer that a ledger kept.

    Raises:
        CometError: It is not one.
    """
    try:
        kept = orjson.loads(answer)
        completion: ChatCompletion = ChatCompletion(kept["completion"], kept["normalizations"])
        completion.request_id = kept["request_id"] or completion.request_id
    except (ValueError, KeyError, TypeError) as error:
        raise CometError(f"the ledger has an entry that is not an answer ({error}): use another ledger") from None
    return completion
