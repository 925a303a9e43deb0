"""``AsyncOpenAI``: a client with the constructor of OpenAI's, over a session."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from cometstream.config import checked_headers, merge_headers
from cometstream.openai.calls import NOT_GIVEN, Calls, Timeout, refuse, to_timeouts
from cometstream.openai.chat import Chat
from cometstream.openai.models import Models
from cometstream.policy import NotGiven
from cometstream.session import CometSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

__all__ = ["AsyncOpenAI"]


class AsyncOpenAI:
    """A client with the names of OpenAI's client, for chat completions and the list of models.

    Use it with ``async with``, or end it with ``await client.close()``.

    Args:
        api_key: The CometAPI key; None takes the environment variable ``COMETAPI_KEY``, never ``OPENAI_API_KEY``.
        base_url: The address of the endpoint; None takes ``COMETAPI_BASE_URL``, then ``https://api.cometapi.com/v1``.
        timeout: Seconds that each wait may take: for a connection, for the first content, for the next content. Of an
            ``httpx.Timeout`` its ``connect`` limits the first, its ``read`` the others; its ``write`` and ``pool`` are not used.
            ``Timeouts`` sets each clock, also ``total``. None turns all clocks off.
        max_retries: Attempts after the first; the default is two.
        default_headers: Headers added to every request.
        http_client: Must be None, like ``organization``, ``project`` and ``default_query``.
    Raises:
        ConfigurationError: There is no key, or an option cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        default_headers: Mapping[str, str] | None = None,
        http_client: object = None,
        organization: object = None,
        project: object = None,
        default_query: object = None,
    ) -> None:
        refuse(http_client=http_client, organization=organization, project=project, default_query=default_query)
        self._given: dict[str, Any] = {
            "api_key": api_key,
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "default_headers": checked_headers(default_headers),
        }
        self._session = CometSession(
            api_key=api_key,
            base_url=base_url,
            timeouts=to_timeouts(timeout),
            retry=max_retries,
            headers=default_headers,
        )
        self._bind()

    def _bind(self) -> None:
        given = self._given
        calls = Calls(self._session, to_timeouts(given["timeout"]), given["max_retries"], given["default_headers"])
        self.chat = Chat(calls)
        self.models = Models(calls)

    def __repr__(self) -> str:
        return f"<AsyncOpenAI {self.base_url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def base_url(self) -> str:
        """The address of the endpoint."""
        return self._session.base_url

    async def close(self) -> None:
        """Close the pool and all open streams, also those of clients made with ``with_options``: they share the pool.

        Cancellation:
            The pool is closed all the same.
        """
        await self._session.aclose()

    def copy(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        default_headers: Mapping[str, str] | None = None,
        http_client: object = None,
    ) -> AsyncOpenAI:
        """Return a client with some settings changed; ``default_headers`` are added to this client's.

        It shares this client's connections. With another ``api_key`` or ``base_url`` it has its own: close it, too.
        """
        refuse(http_client=http_client)
        changes = {"api_key": api_key, "base_url": base_url}
        given = {**self._given, **{name: value for name, value in changes.items() if value is not None}}
        given["default_headers"] = merge_headers(given["default_headers"], checked_headers(default_headers))
        if not isinstance(timeout, NotGiven):
            given["timeout"] = timeout
        if not isinstance(max_retries, NotGiven):
            given["max_retries"] = max_retries
        if api_key is not None or base_url is not None:
            return AsyncOpenAI(**given)
        client = copy.copy(self)
        client._given = given
        client._bind()
        return client

    with_options = copy
