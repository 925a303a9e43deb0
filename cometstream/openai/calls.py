"""What the calls of a client share: a session and settings, and OpenAI's options turned into the session's."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypedDict
from urllib.parse import urlencode

from cometstream.config import checked_headers, find_key, merge_headers
from cometstream.errors import ConfigurationError
from cometstream.policy import NOT_GIVEN as _NOT_GIVEN
from cometstream.policy import NotGiven, Timeouts
from cometstream.request.describe import shown
from cometstream.request.params import ChatParams, OtherChatParams

if TYPE_CHECKING:
    from cometstream.request.params import Message
    from cometstream.session import CometSession

__all__ = [
    "NOT_GIVEN",
    "ApiKey",
    "Calls",
    "CreateParams",
    "Omit",
    "ParseParams",
    "Query",
    "Timeout",
    "is_given",
    "not_given",
    "omit",
    "to_query",
    "to_timeouts",
]

# Of type Any, so that they can stand for every parameter.
NOT_GIVEN: Any = _NOT_GIVEN
not_given: Any = _NOT_GIVEN
omit: Any = _NOT_GIVEN
Omit = NotGiven

ApiKey: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that returns one for each request, for keys that expire."""

Query: TypeAlias = Mapping[str, object] | NotGiven | None

# A session needs a key. Where a function returns the keys, each request has its own.
_BY_A_FUNCTION: Final = "given-by-a-function"


class _PhaseTimeouts(Protocol):
    """An ``httpx.Timeout``, so that httpx need not be imported."""

    @property
    def connect(self) -> float | None: ...
    @property
    def read(self) -> float | None: ...


Timeout: TypeAlias = float | Timeouts | _PhaseTimeouts | NotGiven | None
"""What ``timeout=`` takes."""


class _Options(TypedDict, total=False):
    timeout: Timeout
    extra_headers: Mapping[str, str] | None
    extra_query: Query
    extra_body: Mapping[str, Any] | None


class CreateParams(ChatParams, _Options, total=False):
    """The wire's parameters, and the options that OpenAI's client has for each call."""


class ParseParams(OtherChatParams, _Options, total=False):
    """The same without ``response_format``, which is a type where answers are parsed."""


@dataclass(frozen=True)
class Calls:
    """What the calls of one client share: a session, which other clients may use too, and the settings of each call."""

    session: CometSession
    timeouts: Timeouts | NotGiven | None
    retry: int | NotGiven
    headers: Mapping[str, str]
    query: str = ""
    key: ApiKey | None = None

    async def with_key(self) -> Calls:
        """Return these calls with the key of the next request, if a function returns the keys."""
        if self.key is None or isinstance(self.key, str):
            return self
        try:
            key = self.key()
            if inspect.isawaitable(key):
                key = await key
        except Exception as error:
            raise ConfigurationError(
                f"the function given as api_key= raised {type(error).__name__}: {error}"
            ) from error
        return self._keyed(key)

    def _keyed(self, key: Any) -> Calls:
        checked, _ = find_key(key if isinstance(key, str) else "")
        return replace(self, headers=merge_headers(self.headers, {"Authorization": f"Bearer {checked}"}))

    @staticmethod
    def session_key(key: ApiKey | None) -> str | None:
        """Return the key that the session is made with."""
        return _BY_A_FUNCTION if callable(key) else key

    def request(self, model: str, messages: Sequence[Message], params: CreateParams | ParseParams) -> dict[str, Any]:
        """Return the keyword arguments of the session's call."""
        given: dict[str, Any] = {name: value for name, value in params.items() if is_given(value)}
        timeouts = to_timeouts(given.pop("timeout")) if "timeout" in given else self.timeouts
        return {
            "model": model,
            "messages": messages,
            "timeouts": timeouts,
            "retry": self.retry,
            "headers": self.headers_with(given.pop("extra_headers", None)),
            "query": self.query_with(given.pop("extra_query", None)),
            **given,
        }

    def headers_with(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        """Return the headers of one call."""
        key = {"Authorization": f"Bearer {self.key}"} if isinstance(self.key, str) else {}
        return merge_headers(key, self.headers, checked_headers(extra))

    def query_with(self, extra: Query) -> str:
        """Return the query of one call."""
        return "&".join(filter(None, (self.query, to_query("extra_query", extra))))


def is_given(value: object) -> bool:
    """Whether a value is given: it is neither our sentinel nor one of OpenAI's."""
    if isinstance(value, NotGiven):
        return False
    kind = type(value)
    return not (kind.__name__ in ("NotGiven", "Omit") and kind.__module__.partition(".")[0] == "openai")


def to_query(name: str, query: Query) -> str:
    """Return a query as it is written in a URL. A list becomes a pair for each item.

    Raises:
        ConfigurationError: It is not a mapping.
    """
    if query is None or not is_given(query):
        return ""
    if not isinstance(query, Mapping):
        raise ConfigurationError(f"{name} must be a mapping of names to values; got {shown(query)}")
    try:
        plain = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
        return urlencode(plain, doseq=True)
    except Exception as error:  # of a mapping or value of the caller's own
        raise ConfigurationError(f"{name} cannot be written in a URL ({type(error).__name__})") from error


def to_timeouts(timeout: Timeout) -> Timeouts | NotGiven | None:
    """Return the session's ``timeouts`` for OpenAI's ``timeout``: its limit on each wait becomes the limit of each clock."""
    if timeout is None or isinstance(timeout, Timeouts):
        return timeout
    if not is_given(timeout):
        return _NOT_GIVEN
    if isinstance(timeout, (int, float)):
        return Timeouts(connect=timeout, first_content=timeout, content_idle=timeout)
    phases: Any = timeout
    try:
        return Timeouts(connect=phases.connect, first_content=phases.read, content_idle=phases.read)
    except AttributeError:
        raise ConfigurationError(
            f"timeout must be seconds, an httpx.Timeout, Timeouts or None (no limits); got {shown(timeout)}"
        ) from None
