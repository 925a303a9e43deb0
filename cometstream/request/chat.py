"""A chat completion's arguments to its checked, encoded body; and the same body for another model, or without an addition."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cometstream.errors import APIStatusError, CometError, ConfigurationError, InvalidRequestError, StreamServerError
from cometstream.request.checks import check_request
from cometstream.request.describe import kind, shown
from cometstream.request.encode import encode_body, is_json_list, opened
from cometstream.request.providers import warn_parameters

__all__ = [
    "ChatRequest",
    "chat_request",
    "check_defaults",
    "checked_fallbacks",
    "encoded_request",
]

# What an assistant message may have in place of its content. A message that has none of them gets the empty text: providers
# refuse a content that is null.
_IN_PLACE_OF_CONTENT: Final = ("tool_calls", "function_call", "audio", "refusal")

# Compiled when it is first needed, which is seldom.
_ADDED: Final = r"(?i)stream_?options|include_?usage"

# Stands in for the parts of a request that each row of a batch has of its own.
_ROW: Final[Mapping[str, Any]] = {"model": "any", "messages": [{"role": "user", "content": "any"}]}


class ChatRequest:
    """One request, checked and encoded.

    Args:
        body: The whole body, ready to be encoded. It is kept, not copied, until `let_go` is called.
        added_options: Whether ``stream_options`` is the library's own addition.
        payload: The body as JSON, where it is encoded already.
        usage_asked: Whether the caller asked for the usage; else only the library did, for its own accounts.

    Attributes:
        payload: The body as JSON.
        usage_asked: As given.
        streamed: Whether it asks for an event stream.
        model: The model that is asked, as it was given.
        choices: The number of choices that the request asks for: ``n``.

    Raises:
        InvalidRequestError: The body holds what JSON cannot.
    """

    __slots__ = ("_added_options", "_body", "choices", "model", "payload", "streamed", "usage_asked")

    def __init__(
        self,
        body: dict[str, Any],
        *,
        added_options: bool = False,
        payload: bytes | None = None,
        usage_asked: bool = True,
    ) -> None:
        self._body: Mapping[str, Any] | None = body
        self.usage_asked = usage_asked
        self._added_options = added_options
        # orjson returns bytes in the buffer that it wrote to, which is much larger: copy them.
        self.payload = bytes(memoryview(encode_body(body))) if payload is None else payload
        self.streamed = body.get("stream") is True
        self.model: Any = body.get("model")
        n = body.get("n")
        self.choices = n if isinstance(n, int) and n > 1 else 1

    @property
    def params(self) -> Mapping[str, Any]:
        """The body: as it was given, or as its JSON says it."""
        params: Mapping[str, Any] = json.loads(self.payload) if self._body is None else self._body
        return params

    def let_go(self) -> None:
        """Keep the JSON alone: many requests may be under way, and few are sent again with another body."""
        self._body = None

    def with_model(self, model: str) -> ChatRequest:
        """Return the same request to another model."""
        body = {**self.params, "model": model}
        return ChatRequest(body, added_options=self._added_options, usage_asked=self.usage_asked)

    def without_addition(self, error: CometError) -> ChatRequest | None:
        """Return the request without the ``stream_options`` that the library added, where a server's error names them.

        Servers that do not know them refuse with any 4xx or 5xx, or with an error in a 200.
        """
        if not self._added_options or not _names_addition(error):
            return None
        return ChatRequest({key: value for key, value in self.params.items() if key != "stream_options"})


def chat_request(
    params: Mapping[str, Any],
    *,
    extra_body: Mapping[str, Any] | None = None,
    validate: bool = True,
    stacklevel: int = 1,
    problems: Sequence[str] = (),
) -> ChatRequest:
    """Return the request for a call's arguments.

    Args:
        params: The parameters by their names on the wire; those that are None are left out.
        extra_body: A provider's own parameters. They are not checked, and replace others of the same name.
        validate: Check the parameters against the specification, and warn of those that the model's provider does not take.
        stacklevel: Where those warnings point to, as in `warnings.warn`: 1 is the line that calls this function.
        problems: What else is wrong with the parameters, to be told together with what is found here.

    Raises:
        InvalidRequestError: The request does not match the specification, or cannot be written as JSON.
    """
    if extra_body is not None and not isinstance(extra_body, Mapping):
        raise InvalidRequestError([f"extra_body: is {kind(extra_body)}; it must be an object"])
    try:
        return _request(params, extra_body, validate, stacklevel + 2, problems)
    except (CometError, Warning):  # a warning: the caller's filters make an error of it
        raise
    except Exception as error:  # raised by a mapping or sequence of the caller's own while it was read
        raise InvalidRequestError([f"request: cannot be read ({shown(error)})"]) from error


def encoded_request(payload: bytes) -> ChatRequest:
    """Return the request for a body that another client wrote: it is sent as it is, and not checked.

    Raises:
        InvalidRequestError: It is not a JSON object.
    """
    if not isinstance(payload, bytes):
        raise InvalidRequestError([f"body: is {kind(payload)}; it must be the bytes of a JSON object"])
    try:
        body = json.loads(payload)  # not orjson, which refuses NaN and long numbers: that is the server's to do
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError([f"body: is not JSON ({error})"]) from None
    if not isinstance(body, dict):
        raise InvalidRequestError([f"body: is {kind(body)}; it must be a JSON object"])
    return ChatRequest(body, payload=payload)


def check_defaults(
    defaults: Mapping[str, Any], *, validate: bool = True, stacklevel: int = 1, problems: Sequence[str] = ()
) -> None:
    """Check the parameters that the rows of a batch share, without ``model`` and ``messages`` if need be.

    Args:
        defaults: Parameters by their names on the wire, and ``extra_body``.
        validate: As `chat_request`.
        stacklevel: As `chat_request`.
        problems: As `chat_request`.

    Raises:
        InvalidRequestError: Each row with these parameters would be refused.
    """
    params = {**_ROW, "stream": True, **defaults}
    chat_request(
        params,
        extra_body=params.pop("extra_body", None),
        validate=validate,
        stacklevel=stacklevel + 1,
        problems=problems,
    )


def checked_fallbacks(fallback_models: object) -> tuple[str, ...]:
    """Return a call's ``fallback_models``.

    Raises:
        ConfigurationError: They are not a list of model ids.
    """
    if type(fallback_models) is tuple and not fallback_models:
        return ()
    try:
        names = tuple(fallback_models) if is_json_list(fallback_models) else None
    except Exception:  # of a sequence of the caller's own
        names = None
    if names is None or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"fallback_models must be a list of model ids; got {shown(fallback_models)}")
    return names


def _request(
    params: Mapping[str, Any],
    extra_body: Mapping[str, Any] | None,
    validate: bool,
    stacklevel: int,
    problems: Sequence[str],
) -> ChatRequest:
    body = {name: value for name, value in params.items() if value is not None or name in ("model", "messages")}
    messages = body.get("messages")
    if is_json_list(messages):
        body["messages"] = [
            # Nearly all are dicts with content; a long conversation has thousands of them.
            message if type(message) is dict and message.get("content") is not None else _message(message)
            for message in messages
        ]
    if validate:
        check_request(body, problems)
        warn_parameters(body, stacklevel=stacklevel)
    added, usage_asked = False, True
    if body.get("stream") is True:
        # Gateways report usage only where it is asked for, and billing needs it.
        options = body.get("stream_options", {})
        if isinstance(options, (dict, Mapping)):
            body["stream_options"] = {"include_usage": True, **options}
            overridden = extra_body is not None and "stream_options" in extra_body
            added, usage_asked = not options and not overridden, "include_usage" in options or overridden
    if extra_body is not None:
        body.update(extra_body)
    return ChatRequest(body, added_options=added, usage_asked=usage_asked)


def _message(message: Any) -> Any:
    """Return a message as it is sent: a view as its dict, and an answer without content with an empty one."""
    message = opened(message)
    if (
        isinstance(message, Mapping)
        and message.get("content") is None
        and message.get("role") == "assistant"
        and not any(map(message.get, _IN_PLACE_OF_CONTENT))
    ):
        return {**message, "content": ""}
    return message


def _names_addition(error: CometError) -> bool:
    """Whether a server's error says that it does not take what was added: in its message, or in any text of its body."""
    if not isinstance(error, (APIStatusError, StreamServerError)) or (error.status or 400) < 400:
        return False
    left: list[Any] = [error.message, error.param, error.body]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item
        elif isinstance(item, str) and re.search(_ADDED, item) is not None:
            return True
    return False
