"""A reply of the simulated server as plain data: a status, headers, pieces to write, and how the reply ends."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

import orjson

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown

__all__ = ["CREATED", "DONE", "Piece", "Reply", "call_deltas", "chunk", "frame"]

Piece: TypeAlias = bytes | float | asyncio.Event
"""One step of a body: bytes to write at once, seconds to wait, or an event to wait for."""

DONE = b"data: [DONE]\n\n"
"""The frame that ends a stream."""

CREATED = 1774412483
"""The creation time of everything simulated. It is fixed, so that equal requests get equal answers."""

_REQUEST_ID = "20260325042123456789simulated"
_MESSAGES = {
    400: "invalid request",
    401: "invalid token",
    403: "insufficient user quota",
    404: "no such model or route",
}


def frame(data: Mapping[str, Any]) -> bytes:
    """Return ``data`` as one server-sent event.

    Args:
        data: Anything that JSON can carry, a chunk or an error object.
    """
    return b"data: " + orjson.dumps(data) + b"\n\n"


def chunk(
    delta: Mapping[str, Any] | None = None,
    *,
    index: int = 0,
    finish_reason: str | None = None,
    logprobs: Mapping[str, Any] | None = None,
    id: str = "chatcmpl-simulated",  # noqa: A002 - the wire's own name
    model: str = "gpt-5.4",
) -> dict[str, Any]:
    """Return one ``chat.completion.chunk`` with one choice, shaped as OpenAI's.

    Args:
        delta: The choice's delta; None is ``{}``.
        index: The choice's index.
        finish_reason: The choice's finish reason, null before its end.
        logprobs: The choice's log probabilities.
        id: The completion's id.
        model: The model's id.
    """
    choice = {"index": index, "delta": delta or {}, "logprobs": logprobs, "finish_reason": finish_reason}
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
        "choices": [choice],
    }


@dataclass(frozen=True)
class Reply:
    """One answer of the simulated server; the methods return changed copies.

    Attributes:
        body: The steps of the body in order. Each ``bytes`` is one write to the socket (in chunked framing also one
            HTTP chunk), a number waits that many seconds, an ``asyncio.Event`` waits until it is set.
        status: The HTTP status.
        headers: The headers, without those that ``framing`` adds.
        framing: How the body is delimited: ``"chunked"``; ``"length"`` (Content-Length); ``"close"`` (neither, the
            connection closes at its end); ``"raw"`` (the body is the whole HTTP response, head included, and the
            connection closes after it).
        delay: What to wait for before the head, seconds or an event.
        ending: What comes after the body: ``"end"`` (its proper end); ``"cut"`` (FIN without it); ``"reset"`` (RST; bytes
            that the client's kernel has not received yet are lost, which may be megabytes); ``"half_close"`` (FIN, but the
            server goes on reading); ``"stall"`` (silence until the client leaves or the server closes); ``"repeat"``
            (``repeat`` again and again until then).
        at: The number of body bytes after which ``ending`` happens; None means after all of them.
        repeat: The steps that the ending ``"repeat"`` repeats.
    """

    body: tuple[Piece, ...] = ()
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    framing: Literal["chunked", "length", "close", "raw"] = "chunked"
    delay: float | asyncio.Event = 0.0
    ending: Literal["end", "cut", "reset", "half_close", "stall", "repeat"] = "end"
    at: int | None = None
    repeat: tuple[Piece, ...] = ()

    @classmethod
    def text(
        cls,
        *texts: str | float | asyncio.Event,
        finish_reason: str | None = "stop",
        usage: Mapping[str, Any] | None = None,
        done: bool = True,
    ) -> Reply:
        """Return a stream of content: the role chunk, one chunk for each text, the finish chunk and ``[DONE]``.

        Args:
            texts: The content deltas; a number or an event between them is a wait, as in ``body``.
            finish_reason: Sent in its own chunk; None leaves that chunk out.
            usage: Sent in a last chunk without choices; None leaves that chunk out.
            done: Whether ``[DONE]`` ends the stream.
        """
        events: list[Piece | dict[str, Any]] = [chunk({"role": "assistant", "content": "", "refusal": None})]
        events += [chunk({"content": text}) if isinstance(text, str) else text for text in texts]
        if finish_reason is not None:
            events.append(chunk(finish_reason=finish_reason))
        if usage is not None:
            events.append({**chunk(), "choices": [], "usage": usage})
        return cls.sse(*events, *([DONE] if done else []))

    @classmethod
    def tool_calls(
        cls,
        *calls: str | tuple[str, Mapping[str, Any] | str] | tuple[str, Mapping[str, Any] | str, str],
        text: str = "",
        fragment: int | None = None,
        interleaved: bool = False,
        finish_reason: str | None = "tool_calls",
        usage: Mapping[str, Any] | None = None,
        done: bool = True,
    ) -> Reply:
        """Return a stream that calls tools: ``Reply.tool_calls("get_time", ("get_weather", {"city": "Paris"}))``.

        Args:
            calls: Each a tool's name; or its name and arguments; or its name, arguments and id. Arguments that are a text go out
                as they are, also where they are not JSON. Without an id, the calls are ``call_0``, ``call_1`` and so on.
            text: What the model says before it calls.
            fragment: The characters of arguments in each delta; None sends the arguments of a call in one.
            interleaved: Whether the fragments of parallel calls take turns; otherwise one call comes after another.
            finish_reason: As in ``text``.
            usage: As in ``text``.
            done: As in ``text``.
        Raises:
            ConfigurationError: A call or ``fragment`` is not one.
        """
        events = [chunk({"role": "assistant", "content": None, "refusal": None})]
        events += [chunk({"content": text})] if text else []
        deltas = [call_deltas(index, call, fragment) for index, call in enumerate(calls)]
        in_order = zip_longest(*deltas) if interleaved else deltas
        events += [chunk({"tool_calls": [delta]}) for group in in_order for delta in group if delta is not None]
        if finish_reason is not None:
            events.append(chunk(finish_reason=finish_reason))
        if usage is not None:
            events.append({**chunk(), "choices": [], "usage": usage})
        return cls.sse(*events, *([DONE] if done else []))

    @classmethod
    def sse(cls, *pieces: Piece | Mapping[str, Any]) -> Reply:
        """Return an event stream of these pieces; a mapping becomes a ``data:`` frame, bytes are written as they are.

        Args:
            pieces: The body's steps; nothing is added, not even ``[DONE]``.
        """
        headers = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
        return cls(body=_pieces(pieces), headers=headers)

    @classmethod
    def json(cls, data: Any, *, status: int = 200) -> Reply:
        """Return a JSON body with a Content-Length.

        Args:
            data: The value that becomes the body.
            status: The HTTP status.
        """
        return cls.plain(orjson.dumps(data), content_type="application/json", status=status)

    @classmethod
    def plain(cls, body: bytes, *, content_type: str, status: int = 200) -> Reply:
        """Return any body with a Content-Length, such as a proxy's HTML page or a body with a wrong Content-Type.

        Args:
            body: The body, in one write.
            content_type: The Content-Type header.
            status: The HTTP status.
        """
        return cls(body=(body,), headers=(("Content-Type", content_type),), status=status, framing="length")

    @classmethod
    def page(cls, status: int = 403) -> Reply:
        """Return an HTML page in place of an answer, as a firewall before the gateway sends it, or its web site.

        Args:
            status: The HTTP status.
        """
        title = f"{status} {_reason(status)}"
        page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return cls.plain(page.encode(), content_type="text/html; charset=utf-8", status=status)

    @classmethod
    def error(
        cls,
        status: int,
        message: str | None = None,
        *,
        code: str = "",
        type: str = "comet_api_error",  # noqa: A002 - the wire's own name
        param: str | None = None,
        retry_after: float | str | None = None,
        request_id: str = _REQUEST_ID,
    ) -> Reply:
        """Return an HTTP error with the gateway's error body.

        Args:
            status: The HTTP status.
            message: The message; None takes one that fits the status. ``(request id: ...)`` is added to it.
            code: The error's code, empty for most.
            type: The error's type.
            param: The parameter that is wrong; None leaves the field out.
            retry_after: The Retry-After header: seconds, or a string such as an HTTP date.
            request_id: The id in the message.
        """
        text = message or _MESSAGES.get(status) or _reason(status).lower()
        error = {"message": f"{text} (request id: {request_id})", "type": type, "code": code}
        if param is not None:
            error["param"] = param
        reply = cls.json({"error": error}, status=status)
        return reply if retry_after is None else reply.with_headers({"Retry-After": str(retry_after)})

    @classmethod
    def raw(cls, *pieces: Piece) -> Reply:
        """Return a whole HTTP response with its head and framing, written as it is; then the connection closes.

        Without pieces nothing is written: ``Reply.raw().reset()`` resets before the head.

        Args:
            pieces: The response's steps.
        """
        return cls(body=pieces, framing="raw")

    @property
    def content(self) -> bytes:
        """All bytes of the body, without framing; ``at`` does not change it."""
        return b"".join(piece for piece in self.body if isinstance(piece, bytes))

    @property
    def head(self) -> bytes:
        """The status line and headers; empty for raw framing."""
        if self.framing == "raw":
            return b""
        headers = list(self.headers)
        if self.framing == "chunked":
            headers.append(("Transfer-Encoding", "chunked"))
        elif self.framing == "length":
            headers.append(("Content-Length", str(len(self.content))))
        else:
            headers.append(("Connection", "close"))
        lines = [f"HTTP/1.1 {self.status} {_reason(self.status)}", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode()

    def then(self, *pieces: Piece | Mapping[str, Any]) -> Reply:
        """Return this reply with more at the end of its body; mappings become frames."""
        return replace(self, body=self.body + _pieces(pieces))

    def with_headers(self, headers: Mapping[str, str]) -> Reply:
        """Return this reply with these headers; they replace headers of the same names."""
        names = {name.lower() for name in headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        return replace(self, headers=(*kept, *headers.items()))

    def after(self, delay: float | asyncio.Event) -> Reply:
        """Return this reply with a wait before its head, in seconds or until an event is set."""
        return replace(self, delay=delay)

    def paced(self, seconds: float) -> Reply:
        """Return this reply with a wait before each write of its body, also before the first."""
        body: list[Piece] = []
        for piece in self.body:
            body += [seconds, piece] if isinstance(piece, bytes) else [piece]
        return replace(self, body=tuple(body))

    def split(self, size: int) -> Reply:
        """Return this reply with its body in writes of ``size`` bytes; its waits are dropped."""
        content = self.content
        return replace(self, body=tuple(content[start : start + size] for start in range(0, len(content), size)))

    def compressed(self, encoding: Literal["gzip", "deflate"]) -> Reply:
        """Return this reply compressed, with a Content-Encoding; each write can be decoded before the next one comes."""
        coder = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
        body: list[Piece] = [
            coder.compress(piece) + coder.flush(zlib.Z_SYNC_FLUSH) if isinstance(piece, bytes) else piece
            for piece in self.body
        ]
        body.append(coder.flush())
        return replace(self, body=tuple(body)).with_headers({"Content-Encoding": encoding})

    def cut(self, at: int | None = None) -> Reply:
        """Return this reply cut by a FIN after ``at`` body bytes (None: after all), without its proper end."""
        return replace(self, ending="cut", at=at)

    def reset(self, at: int | None = None) -> Reply:
        """Return this reply with the connection reset (RST) after ``at`` body bytes (None: after all)."""
        return replace(self, ending="reset", at=at)

    def half_close(self, at: int | None = None) -> Reply:
        """Return this reply with only the server's direction closed after ``at`` body bytes (None: after all)."""
        return replace(self, ending="half_close", at=at)

    def stall(self, at: int | None = None) -> Reply:
        """Return this reply going silent after ``at`` body bytes (None: after all); the connection stays open."""
        return replace(self, ending="stall", at=at)

    def forever(self, *pieces: Piece) -> Reply:
        """Return this reply with these pieces repeated at its end until the client leaves or the server closes."""
        return replace(self, ending="repeat", at=None, repeat=pieces)


