"""``client.models``: the models that the endpoint serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cometstream.errors import NotFoundError
from cometstream.openai.calls import NOT_GIVEN, to_timeouts
from cometstream.openai.errors import translated
from cometstream.openai.left_out import missing
from cometstream.policy import NotGiven
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence

    from cometstream.openai.calls import Calls, Query, Timeout
    from cometstream.views.models import Model

__all__ = ["AsyncPage", "AsyncPaginator", "Models"]


class Models:
    """``client.models``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._url = f"{calls.session.base_url}/models"

    def __getattr__(self, name: str) -> Any:
        raise missing("client.models", name)

    def list(
        self,
        *,
        timeout: Timeout = NOT_GIVEN,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Query = None,
    ) -> AsyncPaginator:
        """Return the models that the endpoint serves: ``await`` the list, or iterate it with ``async for``.

        Args:
            timeout: As the client's, for this call.
            extra_headers: Headers added for this call.
            extra_query: Added to the URL.
        """
        calls = self._calls
        options: dict[str, Any] = {
            "timeouts": calls.timeouts if isinstance(timeout, NotGiven) else to_timeouts(timeout),
            "retry": calls.retry,
            "query": calls.query_with(extra_query),
        }
        calls.headers_with(extra_headers)  # headers that cannot be sent are refused at once

        async def fetch() -> Sequence[Model]:
            with translated(self._url, "GET"):
                keyed = await calls.with_key()
                return await keyed.session.models(headers=keyed.headers_with(extra_headers), **options)

        return AsyncPaginator(fetch)

    async def retrieve(
        self,
        model: str,
        *,
        timeout: Timeout = NOT_GIVEN,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Query = None,
    ) -> Model:
        """Return one model of the list by its id.

        Args:
            model: Its id.
            timeout: As ``list``.
            extra_headers: As ``list``.
            extra_query: As ``list``.
        Raises:
            NotFoundError: The endpoint does not serve it.
        Cancellation:
            Safe at any point.
        """
        page = await self.list(timeout=timeout, extra_headers=extra_headers, extra_query=extra_query)
        found = next((each for each in page.data if each.id == model), None)
        if found is None:
            with translated(f"{self._url}/{model}", "GET"):
                raise NotFoundError(
                    f"404: {self._url} does not list {shown(model)}", status=404, code="model_not_found", param="model"
                )
        return found


class AsyncPaginator:
    """The list of models, not fetched yet. ``await`` it for the page, or iterate its models.

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
    """The list of models, which is one page.

    Attributes:
        data: The models.
        object: ``"list"``.
    """

    data: list[Model]
    object: str = "list"

    async def __aiter__(self) -> AsyncIterator[Model]:
        for model in self.data:
            yield model

    def has_next_page(self) -> bool:
        """Return False: the list is one page."""
        return False

    def next_page_info(self) -> None:
        """Return None: the list is one page."""

    async def get_next_page(self) -> AsyncPage:
        """Raise ``RuntimeError``, as OpenAI's client does where there is no next page."""
        raise RuntimeError("there is no next page: the list of models is one page")

    async def iter_pages(self) -> AsyncIterator[AsyncPage]:
        """Iterate the pages: this one."""
        yield self
