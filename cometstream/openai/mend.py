"""Chunks and completions as other clients expect them: what a gateway bends is bent back, all else keeps the server's own bytes.

OpenAI's client and the frameworks above it add tool-call fragments up by ``index`` alone and join what repeats. So each call gets
an index of its own, its id and name once, and its arguments once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.answer.sse import Comment, Event, encode_event
from cometstream.answer.tool_calls import ToolCallFold
from cometstream.views.arguments import arguments_text, said_once
from cometstream.views.chunks import ChatCompletionChunk, delta_of, finish_reason_of, index_of
from cometstream.views.content import reasoning_field, split_parts
from cometstream.views.view import dict_or_empty, list_of_dicts

if TYPE_CHECKING:
    from cometstream.answer.tool_calls import ToolCallState

__all__ = ["ChunkMender", "event_bytes", "mended_completion"]

# Empty objects in the place of arguments, as Claude's routes write them when a call begins.
_PLACEHOLDER: Final = re.compile(r"\s*(?:\{\s*\}\s*)+")


def event_bytes(event: Event | Comment, _chunk: ChatCompletionChunk | None = None) -> bytes:
    """Return an event or comment as it is sent on, its data as it came."""
    if isinstance(event, Comment):
        return b":" + event.text + b"\n\n"
    data = event.data
    if type(event) is Event and b"\n" not in data and b"\r" not in data:
        return b"data: " + data + b"\n\n"
    return encode_event(data, event=event.event, id=event.id)


class ChunkMender:
    """Gives the SSE bytes of each chunk of one stream, in the documented shape.

    Args:
        model: The model that was asked for; stands in chunks that do not say which one answers.
    """

    def __init__(self, model: str) -> None:
        self._top: dict[str, Any] = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": model}
        self._calls: dict[int, _ChoiceCalls] = {}
        self._bent = False

    def write(self, event: Event | Comment, chunk: ChatCompletionChunk | None) -> bytes:
        """Return the bytes of the next chunk: the server's own where nothing is to be mended."""
        if chunk is None:
            return event_bytes(event)
        # A chunk of another class repeats one before in all but its text (or arguments): nothing new can be bent in it.
        if type(chunk) is not ChatCompletionChunk and not self._bent and chunk.choices[0].delta.tool_calls is None:
            return event_bytes(event)
        raw = chunk.raw
        is_plain = self._is_plain(raw)
        if not is_plain or not self._top["id"]:
            self._top.update((key, raw[key]) for key in self._top if raw.get(key))
        if is_plain:
            return event_bytes(event)
        mended = {**raw, **{key: value for key, value in self._top.items() if not raw.get(key)}}
        mended["choices"] = [self._choice(choice) for choice in list_of_dicts(raw.get("choices"))]
        if mended == raw:
            return event_bytes(event)
        self._bent = True
        return encode_event(orjson.dumps(mended))

    def _is_plain(self, raw: dict[str, Any]) -> bool:
        """Whether a chunk brings text in the documented shape and nothing else, as nearly all do."""
        choices = raw.get("choices")
        if type(choices) is not list or not all(map(raw.get, self._top)):
            return False
        for choice in choices:
            if type(choice) is not dict or type(choice.get("index")) is not int:
                return False
            delta = choice.get("delta")
            if type(delta) is not dict or "tool_calls" in delta or isinstance(delta.get("content"), list):
                return False
            if choice.get("finish_reason") is not None or "finishReason" in choice:
                return False
        return True

    def _choice(self, raw: dict[str, Any]) -> dict[str, Any]:
        choice = {**raw, "index": index_of(raw), "delta": _delta(delta_of(raw))}
        reason = finish_reason_of(raw)
        if raw.get("finish_reason") != reason:
            choice["finish_reason"] = reason
        for key in ("finishReason", "message"):
            choice.pop(key, None)
        fragments = choice["delta"].get("tool_calls")
        calls = self._calls.get(choice["index"])
        if fragments is not None:
            if calls is None:
                calls = self._calls[choice["index"]] = _ChoiceCalls(f"call_{self._top['id']}_{choice['index']}")
            choice["delta"]["tool_calls"] = [calls.add(fragment) for fragment in list_of_dicts(fragments)]
        if reason is None:
            return choice
        rest = [] if calls is None else calls.rest()
        if rest:
            choice["delta"]["tool_calls"] = [*choice["delta"].get("tool_calls", ()), *rest]
        if reason == "tool_calls" and (calls is None or not calls.sent) and not choice["delta"].get("function_call"):
            choice["finish_reason"] = "stop"
        return choice


