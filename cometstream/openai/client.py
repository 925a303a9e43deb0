"""``AsyncOpenAI``: a client with the constructor of OpenAI's, over a session."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from cometstream.config import checked_headers, find_key, merge_headers
from cometstream.errors import ConfigurationError
from cometstream.openai.calls import NOT_GIVEN, Calls, is_given, to_query, to_timeouts
from cometstream.openai.chat import Beta, Chat
from cometstream.openai.left_out import ARGUMENTS, LeftOutCompletions, missing, openais_class, where
from cometstream.openai.models import Models
from cometstream.session import CometSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from cometstream.openai.calls import ApiKey, Query, Timeout
    from cometstream.policy import NotGiven

__all__ = ["AsyncOpenAI", "Client"]


class Client:
    """What the asynchronous and the synchronous client share: settings, and the calls made with them.

    Args:
        given: The constructor's arguments.
    Raises:
        ConfigurationError: There is no key, or an option cannot be used.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        for name in ARGUMENTS & given.keys():
            if given[name] is not None and is_given(given[name]):
                raise ConfigurationError(where(f"{name}="))
        for name in given.keys() - ARGUMENTS - _SETTINGS:
            raise ConfigurationError(f"{name}= is not an argument of this client: leave it out")
        given["default_headers"] = checked_headers(given.get("default_headers"))
        retries = given.get("max_retries", NOT_GIVEN)
        self._given = given
        self._key: ApiKey | None = given.get("api_key")
        self._owner: Client | None = None  # the client whose pool this one uses; kept, so that the pool lives as long
        self._session = CometSession(
            api_key=Calls.session_key(self._key),
            base_url=_address(given.get("base_url")),
            timeouts=to_timeouts(given.get("timeout", NOT_GIVEN)),
            retry=retries if is_given(retries) else NOT_GIVEN,
        )
        self._bind()

    def _bind(self) -> None:
        given = self._given
        retries = given.get("max_retries", NOT_GIVEN)
        named = {"OpenAI-Organization": given.get("organization"), "OpenAI-Project": given.get("project")}
        told = {name: value for name, value in named.items() if value is not None and is_given(value)}
        self._calls = Calls(
            self._session,
            to_timeouts(given.get("timeout", NOT_GIVEN)),
            retries if is_given(retries) else NOT_GIVEN,
            merge_headers(checked_headers(told), given["default_headers"]),
            to_query("default_query", given.get("default_query")),
            None if self._key is given.get("api_key") and not callable(self._key) else self._key,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    def __getattr__(self, name: str) -> Any:
        raise missing("client", name)

    def __del__(self) -> None:
        # OpenAI's client need not be closed. This one closes its own pool when it is garbage-collected, but not one that it shares.
        if self.__dict__.get("_owner", self) is None and "_session" in self.__dict__:
            self._session.close_soon()

    @property
    def session(self) -> CometSession:
        """The session that it sends with: for what OpenAI's client has no name for, such as ``cometstream.otel.instrument``."""
        return self._session

    @property
    def base_url(self) -> str:
        """The address of the endpoint."""
        return self._session.base_url

    @property
    def api_key(self) -> str:
        """The key, as it was given or found; set it to use another. ``""`` if a function returns the keys."""
        return "" if callable(self._key) else find_key(self._key)[0]

    @api_key.setter
    def api_key(self, key: ApiKey) -> None:
        if not callable(key):
            find_key(key)
        self._key = key
        self._bind()

    @property
    def timeout(self) -> Timeout:
        """The timeout as it was given."""
        return self._given.get("timeout", NOT_GIVEN)  # type: ignore[no-any-return] # as it was given

    @property
    def max_retries(self) -> int:
        """Attempts after the first."""
        retries = self._given.get("max_retries", NOT_GIVEN)
        return self._session.retry.max_retries if not is_given(retries) or retries is None else int(retries)

    @property
    def organization(self) -> str | None:
        """The organization as it was given."""
        return self._given.get("organization")

    @property
    def project(self) -> str | None:
        """The project as it was given."""
        return self._given.get("project")

    @property
    def default_headers(self) -> dict[str, str]:
        """Headers added to every request."""
        return dict(self._given["default_headers"])

    @property
    def default_query(self) -> dict[str, object]:
        """The query of every request."""
        return _pairs(self._given.get("default_query"))

    def is_closed(self) -> bool:
        """Whether the client was closed."""
        return self._session.closed

    def _changed(self, changes: dict[str, Any]) -> Self:
        given = {**self._given, "api_key": self._key}
        headers = changes.pop("set_default_headers", None)
        query = changes.pop("set_default_query", None)
        added = changes.pop("default_headers", None)
        given["default_headers"] = (
            merge_headers(given["default_headers"], checked_headers(added))
            if headers is None
            else checked_headers(headers)
        )
        added = changes.pop("default_query", None)
        given["default_query"] = (
            {**_pairs(given.get("default_query")), **_pairs(added)} if query is None else _pairs(query)
        )
        given.update({name: value for name, value in changes.items() if value is not None and is_given(value)})
        if changes.get("timeout", NOT_GIVEN) is None:
            given["timeout"] = None
        if changes.get("base_url") is not None or changes.get("api_key") is not None:
            return type(self)(**given)
        for name in ARGUMENTS & given.keys():
            raise ConfigurationError(where(f"{name}="))
        client = copy.copy(self)
        client._owner = self
        client._given = given
        client._bind()
        return client


_SETTINGS = frozenset(
    {
        "api_key",
        "base_url",
        "default_headers",
        "default_query",
        "max_retries",
        "organization",
        "project",
        "timeout",
    }
)


def _pairs(query: Any) -> dict[str, object]:
    """Return a query's names and values.

    Raises:
        ConfigurationError: It is not a mapping.
    """
    to_query("default_query", query)
    return dict(query) if query is not None and is_given(query) else {}


def _address(base_url: Any) -> Any:
    """Return an address as text. OpenAI's client also takes an ``httpx.URL``."""
    return str(base_url) if type(base_url).__name__ == "URL" else base_url


class AsyncOpenAI(Client):
    """A client with the names of OpenAI's client, for chat completions and the list of models.

    Use it with ``async with``, or end it with ``await client.close()``. A client that is never closed closes its connections
    when it is garbage-collected.

    Args:
        api_key: The CometAPI key, or a function that returns one for each request, or returns an awaitable of one; None takes the
            environment variable ``COMETAPI_KEY``, never ``OPENAI_API_KEY``.
        base_url: The address of the endpoint; None takes ``COMETAPI_BASE_URL``, then ``https://api.cometapi.com/v1``.
        timeout: Seconds that each wait may take: for a connection, for the first content, for the next content. Of an
            ``httpx.Timeout``, ``connect`` limits the first and ``read`` the others; ``write`` and ``pool`` are not used.
            ``Timeouts`` sets each clock, also ``total``. None turns all clocks off.
        max_retries: Attempts after the first; the default is two.
        default_headers: Headers added to every request.
        default_query: The query of every request.
        organization: Sent as ``OpenAI-Organization``.
        project: Sent as ``OpenAI-Project``.
        **left_out: Arguments of OpenAI's client that this one cannot use, such as ``http_client``: they must be None.
    Raises:
        ConfigurationError: There is no key, or an option cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        default_headers: Mapping[str, str] | None = None,
        default_query: Query = None,
        organization: str | None = None,
        project: str | None = None,
        **left_out: object,
    ) -> None:
        super().__init__(
            {
                "api_key": api_key,
                "base_url": base_url,
                "timeout": timeout,
                "max_retries": max_retries,
                "default_headers": default_headers,
                "default_query": default_query,
                "organization": organization,
                "project": project,
                **left_out,
            }
        )

    @property  # type: ignore[misc] # read, never set
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] # as above
        # Libraries that wrap OpenAI's client check for its class. What this client lacks raises an error when it is used.
        return openais_class("AsyncOpenAI") or AsyncOpenAI

    def _bind(self) -> None:
        super()._bind()
        self.chat = Chat(self._calls)
        self.beta = Beta(Chat(self._calls))  # its own, as wrappers wrap each
        self.models = Models(self._calls)
        self.completions = LeftOutCompletions()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pool and all open streams, also those of clients made with ``with_options``, which share the pool.

        Cancellation:
            The pool is closed all the same.
        """
        await self._session.aclose()

    def copy(
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        default_headers: Mapping[str, str] | None = None,
        set_default_headers: Mapping[str, str] | None = None,
        default_query: Query = None,
        set_default_query: Query = None,
        organization: str | None = None,
        project: str | None = None,
        **left_out: object,
    ) -> Self:
        """Return a client with some settings changed; ``default_headers`` and ``default_query`` are added to this client's.

        It shares this client's connections. With another ``api_key`` or ``base_url`` it has its own.
        """
        return self._changed(
            {
                "api_key": api_key,
                "base_url": base_url,
                "timeout": timeout,
                "max_retries": max_retries,
                "default_headers": default_headers,
                "set_default_headers": set_default_headers,
                "default_query": default_query,
                "set_default_query": set_default_query,
                "organization": organization,
                "project": project,
                **left_out,
            }
        )

    with_options = copy
