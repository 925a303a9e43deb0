"""The simulated server in a thread of its own, scripted one readable line at a time: for tests, also those that are not async."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import ConfigurationError, UsageError
from cometstream.policy import is_seconds
from cometstream.request.describe import shown
from cometstream.testing.checks import refusal
from cometstream.testing.model import Said, answer
from cometstream.testing.replies import Reply, call_deltas
from cometstream.testing.server import MODELS, RecordedRequest, Script, SimulatedServer

if TYPE_CHECKING:
    from concurrent.futures import Future

    from typing_extensions import Self

__all__ = ["CometServer"]

# What a script does to the answer of the model; a request whose stream is false gets the same as a document.
_Fault = Callable[[Reply, RecordedRequest], Reply]

_CHAT: Final = "/chat/completions"

# Seconds that a test waits for what the server's thread does at once.
_PATIENCE: Final = 10.0

_BEFORE_RESET: Final = 0.05

_MISSING: Final = object()


class CometServer:
    """A ``SimulatedServer`` in a thread with an event loop of its own, for ``with CometServer() as server``.

    Each scripting method answers one chat completion, in the order of the calls and in the form that was asked for: a stream or
    a document. They return the server, so that they can be chained. A request that the gateway would refuse gets the gateway's
    error in place of a scripted answer. Where nothing is scripted, the simulated model answers; other routes are never scripted.

    Args:
        api_key: The key that the simulated model wants.
        models: The ids of the models to serve.
        token_rate: Tokens a second of the model's answers; None is as fast as the reader reads.
    """

    def __init__(
        self, *, api_key: str = "sk-simulated", models: Sequence[str] = MODELS, token_rate: float | None = None
    ) -> None:
        self._server = SimulatedServer(api_key=api_key, models=models, token_rate=token_rate)
        self._scripts: deque[Script] = deque()
        self._standing: Script | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CometServer {self.base_url if self._thread else 'not started'}, {len(self.requests)} requests>"

    @property
    def api_key(self) -> str:
        """The key that the simulated model wants; scripted answers go to any."""
        return self._server.api_key

    @property
    def base_url(self) -> str:
        """The URL for a session, with ``/v1`` at its end."""
        return self._server.base_url

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of the models that are served."""
        return self._server.models

    @models.setter
    def models(self, models: Sequence[str]) -> None:
        self._server.models = tuple(models)

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a session finds this server, and past any proxy."""
        found = {"COMETAPI_KEY": self.api_key, "COMETAPI_BASE_URL": self.base_url}
        # Of the two names a program reads either one.
        direct = ",".join(filter(None, ("127.0.0.1", os.environ.get("no_proxy") or os.environ.get("NO_PROXY"))))
        return {**found, "NO_PROXY": direct, "no_proxy": direct}

    def start(self) -> None:
        """Listen on a free port of 127.0.0.1.

        Raises:
            UsageError: It was started before.
        """
        if self._thread is not None:
            raise UsageError("this CometServer was started before: make another one")
        self._server.always(self._next)
        started = threading.Event()
        failures: list[BaseException] = []

        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            async with self._server:
                started.set()
                await self._stop.wait()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:
                failures.append(error)
            finally:
                started.set()

        self._thread = threading.Thread(target=run, name="comet_server", daemon=True)
        self._thread.start()
        started.wait()
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Drop all connections and end the thread; a second call does nothing."""
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_PATIENCE)

    # What it is to answer.

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
        deltas = _deltas((text,) if text else ())
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
        # A reset takes with it what the client's kernel has not received: the texts get the time to arrive.
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
                Where the function returns None, the simulated model answers.
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

    # What it was asked.

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests, the oldest first; of every route."""
        return self._server.requests

    @property
    def last_request(self) -> RecordedRequest:
        """The last request.

        Raises:
            AssertionError: There was none.
        """
        if not self.requests:
            raise AssertionError(f"no request has reached the simulated server at {self.base_url}. {_NOT_FOUND}")
        return self.requests[-1]

    @property
    def unused(self) -> int:
        """How many scripted answers nobody has asked for yet."""
        return len(self._scripts)

    def assert_asked(self, **fields: Any) -> RecordedRequest:
        """Return the last request whose body has these values: ``assert_asked(model="gpt-5.4", prompt="hi")``.

        Args:
            fields: Fields of the body by their names; ``prompt`` is the text of the user's last message.
        Raises:
            AssertionError: There is none; the text tells what each request had instead.
        """
        for request in reversed(self.requests):
            if all(_field(request, name) == value for name, value in fields.items()):
                return request
        wanted = ", ".join(f"{name}={shown(value)}" for name, value in fields.items())
        lines = [f"none of {len(self.requests)} requests was asked with {wanted}"]
        for number, request in enumerate(self.requests, 1):
            lines.append(f"  {number}. {request.method} {request.path}: {_differences(request, fields)}")
        raise AssertionError("\n".join(lines) if self.requests else f"{lines[0]}. {_NOT_FOUND}")

    def wait_until_left(self, timeout: float = 5.0) -> None:
        """Wait until the client of the last request has left before the end of its answer, as when a user presses stop.

        Not in the event loop that the client runs in, which would stand still: there, ``await asyncio.to_thread(...)`` it.

        Args:
            timeout: Seconds to wait at most.
        Raises:
            AssertionError: It has not left by then.
        """
        request = self.last_request
        try:
            self._call(asyncio.wait_for(request.disconnected.wait(), timeout)).result(timeout + _PATIENCE)
        except (TimeoutError, asyncio.TimeoutError):
            how = "got its whole answer" if request.finished.is_set() else "still waits for its answer"
            raise AssertionError(f"the client of {request} has not left within {timeout:g} s: it {how}") from None

    def _call(self, coroutine: Any) -> Future[Any]:
        if self._loop is None:
            coroutine.close()
            raise UsageError("this CometServer does not run")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _add(self, script: Script, *, times: int = 1) -> Self:
        if not isinstance(times, int) or isinstance(times, bool) or times < 1:
            raise ConfigurationError(f"times must be a whole number of 1 or more; got {shown(times)}")
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

        def make(request: RecordedRequest) -> Reply:
            asked = request.json if isinstance(request.json, dict) else {}
            refused = refusal(request.json, [str(asked.get("model"))], request.id)
            reply = refused or fault(answer(asked, request.id, 1 / pace if pace else None, said), request)
            return _signed(reply.after(delay) if delay else reply, request)

        return self._add(make)

    def _next(self, request: RecordedRequest) -> Reply | None:
        """Return what is scripted for a request, in the server's thread."""
        if not request.path.partition("?")[0].endswith(_CHAT):
            return None
        script = self._scripts.popleft() if self._scripts else self._standing
        return script(request) if callable(script) else script


_NOT_FOUND: Final = (
    "A session reads COMETAPI_KEY and COMETAPI_BASE_URL when it is made: one that is made while its module is imported does so "
    "before the test sets them"
)


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
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be text; got {shown(value)}")
    return value


def _checked_script(script: Script) -> Script:
    if not isinstance(script, Reply) and not callable(script):
        raise ConfigurationError(f"a script must be a Reply or a function that makes one; got {shown(script)}")
    return script


def _field(request: RecordedRequest, name: str) -> Any:
    if name == "prompt":
        return request.prompt
    return request.json.get(name, _MISSING) if isinstance(request.json, dict) else _MISSING


def _differences(request: RecordedRequest, fields: Mapping[str, Any]) -> str:
    told = []
    for name, value in fields.items():
        found = _field(request, name)
        if found != value:
            told.append(f"{name} is missing" if found is _MISSING else f"{name} is {shown(found)}")
    return ", ".join(told)
