"""``client.models``: the models that the endpoint serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cometstream.config import checked_headers, merge_headers
from cometstream.openai.calls import NOT_GIVEN, Calls, Timeout, refuse, to_timeouts
from cometstream.policy import NotGiven

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence

    from cometstream.views.models import Model

__all__ = ["AsyncPage", "AsyncPaginator", "Models"]


class Models:
    """``client.models``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self,
        *,
        timeout: Timeout = NOT_GIVEN,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: object = None,
    ) -> AsyncPaginator:
        """Return the models that the endpoint serves: ``await`` the list, or iterate it with ``async for``.

        Args:
            timeout: As the client's, for this call.
            extra_headers: Headers added for this call.
            extra_query: Must be None.
        """
        refuse(extra_query=extra_query)
        calls = self._calls
        timeouts = calls.timeouts if isinstance(timeout, NotGiven) else to_timeouts(timeout)
        headers = merge_headers(calls.headers, checked_headers(extra_headers))
        return AsyncPaginator(lambda: calls.session.models(timeouts=timeouts, retry=calls.retry, headers=headers))


class AsyncPaginator:
    """The list of models, not fetched yet: ``await`` it for the page, or iterate its models.

    Args:
        fetch: Fetches it.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[Model]]]) -> None:
        self._fetch = fetch

    def __await__(self) -> Generator[Any, None, AsyncPage]:
        return self._page().__await__()

    async def __aiter__(self) -> AsyncIterator[Model]:
        for model in (await self).data:
            yield model

    async def _page(self) -> AsyncPage:
        return AsyncPage(list(await self._fetch()))


@dataclass(frozen=True)
class AsyncPage:
    """The list of models.

    Attributes:
        data: The models.
        object: ``"list"``.
    """

    data: list[Model]
    object: str = "list"

    async def __aiter__(self) -> AsyncIterator[Model]:
        for model in self.data:
            yield model
