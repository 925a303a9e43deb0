"""The simulated CometAPI server: listens, records requests, and answers by script or by its model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from aiohttp import web

from cometstream.errors import UsageError
from cometstream.request.describe import shown
from cometstream.testing.account import account_reply, catalog_reply
from cometstream.testing.checks import refusal
from cometstream.testing.delivery import Delivered, deliver
from cometstream.testing.model import answer, content_text
from cometstream.testing.replies import Reply

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy
    from typing_extensions import Self

__all__ = ["MODELS", "RecordedRequest", "Script", "SimulatedServer", "serve"]

MODELS = ("gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano", "gpt-4.1", "claude-sonnet-4-6", "gemini-2.5-flash")
"""The models that a server has by default."""

_BACKLOG = 4096  # thousands of clients that connect at the same moment; the kernel caps it
_KEPT = 10_000  # recorded requests, so that a server that runs for days does not grow


@dataclass(eq=False, repr=False)
class RecordedRequest:
    """A request that the server has read to its end. Its repr is one line that a failed test can show.

    Attributes:
        id: The server's id for it, sent as ``X-Cometapi-Request-Id``, as ``x-request-id``, and in the gateway's error messages.
        method: The HTTP method.
        path: The path with its query.
        headers: The headers, case-insensitive.
        body: The body's bytes.
        json: The parsed body; None if it is not JSON.
        disconnected: Set when the client left before the reply's end.
        finished: Set when the exchange is over, however it ended.
    """

    id: str
    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    json: Any
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def model(self) -> Any:
        """The model that is asked; None where the body names none."""
        return self.json.get("model") if isinstance(self.json, dict) else None

    @property
    def messages(self) -> list[Any]:
        """The conversation, oldest first; empty where the body has none."""
        messages = self.json.get("messages") if isinstance(self.json, dict) else None
        return messages if isinstance(messages, list) else []

    @property
    def prompt(self) -> str | None:
        """The text of the last message of the user; None where there is none."""
        for message in reversed(self.messages):
            if isinstance(message, dict) and message.get("role") == "user":
                return content_text(message)
        return None

    def __repr__(self) -> str:
        parts = [f"{self.method} {self.path}"]
        if self.model is not None:
            parts.append(f"model {shown(self.model)}")
        if self.prompt is not None:
            parts.append(f"prompt {shown(self.prompt)}")
        return f"<{', '.join(parts)}>"


Script: TypeAlias = Reply | Callable[[RecordedRequest], Reply | None]
"""A reply, or a function that makes one from the request. Where the function returns None, the default answers."""


class SimulatedServer:
    """A CometAPI server in this process, for ``async with SimulatedServer() as server``.

    It speaks the documented route over real HTTP on a loopback port: validation, error bodies, streaming, tools,
    structured output, ``GET /models``, the catalogue with prices, and the balance. ``script`` and ``always`` replace its
    answers, also by faults.

    Attributes:
        api_key: The only key that is accepted.
        models: The ids of the models that are served.
        requests: The last 10,000 requests, the oldest first.

    Args:
        api_key: The only key to accept.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        models: The ids of the models to serve.
        token_rate: Tokens a second of the model's answers; None is as fast as the reader reads.
    """

    def __init__(
        self,
        *,
        api_key: str = "sk-simulated",
        host: str = "127.0.0.1",
        port: int = 0,
        models: Sequence[str] = MODELS,
        token_rate: float | None = None,
    ) -> None:
        self.api_key = api_key
        self.models = tuple(models)
        self.requests: list[RecordedRequest] = []
        self._address = (host, port)
        self._token_rate = token_rate
        self._base_url: str | None = None
        self._count = 0
        self._script: deque[Script] = deque()
        self._always: Script | None = None
        self._web: _ConnectionCounter | None = None
        self._listener: asyncio.AbstractServer | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    @property
    def base_url(self) -> str:
        """The URL for a client, with ``/v1`` at its end. It stays readable after the server has closed."""
        if self._base_url is None:
            raise UsageError("the simulated server has no URL yet: start it with `async with` or start()")
        return self._base_url

    @property
    def connections_open(self) -> int:
        """How many client connections are open now."""
        return self._web.open if self._web else 0

    @property
    def connections_seen(self) -> int:
        """How many connections clients have opened since the start."""
        return self._web.seen if self._web else 0

    async def until_unconnected(self) -> None:
        """Wait until no client connection is open.

        Cancellation:
            Safe at any point.
        """
        if self._web is not None:
            await self._web.empty.wait()

    def script(self, *replies: Script) -> None:
        """Answer the next requests with these replies, one reply for each request, whatever it asks.

        Args:
            replies: They come after those that still wait. After the last one the default answers again.
        """
        self._script.extend(replies)

    def always(self, reply: Script | None) -> None:
        """Answer every request for which no scripted reply is left with this one.

        Args:
            reply: The new default; None goes back to the simulated model.
        """
        self._always = reply

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address is in use or does not belong to this machine.
        """
        if self._listener is not None:
            raise UsageError("the simulated server has been started already")
        # A client that leaves cancels its handler, so that a stall ends with the connection.
        self._web = _ConnectionCounter(self._handle, handler_cancellation=True, access_log=None)
        host, port = self._address
        self._listener = await asyncio.get_running_loop().create_server(self._web, host, port, backlog=_BACKLOG)
        host, port = self._listener.sockets[0].getsockname()[:2]
        self._base_url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"

    async def aclose(self) -> None:
        """Stop listening and drop all connections at once, also those in the middle of a reply.

        Cancellation:
            The connections are dropped all the same; their tasks may end a little later.
        """
        if self._listener is None or self._web is None:
            return
        self._listener.close()
        self._listener = None
        self._web.abort()
        await self._web.shutdown(1.0)
        await self._web.empty.wait()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.content.read()
        except ConnectionError:
            return Delivered(keep_alive=False)
        recorded = self._record(request, body)
        try:
            keep_alive = await deliver(self._reply(recorded), request)
        except (ConnectionError, asyncio.CancelledError) as error:
            if self._listener is not None:
                recorded.disconnected.set()
            if isinstance(error, asyncio.CancelledError):
                raise
            keep_alive = False
        finally:
            recorded.finished.set()
        return Delivered(keep_alive=keep_alive)

    def _record(self, request: web.BaseRequest, body: bytes) -> RecordedRequest:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        self._count += 1
        recorded = RecordedRequest(
            f"sim{self._count:09d}", request.method, request.path_qs, request.headers, body, parsed
        )
        self.requests.append(recorded)
        del self.requests[:-_KEPT]
        return recorded

    def _reply(self, request: RecordedRequest) -> Reply:
        script = self._script.popleft() if self._script else self._always
        reply = script(request) if callable(script) else script
        if reply is not None:
            return reply
        return self._default(request).with_headers({"X-Cometapi-Request-Id": request.id, "x-request-id": request.id})

    def _default(self, request: RecordedRequest) -> Reply:
        route = (request.method, request.path.partition("?")[0])
        if route == ("GET", "/api/models"):
            return catalog_reply(self.models)
        if not f"{route[1]}/".startswith("/v1/"):
            return Reply.page(200) if request.method == "GET" else Reply.page(301).with_headers({"Location": "/"})
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return Reply.error(401, request_id=request.id)
        told = account_reply(*route, self.models, request.id)
        if told is not None:
            return told
        if route != ("POST", "/v1/chat/completions"):
            return Reply.error(404, f"invalid URL ({route[0]} {route[1]})", request_id=request.id)
        refused = refusal(request.json, self.models, request.id)
        return refused or answer(request.json, request.id, self._token_rate)


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    api_key: str = "sk-simulated",
    token_rate: float | None = 30.0,
    started: Callable[[SimulatedServer], object] | None = None,
) -> None:
    """Run a simulated server until cancelled.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one.
        api_key: The only key to accept.
        token_rate: Tokens a second; the default can be watched. None is as fast as the reader reads.
        started: Called with the server once it listens.
    Raises:
        OSError: The address is in use or does not belong to this machine.
    Cancellation:
        Cancel it to end it: all connections are closed.
    """
    async with SimulatedServer(api_key=api_key, host=host, port=port, token_rate=token_rate) as server:
        if started is not None:
            started(server)
        await asyncio.get_running_loop().create_future()


class _ConnectionCounter(web.Server):
    """aiohttp's low-level server, which also counts its connections."""

    def __init__(self, handler: Any, **kwargs: Any) -> None:
        super().__init__(handler, **kwargs)
        self.seen = 0
        self.open = 0
        self.empty = asyncio.Event()
        self.empty.set()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.seen += 1
        self.open += 1
        self.empty.clear()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.open -= 1
        if not self.open:
            self.empty.set()

    def abort(self) -> None:
        """Drop all connections with their unsent bytes: a client that does not read must not keep the server waiting."""
        for connection in self.connections:
            if connection.transport is not None:
                connection.transport.abort()
