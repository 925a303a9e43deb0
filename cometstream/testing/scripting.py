"""What a server in a test is to answer, scripted one readable line at a time."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.errors import ConfigurationError
from cometstream.policy import is_seconds
from cometstream.request.describe import shown
from cometstream.testing.checks import refusal
from cometstream.testing.model import Said, answer
from cometstream.testing.replies import Reply, call_deltas
from cometstream.testing.server import RecordedRequest, Script

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Scripting"]

# What a script does to the answer of the model; a request whose stream is false gets the same as a document.
_Fault = Callable[[Reply, RecordedRequest], Reply]

_MOST: Final = 1_000_000

_CHAT: Final = "/chat/completions"

_SURROGATES: Final = re.compile("[\ud800-\udfff]")

# A reset takes with it what the client's kernel has not received: the texts get the time to arrive.
_BEFORE_RESET: Final = 0.05


class Scripting:
    """Scripts the answers to chat completions.

    Each method scripts one of them, in the order of the calls and in the form that is asked for: a stream or a document. They
    return the object itself, so that they can be chained. A request that the gateway would refuse gets the gateway's error in
    place of a scripted answer. Where nothing is scripted, the simulated model answers; other routes are never scripted.

    Attributes:
        failures: What scripts that are functions raised; the app got a 500 instead.
    """

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self._scripts: deque[Script] = deque()
        self._standing: Script | None = None

    def reply(
        self, *texts: str, reasoning: str = "", finish_reason: str = "stop", delay: float = 0.0, pace: float = 0.0
    ) -> Self:
        """Answer the next chat completion with these texts, each a delta of its own.

        Args:
            texts: The content in pieces.
            reasoning: What the model thinks first.
            finish_reason: Why the answer ends: ``"length"``, for example.
            delay: Seconds before the answer's head.
            pace: Seconds before each delta.
        Raises:
            ConfigurationError: An argument cannot be used.
        """
        deltas = _deltas(texts, reasoning)
        return self._answer(Said(deltas, _checked_text("finish_reason", finish_reason)), delay=delay, pace=pace)

    def tool_calls(
        self,
        *calls: str | tuple[str, Mapping[str, Any] | str] | tuple[str, Mapping[str, Any] | str, str],
        text: str = "",
        fragment: int | None = None,
    ) -> Self:
        """Answer the next chat completion with calls of tools: ``tool_calls(("get_weather", {"city": "Paris"}))``.

        Args:
            calls: As of ``Reply.tool_calls``.
            text: What the model says before it calls.
            fragment: The characters of arguments in each delta; None sends the arguments of a call in one.
        Raises:
            ConfigurationError: An argument cannot be used.
        """
        deltas = _deltas((text,) if _checked_text("text", text) else ())
        for index, call in enumerate(calls):
            deltas += tuple({"tool_calls": [delta]} for delta in call_deltas(index, call, fragment))
        return self._answer(Said(deltas, "tool_calls"))

    def error(
        self,
        status: int,
        message: str | None = None,
        *,
        code: str = "",
        retry_after: float | str | None = None,
        times: int = 1,
    ) -> Self:
        """Refuse the next chat completion with an HTTP status and the gateway's error body.

        Args:
            status: The status, 400 to 599.
            message: The message; None takes one that fits the status. The request's id is added to it.
            code: The error's code, such as ``"model_not_found"``.
            retry_after: The Retry-After header: seconds, or an HTTP date.
            times: How many requests to refuse.
        Raises:
            ConfigurationError: An argument cannot be used.
        """
        if not isinstance(status, int) or isinstance(status, bool) or not 400 <= status <= 599:
            raise ConfigurationError(f"status must be 400 to 599; got {shown(status)}")
        if message is not None:
            _checked_text("message", message)
        _checked_text("code", code)
        if not (
            retry_after is None
            or is_seconds(retry_after)
            or (isinstance(retry_after, str) and retry_after.isprintable())
        ):
            raise ConfigurationError(f"retry_after must be seconds, an HTTP date or None; got {shown(retry_after)}")
        return self._add(
            lambda request: _signed(
                Reply.error(status, message, code=code, retry_after=retry_after, request_id=request.id), request
            ),
            times=times,
        )

    def rate_limited(self, retry_after: float | str | None = None, *, times: int = 1) -> Self:
        """Refuse the next chat completion with 429.

        Args:
            retry_after: As of `error`. With None a session waits by its own policy; 0 makes a test of retries fast.
            times: How many requests to refuse.
        Raises:
            ConfigurationError: An argument cannot be used.
        """
        return self.error(429, retry_after=retry_after, times=times)

    def overloaded(self, retry_after: float | str | None = None, *, times: int = 1) -> Self:
        """Refuse the next chat completion with 503. The arguments are as of `rate_limited`."""
        return self.error(503, "the upstream is overloaded", retry_after=retry_after, times=times)

    def cut_after(self, *texts: str) -> Self:
        """Begin to answer the next chat completion with these texts, then close the connection without an end.

        Args:
            texts: The content that comes, in pieces; none cuts after the chunk with the role.
        Raises:
            ConfigurationError: An argument cannot be used.
        """
        return self._broken(texts, lambda reply, _: reply.cut(_middle(reply)))

    def reset_after(self, *texts: str) -> Self:
        """As `cut_after`, but the connection is reset."""
        return self._broken(
            texts,
            lambda reply, _: reply.then(_BEFORE_RESET).reset() if _is_stream(reply) else reply.reset(_middle(reply)),
        )

    def stall_after(self, *texts: str) -> Self:
        """As `cut_after`, but the connection stays open and silent until the client leaves."""
        return self._broken(texts, lambda reply, _: reply.stall(_middle(reply)))

    def error_after(self, *texts: str, message: str = "the upstream failed", code: str = "upstream_error") -> Self:
        """As `cut_after`, but an error frame ends the stream; a request that does not stream is refused with 500.

        Args:
            texts: The content that comes, in pieces.
            message: The error's message; the request's id is added to it.
            code: The error's code.
        Raises:
            ConfigurationError: An argument cannot be used.
        """
        _checked_text("message", message)
        _checked_text("code", code)

        def fail(reply: Reply, request: RecordedRequest) -> Reply:
            refused = Reply.error(500, message, code=code, request_id=request.id)
            return reply.then(b"data: " + refused.content + b"\n\n") if _is_stream(reply) else refused

        return self._broken(texts, fail)

    def reset(self, *, times: int = 1) -> Self:
        """Reset the connection of the next chat completion before any answer.

        Args:
            times: How many requests to treat so.
        Raises:
            ConfigurationError: ``times`` cannot be used.
        """
        return self._add(lambda _: Reply.raw().reset(), times=times)

    def stall(self) -> Self:
        """Leave the next chat completion without any answer until the client leaves."""
        return self._add(lambda _: Reply.raw().stall())

    def script(self, *replies: Script) -> Self:
        """Answer the next chat completions with these, one each: for all that the other methods do not say.

        Args:
            replies: Each a ``Reply``, sent as it is; or a function that makes one from the request, called in the server's thread.
                Where the function returns None, the simulated model answers. What it raises, the test fails with at its end.
        Raises:
            ConfigurationError: One is neither.
        """
        for reply in replies:
            self._add(reply)
        return self

    def always(self, reply: Script | None) -> Self:
        """Answer every chat completion for which nothing is scripted with this.

        Args:
            reply: As of `script`; None is the simulated model again.
        Raises:
            ConfigurationError: It is neither a ``Reply`` nor a function.
        """
        self._standing = None if reply is None else _checked_script(reply)
        return self

    @property
    def unused(self) -> int:
        """How many scripted answers nobody has asked for yet."""
        return len(self._scripts)

    def _add(self, script: Script, *, times: int = 1) -> Self:
        if not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= _MOST:
            raise ConfigurationError(f"times must be a whole number from 1 to {_MOST:,}; got {shown(times)}")
        self._scripts.extend([_checked_script(script)] * times)
        return self

    def _broken(self, texts: tuple[str, ...], fault: _Fault) -> Self:
        return self._answer(Said(_deltas(texts), whole=False), fault)

    def _answer(
        self, said: Said, fault: _Fault = lambda reply, _: reply, *, delay: float = 0.0, pace: float = 0.0
    ) -> Self:
        for name, value in (("delay", delay), ("pace", pace)):
            if not is_seconds(value):
                raise ConfigurationError(f"{name} must be seconds, 0 or more; got {shown(value)}")

        try:
            orjson.dumps(said.deltas)
        except TypeError as error:  # halves of surrogate pairs
            raise ConfigurationError(f"what the model says cannot be sent ({error})") from None

        def make(request: RecordedRequest) -> Reply:
            asked = request.json if isinstance(request.json, dict) else {}
            refused = refusal(request.json, [str(asked.get("model"))], request.id)
            reply = refused or fault(answer(asked, request.id, 1 / pace if pace else None, said), request)
            return _signed(reply.after(delay) if delay else reply, request)

        return self._add(make)

    def next_reply(self, request: RecordedRequest) -> Reply | None:
        """Return what is scripted for a request; None lets the simulated model answer."""
        if not request.path.partition("?")[0].endswith(_CHAT):
            return None
        script = self._scripts.popleft() if self._scripts else self._standing
        try:
            reply = script(request) if callable(script) else script
            if reply is not None and not isinstance(reply, Reply):
                raise ConfigurationError(f"a script must return a Reply or None; got {shown(reply)}")
        except Exception as error:
            self.failures.append(error)
            return Reply.error(500, "the test's script failed", code="script_failed", request_id=request.id)
        return reply


def _signed(reply: Reply, request: RecordedRequest) -> Reply:
    """Return a reply with the request's id, as the gateway sends it."""
    return reply.with_headers({"X-Cometapi-Request-Id": request.id, "x-request-id": request.id})


def _is_stream(reply: Reply) -> bool:
    return reply.framing == "chunked"


def _middle(reply: Reply) -> int | None:
    """Return where a reply breaks off: a stream after all it has, a document in its middle."""
    return None if _is_stream(reply) else len(reply.content) // 2


def _deltas(texts: Sequence[str], reasoning: str = "") -> tuple[dict[str, Any], ...]:
    for text in (*texts, reasoning):
        if not isinstance(text, str):
            raise ConfigurationError(f"what the model says must be text; got {shown(text)}")
    thought = ({"reasoning_content": reasoning},) if reasoning else ()
    return (*thought, *({"content": text} for text in texts))


def _checked_text(name: str, value: object) -> str:
    if not isinstance(value, str) or (not value.isascii() and _SURROGATES.search(value)):
        raise ConfigurationError(f"{name} must be text; got {shown(value)}")
    return value


def _checked_script(script: Script) -> Script:
    if not isinstance(script, Reply) and not callable(script):
        raise ConfigurationError(f"a script must be a Reply or a function that makes one; got {shown(script)}")
    return script
