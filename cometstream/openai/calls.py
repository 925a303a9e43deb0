"""What the calls of a client have in common: a session and settings, and OpenAI's options turned into the session's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from cometstream.errors import ConfigurationError
from cometstream.policy import NOT_GIVEN as _NOT_GIVEN
from cometstream.policy import NotGiven, Timeouts
from cometstream.request.params import ChatParams
from cometstream.views.view import View

if TYPE_CHECKING:
    from cometstream.request.params import MessageParam
    from cometstream.session import CometSession
    from cometstream.views.completion import ChatCompletionMessage

__all__ = ["NOT_GIVEN", "Calls", "CreateParams", "Omit", "Timeout", "not_given", "omit", "refuse", "to_timeouts"]

# Of type Any, so that they stand for every parameter.
NOT_GIVEN: Any = _NOT_GIVEN
not_given: Any = _NOT_GIVEN
omit: Any = _NOT_GIVEN
Omit = NotGiven

_REFUSED: Final = {
    "http_client": "requests go through aiohttp; write CometSession(client=...) to bring your own aiohttp.ClientSession",
    "organization": "CometAPI has no organizations; leave it out",
    "project": "CometAPI has no projects; leave it out",
    "default_query": "the routes take no query; leave it out",
    "extra_query": "the routes take no query; leave it out",
}


class _PhaseTimeouts(Protocol):
    """An ``httpx.Timeout``, without its import."""

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
    """What the calls of one client have in common: a session, which others may share, and settings for each call."""

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
        headers = {**self.headers, **(given.pop("extra_headers", None) or {})}
        return {
            "model": model,
            "messages": _plain(messages),
            "timeouts": timeouts,
            "retry": self.retry,
            "headers": headers,
            **given,
        }


def refuse(**options: object) -> None:
    """Raise ``ConfigurationError`` for an option of OpenAI's that has no counterpart, if it is given."""
    for name, value in options.items():
        if value is not None and not isinstance(value, NotGiven):
            raise ConfigurationError(f"{name} is refused: {_REFUSED[name]}")


def to_timeouts(timeout: Timeout) -> Timeouts | NotGiven | None:
    """Return the session's ``timeouts`` that OpenAI's ``timeout`` stands for: its limit on each wait, for each clock on a wait."""
    if timeout is None or isinstance(timeout, (NotGiven, Timeouts)):
        return timeout
    if isinstance(timeout, (int, float)):
        return Timeouts(connect=timeout, first_content=timeout, content_idle=timeout)
    try:
        return Timeouts(connect=timeout.connect, first_content=timeout.read, content_idle=timeout.read)
    except AttributeError:
        raise ConfigurationError(
            f"timeout: {timeout!r} is none; use seconds, an httpx.Timeout, Timeouts, or None for no clocks"
        ) from None


def _plain(value: Any) -> Any:
    """Return messages with the views in them, such as an answer's message or its tool calls, as dicts."""
    if isinstance(value, View):
        return value.to_dict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
