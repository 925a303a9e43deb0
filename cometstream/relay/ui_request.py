"""The way back of ``ui``: what ``useChat`` posts, made messages for the model.

A browser's words are not trusted: it may hold a conversation, and may not give instructions in the system's name, nor files by
addresses other than ``https:``, ``http:`` and ``data:``.

Source: npm ``ai`` 7.0.173, ``src/ui/ui-messages.ts`` and ``convert-to-model-messages.ts``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from cometstream.errors import InvalidRequestError
from cometstream.relay.sse import json_bytes
from cometstream.request.describe import kind

__all__ = ["Approval", "UIRequest", "ui_request"]

_DENIED: Final = "The user did not allow this call."

# States of a call that has an answer for the model.
_ANSWERED: Final = frozenset({"output-available", "output-error", "output-denied"})


@dataclass(frozen=True)
class Approval:
    """What a user decided about one tool call.

    Attributes:
        id: The approval's id, as it was asked for.
        tool_call_id: The call.
        name: The tool's name.
        arguments: The call's arguments, as the browser sent them back: compare them with your own record before you run anything.
        approved: Whether the call may run.
        reason: The user's words; None where there are none.
    """

    id: str
    tool_call_id: str
    name: str
    arguments: Any
    approved: bool
    reason: str | None


@dataclass(frozen=True)
class UIRequest:
    """What a chat UI asked for.

    Attributes:
        id: The chat's id, which the browser chose: check that the user may read and write that chat.
        messages: The conversation for ``session.stream(messages=...)``. A call that was approved stands in the last message without
            a result, for a tool loop to run it.
        approvals: What the user decided since the last answer.
        trigger: ``"submit-message"`` or ``"regenerate-message"``.
        message_id: The message that is to be written anew; None where a new one is to be written.
    """

    id: str
    messages: list[Any]
    approvals: tuple[Approval, ...]
    trigger: str
    message_id: str | None


def ui_request(body: object) -> UIRequest:
    """Read the JSON body of a ``useChat`` request.

    Texts, files, and tool results become messages. Reasoning, sources and data parts stay in the browser; calls without a result
    are left out, since a provider refuses them.

    Args:
        body: The parsed body.
    Returns:
        The chat's id, its messages and the user's decisions.
    Raises:
        InvalidRequestError: It is no such body; every problem is listed.
    """
    problems: list[str] = []
    if not isinstance(body, Mapping):
        raise InvalidRequestError([f"body: is {kind(body)}; it must be an object, as useChat posts it"])
    listed = body.get("messages")
    if not isinstance(listed, list) or not listed:
        raise InvalidRequestError([f"messages: is {kind(listed)}; it must be a list of at least one message"])
    reader = _Reader(problems)
    for index, message in enumerate(listed):
        reader.read(message, f"messages[{index}]", is_last=index == len(listed) - 1)
    id_ = body.get("id", "")
    if not isinstance(id_, str):
        problems.append(f"id: is {kind(id_)}; it must be a string")
    if problems:
        raise InvalidRequestError(problems)
    trigger, message_id = body.get("trigger"), body.get("messageId")
    return UIRequest(
        id_,
        reader.messages,
        tuple(reader.approvals),
        trigger if isinstance(trigger, str) else "submit-message",
        message_id if isinstance(message_id, str) else None,
    )


class _Reader:
    """Adds up the messages."""

    def __init__(self, problems: list[str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self.approvals: list[Approval] = []
        self._problems = problems

    def read(self, message: object, path: str, *, is_last: bool) -> None:
        if not isinstance(message, Mapping):
            self._problems.append(f"{path}: is {kind(message)}; it must be an object")
            return
        role, parts = message.get("role"), message.get("parts")
        if not isinstance(parts, list):
            self._problems.append(f"{path}.parts: is {kind(parts)}; it must be a list of parts")
        elif role == "user":
            self._read_user(parts, path)
        elif role == "assistant":
            self._read_assistant(parts, path, is_last=is_last)
        else:
            self._problems.append(f"{path}.role: is {role!r:.40}; a browser may send 'user' and 'assistant'")

    def _read_user(self, parts: list[Any], path: str) -> None:
        content = []
        for part, at in self._parts(parts, path):
            if part["type"] == "text":
                content.append({"type": "text", "text": self._text(part, "text", at)})
            elif part["type"] == "file":
                content += self._file(part, at)
        if len(content) == 1 and content[0]["type"] == "text":
            self.messages.append({"role": "user", "content": content[0]["text"]})
        elif content:
            self.messages.append({"role": "user", "content": content})
        else:
            self._problems.append(f"{path}.parts: has neither text nor a file")

    def _read_assistant(self, parts: list[Any], path: str, *, is_last: bool) -> None:
        step: list[tuple[Mapping[str, Any], str]] = []
        for part, at in self._parts(parts, path):
            if part["type"] == "step-start":
                self._add_step(step, is_last=is_last)
                step = []
            else:
                step.append((part, at))
        self._add_step(step, is_last=is_last)

    def _add_step(self, step: list[tuple[Mapping[str, Any], str]], *, is_last: bool) -> None:
        """Add the message of one step, and the results of its calls."""
        texts: list[str] = []
        calls: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for part, at in step:
            type_ = part["type"]
            if type_ == "text":
                texts.append(self._text(part, "text", at))
            elif type_ == "dynamic-tool" or type_.startswith("tool-"):
                name = self._text(part, "toolName", at) if type_ == "dynamic-tool" else type_[5:]
                self._add_call(part, name, at, calls, results, is_last=is_last)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
        if calls:
            message["tool_calls"] = calls
        if message["content"] or calls:
            self.messages += [message, *results]

    def _add_call(
        self,
        part: Mapping[str, Any],
        name: str,
        path: str,
        calls: list[dict[str, Any]],
        results: list[dict[str, Any]],
        *,
        is_last: bool,
    ) -> None:
        state, id_ = part.get("state"), self._text(part, "toolCallId", path)
        arguments = part.get("input")
        if arguments is None:
            arguments = part.get("rawInput")
        decision = self._decision(part, id_, name, arguments, path) if state == "approval-responded" else None
        waits = decision is not None and decision.approved
        # A call that was not answered before the user went on never will be.
        if not (state in _ANSWERED or (decision is not None and (is_last or not waits))):
            return
        if decision is not None and is_last:
            self.approvals.append(decision)
        written = (
            arguments if isinstance(arguments, str) else json_bytes({} if arguments is None else arguments).decode()
        )
        calls.append({"id": id_, "type": "function", "function": {"name": name, "arguments": written}})
        if not waits:
            results.append({"role": "tool", "tool_call_id": id_, "content": _result(part)})

    def _decision(self, part: Mapping[str, Any], call: str, name: str, arguments: Any, path: str) -> Approval | None:
        approval = part.get("approval")
        if not isinstance(approval, Mapping) or not isinstance(approval.get("approved"), bool):
            self._problems.append(f"{path}.approval: must be an object with `id` and `approved`")
            return None
        reason = approval.get("reason")
        return Approval(
            self._text(approval, "id", f"{path}.approval"),
            call,
            name,
            arguments,
            approval["approved"],
            reason if isinstance(reason, str) and reason else None,
        )

    def _file(self, part: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
        url, media_type = self._text(part, "url", path), self._text(part, "mediaType", path)
        name = part.get("filename")
        name = name if isinstance(name, str) and name else "file"
        if media_type.startswith("image/"):
            if url.startswith(("https://", "http://", "data:image/")):
                return [{"type": "image_url", "image_url": {"url": url}}]
            self._problems.append(f"{path}.url: must begin with https://, http:// or data:image/")
            return []
        data = _decoded(url)
        if data is None:
            self._problems.append(f"{path}.url: must be a data: URL for a file of type {media_type!r:.60}")
            return []
        encoded = base64.b64encode(data).decode()
        if media_type.startswith("audio/"):
            form = media_type[6:].partition(";")[0].replace("mpeg", "mp3").removeprefix("x-")
            return [{"type": "input_audio", "input_audio": {"data": encoded, "format": form}}]
        if media_type.startswith("text/"):
            return [{"type": "text", "text": f"{name}:\n{data.decode('utf-8', 'replace')}"}]
        form = media_type.partition(";")[0]
        return [{"type": "file", "file": {"filename": name, "file_data": f"data:{form};base64,{encoded}"}}]

    def _parts(self, parts: list[Any], path: str) -> list[tuple[Mapping[str, Any], str]]:
        found = []
        for index, part in enumerate(parts):
            at = f"{path}.parts[{index}]"
            if isinstance(part, Mapping) and isinstance(part.get("type"), str):
                found.append((part, at))
            else:
                self._problems.append(f"{at}: is {kind(part)}; it must be an object with a `type`")
        return found

    def _text(self, holder: Mapping[str, Any], name: str, path: str) -> str:
        value = holder.get(name)
        if isinstance(value, str):
            return value
        self._problems.append(f"{path}.{name}: is {kind(value)}; it must be a string")
        return ""


def _result(part: Mapping[str, Any]) -> str:
    """Return what the model is told of a call."""
    state = part.get("state")
    if state == "output-available":
        output = part.get("output")
        return output if isinstance(output, str) else json_bytes(output).decode()
    if state == "output-error":
        text = part.get("errorText")
        return f"Error: {text}" if isinstance(text, str) and text else "Error"
    approval = part.get("approval")
    reason = approval.get("reason") if isinstance(approval, Mapping) else None
    return f"{_DENIED} {reason}" if isinstance(reason, str) and reason else _DENIED


def _decoded(url: str) -> bytes | None:
    """Return the data of a `data:` URL; None where it is none."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:"):
        return None
    if not head.endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