def _pieces(pieces: Iterable[Piece | Mapping[str, Any]]) -> tuple[Piece, ...]:
    return tuple(frame(piece) if isinstance(piece, Mapping) else piece for piece in pieces)


def call_deltas(index: int, call: str | tuple[Any, ...], fragment: int | None) -> list[dict[str, Any]]:
    """Return one call as deltas: its name, then its arguments in fragments.

    Args:
        index: The call's index.
        call: As of ``Reply.tool_calls``.
        fragment: As there.
    Raises:
        ConfigurationError: As there.
    """
    given = (call,) if isinstance(call, str) else call
    if not isinstance(given, (tuple, list)) or not 1 <= len(given) <= 3 or not isinstance(given[0], str):
        raise ConfigurationError(
            f"a call must be a tool's name, (name, arguments) or (name, arguments, id); got {shown(call)}"
        )
    name, *rest = given
    arguments = rest[0] if rest else {}
    call_id = rest[1] if len(rest) > 1 else f"call_{index}"
    try:
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    except TypeError as error:
        raise ConfigurationError(f"the arguments of {name!r} cannot be written as JSON ({error})") from None
    if fragment is not None and (not isinstance(fragment, int) or isinstance(fragment, bool) or fragment < 1):
        raise ConfigurationError(f"fragment must be a number of characters, 1 or more, or None; got {shown(fragment)}")
    size = fragment or len(text) or 1
    opening = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return [opening, *({"index": index, "function": {"arguments": piece}} for piece in pieces)]


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned"  # 524 and 529 are in no registry
