"""What the calls of a client share: a session and settings, and OpenAI's options turned into the session's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from cometstream.config import checked_headers, merge_headers
from cometstream.errors import ConfigurationError
from cometstream.policy import NOT_GIVEN as _NOT_GIVEN
from cometstream.policy import NotGiven, Timeouts
from cometstream.request.describe import shown
from cometstream.request.params import ChatParams

if TYPE_CHECKING:
    from cometstream.request.params import MessageParam
    from cometstream.session import CometSession
    from cometstream.views.completion import ChatCompletionMessage

__all__ = ["NOT_GIVEN", "Calls", "CreateParams", "Omit", "Timeout", "not_given", "omit", "refuse", "to_timeouts"]

# Of type Any, so that they can stand for every parameter.
NOT_GIVEN: Any = _NOT_GIVEN
not_given: Any = _NOT_GIVEN
omit: Any = _NOT_GIVEN
Omit = NotGiven

_REFUSED: Final = {
    "http_client": "requests go through aiohttp; use CometSession(client=...) with your own aiohttp.ClientSession",
    "organization": "CometAPI has no organizations; leave it out",
    "project": "CometAPI has no projects; leave it out",
    "default_query": "the routes have no query; leave it out",
    "extra_query": "the routes have no query; leave it out",
}


class _PhaseTimeouts(Protocol):
    """An ``httpx.Timeout``, so that httpx need not be imported."""

    @property
    def connect(self) -> float | None: ...
    @property
    def read(self) -> float | None: ...


Timeout: TypeAlias = float | Timeouts | _PhaseTimeouts | NotGiven | None
"""What ``timeout=`` takes."""


class CreateParams(ChatParams, total=False):
    """The wire's parameters, and the options that OpenAI's client has for each call."""

    timeout: Timeout
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, object] | None
    extra_body: Mapping[str, Any] | None


@dataclass(frozen=True)
class Calls:
    """What the calls of one client share: a session, which other clients may use too, and the settings of each call."""

    session: CometSession
    timeouts: Timeouts | NotGiven | None
    retry: int | NotGiven
    headers: Mapping[str, str]

    def request(
        self, model: str, messages: Sequence[MessageParam | ChatCompletionMessage], params: CreateParams
    ) -> dict[str, Any]:
        """Return the keyword arguments of the session's call."""
        given: dict[str, Any] = {name: value for name, value in params.items() if not isinstance(value, NotGiven)}
        refuse(extra_query=given.pop("extra_query", None))
        timeouts = to_timeouts(given.pop("timeout")) if "timeout" in given else self.timeouts
        headers = merge_headers(self.headers, checked_headers(given.pop("extra_headers", None)))
        return {
            "model": model,
            "messages": messages,
            "timeouts": timeouts,
            "retry": self.retry,
            "headers": headers,
            **given,
        }


def refuse(**options: object) -> None:
    """Raise ``ConfigurationError`` for an option of OpenAI's client that cannot work here, if it is given."""
    for name, value in options.items():
        if value is not None and not isinstance(value, NotGiven):
            raise ConfigurationError(f"{name} cannot be used: {_REFUSED[name]}")


def to_timeouts(timeout: Timeout) -> Timeouts | NotGiven | None:
    """Return the session's ``timeouts`` for OpenAI's ``timeout``: its limit on each wait becomes the limit of each clock."""
    if timeout is None or isinstance(timeout, (NotGiven, Timeouts)):
        return timeout
    if isinstance(timeout, (int, float)):
        return Timeouts(connect=timeout, first_content=timeout, content_idle=timeout)
    try:
        return Timeouts(connect=timeout.connect, first_content=timeout.read, content_idle=timeout.read)
    except AttributeError:
        raise ConfigurationError(
            f"timeout must be seconds, an httpx.Timeout, Timeouts or None (no limits); got {shown(timeout)}"
        ) from None
