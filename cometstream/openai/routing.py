"""Which session sends a request that another client has addressed, and with which key."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, NamedTuple

from cometstream.errors import ConfigurationError
from cometstream.openai.forward import ROUTE, passed_headers
from cometstream.policy import NOT_GIVEN, Timeouts
from cometstream.session import CometSession

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Route", "Routing"]

# Where openai's client goes that was told no address.
_OPENAIS_DEFAULT: Final = "https://api.openai.com/v1"


class Route(NamedTuple):
    """How one request is sent.

    Attributes:
        session: By which session.
        headers: With which headers of its own.
        query: With which query, as it was written.
    """

    session: CometSession
    headers: dict[str, str]
    query: str


class Routing:
    """The sessions of one transport: its own, and one for each other address that requests name.

    Args:
        session: The session that it was given; None makes one where ``COMETAPI_KEY`` is set.
    """

    def __init__(self, session: CometSession | None) -> None:
        self._made: dict[str, CometSession] = {}
        if session is not None and not isinstance(session, CometSession):
            raise ConfigurationError(f"session must be a CometSession or None; got {type(session).__name__}")
        self._given = session

    def __repr__(self) -> str:
        return repr(self._given) if self._given is not None else "by the environment"

    def route(self, url: str, headers: Iterable[tuple[str, str]]) -> Route | None:
        """Return how a chat completion is sent; None where there is no key for its address.

        Raises:
            ConfigurationError: The address cannot be used.
        """
        address, _, query = url.partition("?")
        base = address.rstrip("/").removesuffix(ROUTE)
        own = self._own()
        passed = passed_headers(headers)
        named = {name.lower(): name for name in passed}
        if own is not None and base == _OPENAIS_DEFAULT != own.base_url:
            passed.pop(named.get("authorization", ""), None)
            return Route(own, passed, query)
        if own is not None and base == own.base_url:
            return Route(own, passed, query)
        key = passed.get(named.get("authorization", ""), "").partition(" ")[2].strip()
        if not key:
            return None
        session = self._made.get(base)
        if session is None:
            timeouts = NOT_GIVEN if own is None else Timeouts(**asdict(own.clocks))
            retry = NOT_GIVEN if own is None else own.retry
            session = self._made[base] = CometSession(api_key=key, base_url=base, timeouts=timeouts, retry=retry)
        return Route(session, passed, query)

    def check_other(self, url: str) -> None:
        """Refuse a request that is not a chat completion and would go to OpenAI, because the client has no ``base_url``.

        Raises:
            ConfigurationError: It is refused.
        """
        own = self._own()
        if own is not None and url.startswith(_OPENAIS_DEFAULT) and own.base_url != _OPENAIS_DEFAULT:
            raise ConfigurationError(
                "this request would go to api.openai.com, since the client has no base_url. Only chat completions work without "
                f"one: give the client base_url={own.base_url!r} and the key of your session as api_key"
            )

    def _own(self) -> CometSession | None:
        if self._given is not None:
            return self._given
        if "" not in self._made and "COMETAPI_KEY" in os.environ:
            self._made[""] = CometSession()
        return self._made.get("")

    async def aclose(self) -> None:
        """Close the sessions that this transport made.

        Cancellation:
            The connections are closed all the same.
        """
        made, self._made = self._made, {}
        for session in made.values():
            await session.aclose()

    def __del__(self) -> None:
        # Many programs never close their clients. Each event loop closes its own connections when it runs next.
        while self._made:
            self._made.popitem()[1].close_soon()
