"""One answer on its way to a browser: enter, read, encode, write, and say in band how it ended."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

import anyio
import orjson

from cometstream.errors import CometError, ConfigurationError, UsageError
from cometstream.policy import is_seconds
from cometstream.relay.line import Line
from cometstream.relay.options import RelayOptions, make_encoder
from cometstream.relay.told import LOG, SHUTDOWN, Told, tell, tell_crash
from cometstream.request.describe import shown
from cometstream.views.completion import ChatCompletion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from cometstream.relay.line import Outlet

__all__ = ["Engine", "RelayEnd", "Servant", "Source", "end_relays", "servant"]

# What a farewell may take where the server wants to stop and the browser does not read.
_FAREWELL: Final = 0.5

# The outcomes of a stream, and those of a tool loop, in which everything came that was to come.
_WHOLE: Final = frozenset({"complete", "paused", "max_rounds", "withheld"})

# The relays that are open, so that a server that stops can end them.
_OPEN: Final[WeakSet[Engine]] = WeakSet()

# Tasks that nobody waits for: an event loop keeps none alive.
_TASKS: Final[set[asyncio.Future[None]]] = set()


class Source(Protocol):
    """What can be relayed: a ``ChatStream``, or whatever has its face and the same names of events, such as a tool loop.

    Where it has no ``events()`` it is iterated itself. It may have an ``error`` that tells why it did not end well.
    """

    async def __aenter__(self) -> Any: ...

    async def aclose(self) -> None:
        """Close it, also from another task."""
        ...

    @property
    def completion(self) -> ChatCompletion | None:
        """The completion so far."""
        ...

    @property
    def outcome(self) -> str | None:
        """How it ended; None while it runs."""
        ...


@dataclass(frozen=True)
class RelayEnd:
    """What ``on_end`` is given, on every path.

    Attributes:
        completion: As far as it came; ``usage`` is None where the server reported none.
        outcome: ``complete``, ``truncated``, ``unterminated``, ``error`` or ``cancelled``; None where no answer began.
        error: Why it did not end well; None where it did, and where somebody stopped it.
    """

    completion: ChatCompletion
    outcome: str | None
    error: CometError | None


class Engine:
    """Relays one answer to one outlet.

    Args:
        source: The stream. If it was not entered it is entered here; it is closed here in any case.
        options: Protocol, heartbeat and the rest.

    Attributes:
        loop: The event loop that relays; None before it does.

    Raises:
        ConfigurationError: An option cannot be used.
    """

    def __init__(self, source: Source, options: RelayOptions) -> None:
        self._source = source
        self._heartbeat, self._encoder = make_encoder(source, options)
        self._on_end = options.get("on_end")
        self._error: CometError | None = None
        self._ended_by: str | None = None
        self._ended = asyncio.Event()
        self._line: Line | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, outlet: Outlet) -> None:
        """Relay to the end; what went wrong upstream is told in the response and not raised.

        Raises:
            UsageError: The stream was relayed or left before.
        Cancellation:
            The connection upstream is closed at once. If the browser is still there it is told that the answer is not whole.
        """
        if self._line is not None:
            raise UsageError("this answer was relayed before: make a relay for each request")
        line = self._line = Line(outlet, self._encoder.headers, self._heartbeat)
        self.loop = asyncio.get_running_loop()
        _OPEN.add(self)
        try:
            await self._relay(line)
            await self._tell_ending(line)
        except OSError:
            pass  # the browser has left
        except asyncio.CancelledError:
            await self._source.aclose()
            if not outlet.gone:
                await self._say_farewell(line, tell(None, "cancelled", ended_by=SHUTDOWN))
            raise
        except Exception as error:
            await self._source.aclose()
            if line.started:
                await self._say_farewell(line, tell_crash(error, self._source.outcome))
            raise
        finally:
            _OPEN.discard(self)
            with anyio.CancelScope(shield=True):
                await self._source.aclose()
            await line.close()
            self._ended.set()
            await self._report()

    def stop(self) -> None:
        """End the relay in band because somebody does not want the answer any more."""
        _kept(self._source.aclose())

    async def end(self, *, after: float = 0.0) -> None:
        """End the relay in band because the server stops.

        Args:
            after: Seconds that the answer may still take.
        Cancellation:
            The relay goes on.
        """
        with anyio.move_on_after(after):
            await self._ended.wait()
        if not self._ended.is_set():
            self._ended_by = SHUTDOWN
            await self._source.aclose()
            with anyio.move_on_after(_FAREWELL):
                await self._ended.wait()

    async def _relay(self, line: Line) -> None:
        """Read the answer to its end."""
        source, encoder = self._source, self._encoder
        try:
            if is_new(source):
                await source.__aenter__()
            encode, items = encoder.encode, encoder.items()
            at_once = getattr(items, "at_once", None)
            async for item in items:
                piece = encode(item)
                # What came together goes out together: a write costs more than all else that is done with an event.
                if at_once is not None and (more := at_once()) is not None:
                    pieces = [piece]
                    while more is not None:
                        pieces.append(encode(more))
                        more = at_once()
                    piece = b"".join(pieces)
                if piece:
                    await line.write(piece)
        except (UsageError, ConfigurationError) as error:
            if source.outcome in (None, "cancelled"):
                raise  # a misuse, and no ending
            self._error = error
        except CometError as error:
            self._error = error
        else:
            self._error = getattr(source, "error", None)

    async def _tell_ending(self, line: Line) -> None:
        outcome = self._source.outcome
        if outcome in _WHOLE and self._error is None:
            await line.write(self._encoder.finish())
            return
        await self._fail(line, tell(self._error, outcome, ended_by=self._ended_by))

    async def _fail(self, line: Line, told: Told) -> None:
        """Say that the answer is not whole: by a status where nothing was sent yet, else in band."""
        headers = {"Cache-Control": "no-store"}
        if told.retry_after is not None:
            headers["Retry-After"] = str(max(1, -int(-told.retry_after // 1)))
        if self._encoder.refuses_in_text:
            headers["Content-Type"] = "text/plain; charset=utf-8"
            body = told.text.encode()
        else:
            headers["Content-Type"] = "application/json"
            body = orjson.dumps(told.body())
        await line.refuse(told.status, headers, body, self._encoder.fail(told))

    async def _say_farewell(self, line: Line, told: Told) -> None:
        """Say in band that the answer is not whole, though this task was cancelled or has failed."""
        await line.close()
        try:
            with anyio.move_on_after(_FAREWELL, shield=True):
                await self._fail(line, told)
        except Exception:
            pass  # the browser has left, or the server has closed its connection

    async def _report(self) -> None:
        if self._on_end is None:
            return
        source = self._source
        completion = source.completion or ChatCompletion({})
        end = RelayEnd(completion, source.outcome, self._error or getattr(source, "error", None))
        try:
            waited = self._on_end(end)
        except Exception as error:
            _log_failed_report(error)
            return
        if inspect.isawaitable(waited):
            # A task of its own: whoever cancels this one twice does not cancel the bill.
            await asyncio.shield(_kept(_finish_report(waited)))


def _kept(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.ensure_future(work)
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)
    return task


async def _finish_report(waited: Awaitable[None]) -> None:
    try:
        await waited
    except Exception as error:
        _log_failed_report(error)


def _log_failed_report(error: Exception) -> None:
    LOG.error("on_end of a relay raised %s", type(error).__name__, exc_info=error)


class Servant(Protocol):
    """What an adapter answers a request with: an ``Engine``, or a reader of an answer that is kept."""

    async def serve(self, outlet: Outlet) -> None:
        """Write the whole answer to an outlet."""
        ...


def servant(stream: Any, options: RelayOptions) -> Servant:
    """Return what serves a stream, or an answer that is kept.

    Raises:
        ConfigurationError: An option cannot be used.
    """
    if not hasattr(stream, "serve"):
        return Engine(stream, options)
    if options:
        raise ConfigurationError(f"options of an answer that is kept are given to start(); got {', '.join(options)}")
    kept: Servant = stream
    return kept


def is_new(source: Any) -> bool:
    """Whether a stream was not entered: no attempt was made, and it has no ending."""
    metrics = getattr(source, "metrics", None)
    return metrics is None or (metrics.attempts == 0 and source.outcome is None)


async def end_relays(grace: float = 5.0) -> None:
    """End all relays of this process that are open in this event loop, in band: for a server that stops.

    Args:
        grace: Seconds that the answers may still take.
    Raises:
        ConfigurationError: `grace` is not a time.
    Cancellation:
        Relays that are still open go on.
    """
    if not is_seconds(grace):
        raise ConfigurationError(f"grace must be a number of seconds, 0 or more; got {shown(grace)}")
    loop = asyncio.get_running_loop()
    mine = [engine for engine in _OPEN if engine.loop is loop]
    await asyncio.gather(*[engine.end(after=grace) for engine in mine])
