"""What may stand between requests and the network, such as record and replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cometstream.answer.typed_errors import ErrorContext
    from cometstream.transport.incoming import Incoming

__all__ = ["Interceptor", "Interceptors", "Outgoing"]


class Outgoing:
    """A request on its way.

    Attributes:
        method: ``"POST"`` or ``"GET"``.
        route: What follows the base URL, as ``/chat/completions``; of another address its path. With its query.
        body: The body as JSON; None for a GET.
        context: What must not be told of it, among other things.
    """

    __slots__ = ("body", "context", "method", "route")

    def __init__(self, method: str, route: str, body: bytes | None, context: ErrorContext) -> None:
        self.method = method
        self.route = route
        self.body = body
        self.context = context


class Interceptor(Protocol):
    """Stands between requests and the network: it sends each on, or answers it itself."""

    async def intercept(self, request: Outgoing, send: Callable[[], Awaitable[Incoming]]) -> Incoming:
        """Return the answer to a request, whatever its status.

        Args:
            request: The request.
            send: Sends it over the network.
        Raises:
            CometError: There is no answer; what ``send`` raises is one already.
        """
        ...


class Interceptors:
    """The interceptors that were added and not taken back.

    Attributes:
        latest: The one that counts; None where there is none.
    """

    __slots__ = ("_added", "latest")

    def __init__(self) -> None:
        self._added: dict[object, Interceptor] = {}
        self.latest: Interceptor | None = None

    def add(self, interceptor: Interceptor) -> Callable[[], None]:
        """Add one; return what takes it back, in whatever order.

        Raises:
            ConfigurationError: It is none.
        """
        if not callable(getattr(interceptor, "intercept", None)):
            raise ConfigurationError(
                f"an interceptor must have a method intercept(request, send); got {shown(interceptor)}"
            )
        added = object()
        self._added[added] = self.latest = interceptor

        def forget() -> None:
            self._added.pop(added, None)
            self.latest = next(reversed(self._added.values()), None)

        return forget
