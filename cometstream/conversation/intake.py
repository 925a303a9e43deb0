"""What a caller gives as a message, as a request sends it: checked, and copied into plain JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from cometstream.conversation.units import Message
from cometstream.errors import InvalidRequestError
from cometstream.request.chat import chat_request
from cometstream.request.describe import kind, shown
from cometstream.request.encode import is_json_list
from cometstream.views.completion import ChatCompletion

if TYPE_CHECKING:
    from typing import TypeAlias

    from cometstream.request.params import ContentPartParam, MessageParam
    from cometstream.views.completion import ChatCompletionMessage

    Addition: TypeAlias = str | Sequence[str | ContentPartParam] | MessageParam | ChatCompletionMessage | ChatCompletion

__all__ = ["checked", "copied", "listed"]


def checked(messages: Iterable[Any]) -> list[Message]:
    """Return messages as a request sends them.

    Raises:
        InvalidRequestError: A request with them would be refused.
    """
    sendable = [_message(message) for message in messages]
    if not sendable:
        return []
    sent: list[Message] = orjson.loads(chat_request({"model": "any", "messages": sendable}).payload)["messages"]
    return sent


def listed(messages: object) -> list[Any]:
    """Return the items of a list of messages.

    Raises:
        InvalidRequestError: It is none, or cannot be read.
    """
    if not isinstance(messages, Iterable) or isinstance(messages, (str, bytes, bytearray, memoryview, dict)):
        raise InvalidRequestError([f"messages: is {kind(messages)}; it must be a list of messages"])
    try:
        return list(messages)
    except Exception as error:  # of an iterable of the caller's own
        raise InvalidRequestError([f"messages: cannot be read ({shown(error)})"]) from error


def copied(value: Any) -> Any:
    """Return a copy of a JSON value that shares nothing that can change."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def _message(message: Any) -> Any:
    if isinstance(message, str):
        return {"role": "user", "content": message}
    if isinstance(message, ChatCompletion):
        if message.message is None:
            raise InvalidRequestError(["messages: is a completion without a choice; it has no message"])
        return message.message
    try:
        if is_json_list(message):
            parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in message]
            return {"role": "user", "content": parts}
    except Exception as error:  # of a sequence of the caller's own
        raise InvalidRequestError([f"messages: cannot be read ({shown(error)})"]) from error
    return message
