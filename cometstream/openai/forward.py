"""Sends another client's chat completion by a session: request bytes in, status, headers and bytes of the answer out.

What stands between them is the session: its clocks, its retries before the first content, its check of the ending. The transports
and the proxy are thin shells around `forward`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.answer.sse import Comment, Event, encode_event
from cometstream.errors import APIStatusError, CometError, StreamServerError
from cometstream.openai.mend import ChunkMender, event_bytes, mended_completion
from cometstream.policy import NOT_GIVEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

    from cometstream.policy import NotGiven, Timeouts
    from cometstream.session import CometSession
    from cometstream.stream import ChatStream
    from cometstream.views.chunks import ChatCompletionChunk

__all__ = ["ROUTE", "EventBytes", "Forwarded", "error_body", "forward", "passed_headers"]

ROUTE: Final = "/chat/completions"
"""The end of the path of requests that go through a session. All other requests are passed on unchanged."""

# What belongs to one connection, or to the bytes as they were on it (RFC 9110, 7.6.1): the session has its own.
_OF_A_CONNECTION: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# A client that reads it does not repeat what the session has repeated.
_NO_RETRY: Final = ("x-should-retry", "false")


@dataclass
class Forwarded:
    """An answer to pass on.

    Attributes:
        status: The server's status.
        headers: The server's headers.
        content: The body; an iterator where it is streamed.
    """

    status: int
    headers: list[tuple[str, str]]
    content: bytes | EventBytes


def passed_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers of a request that go with it; those that are the connection's stay behind."""
    return {name: value for name, value in headers if name.lower() not in _OF_A_CONNECTION}


async def forward(
    session: CometSession,
    body: bytes,
    headers: Mapping[str, str],
    *,
    query: str = "",
    timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
    repair: bool = True,
) -> Forwarded:
    """Send a chat completion's body by a session and return the answer to pass on, once its head has come.

    Args:
        session: The session; its clocks and retries are used.
        body: The request's body as the client wrote it.
        headers: Its headers that go with it; an Authorization among them takes the place of the session's.
        query: The query of its URL.
        timeouts: Clocks of this call.
        repair: Bend what gateways bend back into the documented shape. Else chunks are passed on as they came; endings are
            verified all the same.
    Raises:
        CometError: There was no answer. An answer with an error status is returned.
    Cancellation:
        Safe at any point; the connection is closed.
    """
    stream = session.forward(body, headers=headers, query=query, timeouts=timeouts)
    try:
        await stream.__aenter__()
        asked = _asked(body)
        content: bytes | EventBytes
        if asked.get("stream") is True:
            content = EventBytes(stream, ChunkMender(str(asked.get("model"))) if repair else None)
        else:
            content = await _document(stream, repair)
    except BaseException as error:
        await stream.aclose()
        if not isinstance(error, (APIStatusError, StreamServerError)) or error.status is None:
            raise
        return _refusal(error)
    kind = "application/json" if isinstance(content, bytes) else "text/event-stream"
    return Forwarded(stream.response.status, _headers(stream.response.headers, kind), content)


def _asked(body: bytes) -> dict[str, Any]:
    """Return the request, which the session has read as a JSON object before."""
    asked: dict[str, Any] = json.loads(body)
    return asked


def _refusal(error: APIStatusError | StreamServerError) -> Forwarded:
    """Return the answer with an error status that an error was made of."""
    headers = error.headers if isinstance(error, APIStatusError) else {}
    if isinstance(error.body, str):
        kind, content = headers.get("content-type", "text/plain; charset=utf-8"), error.body.encode()
    else:
        kind, content = "application/json", orjson.dumps(error.body or {"error": error_body(error)})
    return Forwarded(error.status or 502, [*_headers(headers, kind), _NO_RETRY], content)


def _headers(headers: Mapping[str, str], kind: str) -> list[tuple[str, str]]:
    """Return the headers of an answer that are passed on; its content type stays as it is where it says what the bytes are."""
    told = headers.get("content-type", "")
    kept = [(name, value) for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION]
    return [*kept, ("content-type", told if told.lower().startswith(kind) else kind)]


async def _document(stream: ChatStream, repair: bool) -> bytes:
    """Return the JSON document of the synchronous form: the server's bytes where nothing was mended."""
    events: list[Event] = []

    def keep(event: Event | Comment, _chunk: ChatCompletionChunk | None) -> bytes:
        if isinstance(event, Event):
            events.append(event)
        return b""

    async for _ in stream.frames(keep):
        pass
    raw = stream.completion.raw
    mended = mended_completion(raw) if repair else raw
    if len(events) == 1:
        try:
            if orjson.loads(events[0].data) == mended:
                return events[0].data
        except orjson.JSONDecodeError:
            pass  # read by a more lenient reader
    return orjson.dumps(mended)


class EventBytes:
    """The bytes of a streamed answer: each step gives all that have come.

    Where the ending is not complete the last event is an error frame, for which OpenAI's client raises, and there is no ``[DONE]``.

    Args:
        stream: The entered stream.
        mender: Mends its chunks; None passes them on as they came.
    """

    __slots__ = ("_ended", "_frames", "_stream")

    def __init__(self, stream: ChatStream, mender: ChunkMender | None) -> None:
        self._stream = stream
        self._frames = stream.frames(event_bytes if mender is None else mender.write)
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            return await self._frames.__anext__()
        except StopAsyncIteration:
            self._ended = True
            if self._stream.outcome == "complete":
                return b"data: [DONE]\n\n"
            raise  # it was closed
        except CometError as error:
            if self._stream.outcome is None:
                raise  # no ending but a misuse: read by another task
            self._ended = True
            return encode_event(orjson.dumps({"error": error_body(error, self._stream.outcome)}))

    async def aclose(self) -> None:
        """Close the connection, if the stream is not at its end."""
        await self._stream.aclose()


def error_body(error: CometError, outcome: str | None = None) -> dict[str, Any]:
    """Return an error in the shape of OpenAI's, for a client on this side: the server's own words, or else ours."""
    told = error.body.get("error") if isinstance(error.body, dict) else None
    if isinstance(told, dict) and isinstance(told.get("message"), str) and told["message"]:
        body = dict(told)
    else:
        status = error.status if isinstance(error, (APIStatusError, StreamServerError)) else None
        body = {
            "message": error.message,
            "type": error.type or type(error).__name__,
            "param": error.param,
            "code": error.code or (None if status is None else str(status)),
        }
    return body if outcome is None else {**body, "outcome": outcome}
