"""A relay as a response of Starlette and FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cometstream.errors import ConfigurationError
from cometstream.relay.asgi import ASGIRelay

try:
    from starlette.responses import Response
except ImportError as error:
    raise ConfigurationError("cometstream.relay.starlette needs Starlette or FastAPI: pip install starlette") from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.background import BackgroundTask
    from starlette.types import Receive, Scope, Send
    from typing_extensions import Unpack

    from cometstream.relay.options import RelayOptions

__all__ = ["RelayResponse"]


class RelayResponse(Response):
    """A response that relays an answer: ``return RelayResponse(session.stream(...), protocol="ui")``.

    It enters, reads and closes the stream itself, after the endpoint has returned. See ``ASGIRelay``.

    Args:
        stream: As ``relay`` takes it.
        headers: Headers of your own for the response.
        background: Runs after the response, as in Starlette.
        **options: As ``relay`` takes them.

    Raises:
        ConfigurationError: An option cannot be used.
    """

    def __init__(
        self,
        stream: Any,
        *,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
        **options: Unpack[RelayOptions],
    ) -> None:
        # No content of Starlette's: the status is known only once the answer's head has come.
        super().__init__(headers=headers, background=background)
        own = {name: value for name, value in self.headers.items() if name != "content-length"}
        self._relay = ASGIRelay(stream, headers=own, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await self._relay(scope, receive, send)
        if self.background is not None:
            await self.background()
