"""The simulated server in a thread of its own: for tests, also those that are not async."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import ConfigurationError, UsageError
from cometstream.policy import is_seconds
from cometstream.request.describe import shown
from cometstream.request.encode import is_json_list
from cometstream.testing.scripting import Scripting
from cometstream.testing.server import MODELS, RecordedRequest, SimulatedServer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CometServer"]

# Seconds that a test waits for what the server's thread does at once.
_PATIENCE: Final = 10.0

_MISSING: Final = object()


class CometServer(Scripting):
    """A ``SimulatedServer`` in a thread with an event loop of its own, for ``with CometServer() as server``.

    Args:
        api_key: The key that the simulated model wants.
        models: The ids of the models to serve.
        token_rate: Tokens a second of the model's answers; None is as fast as the reader reads.
    Raises:
        ConfigurationError: An argument cannot be used.
    """

    def __init__(
        self, *, api_key: str = "sk-simulated", models: Sequence[str] = MODELS, token_rate: float | None = None
    ) -> None:
        if not isinstance(api_key, str):
            raise ConfigurationError(f"api_key must be text; got {shown(api_key)}")
        if token_rate is not None and not (is_seconds(token_rate) and token_rate > 0):
            raise ConfigurationError(f"token_rate must be tokens a second, or None; got {shown(token_rate)}")
        super().__init__()
        self._server = SimulatedServer(api_key=api_key, models=_checked_models(models), token_rate=token_rate)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self.close()
        if exc_type is None and self.failures:
            raise self.failures[0]

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
        self._server.models = _checked_models(models)

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
        self._server.always(self.next_reply)
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
            ConfigurationError: ``timeout`` cannot be used.
            UsageError: The server does not run.
        """
        if not is_seconds(timeout):
            raise ConfigurationError(f"timeout must be seconds, 0 or more; got {shown(timeout)}")
        request, loop = self.last_request, self._loop
        if loop is None:
            raise UsageError("this CometServer does not run")
        waiting = asyncio.wait_for(request.disconnected.wait(), timeout)
        try:
            asyncio.run_coroutine_threadsafe(waiting, loop).result(timeout + _PATIENCE)
        except (TimeoutError, asyncio.TimeoutError):
            how = "got its whole answer" if request.finished.is_set() else "still waits for its answer"
            raise AssertionError(f"the client of {request} has not left within {timeout:g} s: it {how}") from None


_NOT_FOUND: Final = (
    "A session reads COMETAPI_KEY and COMETAPI_BASE_URL when it is made: one that is made while its module is imported does so "
    "before the test sets them"
)


def _checked_models(models: Sequence[str]) -> tuple[str, ...]:
    try:
        if is_json_list(models) and all(isinstance(model, str) for model in models):
            return tuple(models)
    except Exception:  # of the caller's own object
        pass
    raise ConfigurationError(f"models must be a list of ids; got {shown(models)}")


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