class _ChoiceCalls:
    """The calls of one choice, and what was sent of each.

    Args:
        prefix: How the ids begin that stand in where the server gives none.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._fold = ToolCallFold()
        self.sent: list[_SentCall] = []

    def add(self, fragment: dict[str, Any]) -> dict[str, Any]:
        """Return a fragment as other clients can add it up."""
        self._fold.add(fragment, _ignore)
        call = self._fold.last
        assert call is not None  # the fragment went to it
        if call.place == len(self.sent):
            self.sent.append(_SentCall(call))
        return self.sent[call.place].add(fragment)

    def rest(self) -> list[dict[str, Any]]:
        """Return fragments with what was not sent yet; the choice has ended."""
        rests = [sent.rest(f"{self._prefix}_{place}") for place, sent in enumerate(self.sent)]
        return [rest for rest in rests if rest is not None]


class _SentCall:
    """One call, and what was sent of it."""

    def __init__(self, call: ToolCallState) -> None:
        self._call = call
        self._is_new = True
        self._has_id = False
        self._names = 0
        self._seen = 0  # pieces of the arguments that were looked at
        self._sent: list[str] = []
        self._is_whole = False  # what was sent is a whole object: more is a repetition as a rule, and is kept back

    def add(self, fragment: dict[str, Any]) -> dict[str, Any]:
        call = self._call
        mended = {**fragment, "index": call.place}
        if self._has_id and mended.get("id"):
            del mended["id"]
        elif call.id is not None and not self._has_id:
            mended["id"] = call.id
            self._has_id = True
        if self._is_new:
            self._is_new = False
            mended["type"] = call.type or "function"
        function = fragment.get("function")
        if isinstance(function, dict):
            function = mended["function"] = dict(function)
            if function.get("name") and len(call.names) == self._names:
                del function["name"]
            if function.get("arguments") is not None:
                function["arguments"] = self._arguments()
        self._names = len(call.names)
        return mended

    def _arguments(self) -> str:
        call = self._call
        text = "".join(call.arguments[self._seen :])
        self._seen = len(call.arguments)
        # Empty objects that begin the arguments may be all of them, or stand before them.
        if (self._is_whole and text.strip()) or (not self._sent and _PLACEHOLDER.fullmatch(text)):
            return ""
        if text:
            self._sent.append(text)
        self._is_whole = self._is_whole or (bool(self._sent) and call.has_arguments() and call.is_whole())
        return text

    def rest(self, generated_id: str) -> dict[str, Any] | None:
        rest: dict[str, Any] = {}
        if not self._has_id:
            self._has_id = True
            rest["id"] = generated_id
        sent, whole = "".join(self._sent), self._call.said_once()[0]
        if whole.startswith(sent) and len(whole) > len(sent) and self._call.type != "custom":
            self._sent = [whole]
            rest["function"] = {"arguments": whole[len(sent) :]}
        return {"index": self._call.place, **rest} if rest else None


def _ignore(_kind: str) -> None:
    """The session's own accumulator counts what was normalised."""


def _delta(raw: Any) -> dict[str, Any]:
    """Return a delta, or message, whose content is a text."""
    message = dict(dict_or_empty(raw))
    content = message.get("content")
    if isinstance(content, list):
        message["content"], reasoning = split_parts(content)
        if reasoning and reasoning_field(message) is None:
            message["reasoning_content"] = reasoning
    if not isinstance(message.get("tool_calls", []), list):
        del message["tool_calls"]
    return message


def mended_completion(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a whole completion in the documented shape; equal to ``raw`` where nothing is to be mended."""
    return {**raw, "choices": [_completed(choice) for choice in list_of_dicts(raw.get("choices"))]}


def _completed(raw: dict[str, Any]) -> dict[str, Any]:
    choice = {**raw, "index": index_of(raw), "message": _delta(raw.get("message"))}
    if raw.get("finish_reason") != (reason := finish_reason_of(raw)):
        choice["finish_reason"] = reason
    calls = choice["message"].get("tool_calls")
    if calls:
        choice["message"]["tool_calls"] = [_call(call, place) for place, call in enumerate(list_of_dicts(calls))]
    elif reason == "tool_calls" and not choice["message"].get("function_call"):
        choice["finish_reason"] = "stop"
    return choice


def _call(raw: dict[str, Any], place: int) -> dict[str, Any]:
    call = {**raw, "id": raw.get("id") or f"call_{place}", "type": raw.get("type") or "function"}
    function = raw.get("function")
    if isinstance(function, dict):
        arguments = said_once([arguments_text(function.get("arguments")) or ""])[0]
        call["function"] = {**function, "arguments": arguments}
    return call
