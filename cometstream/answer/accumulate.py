"""Chunks to the completion: one fold over the stream, usable alone.

Texts are lists of pieces, joined when somebody reads them. Every bend that a gateway's shape needed is counted by kind in
``completion.normalizations``; with ``strict=True`` the first one raises instead.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from cometstream.answer.tool_calls import ToolCallFold, ToolCallState
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk, Choice, reasoning_field, split_parts
from cometstream.views.completion import ChatCompletion
from cometstream.views.view import int_or_none, text_or_none

__all__ = ["Accumulator", "ChoiceState", "ToolCallState"]

# Fields of a chunk that are no part of the completion: `obfuscation` is padding against eavesdroppers who count bytes.
# The usage is kept apart.
_NOT_KEPT: Final = ("choices", "object", "obfuscation", "usage")

# Fields of a completion that stand before its choices.
_FIRST: Final = ("id", "created", "model")

_NO_CALLS: Final = "finish_tool_calls_without_calls"


# What most choices never need one of their own of; nothing is ever added to it.
_NO_TOOL_CALLS: Final = ToolCallFold()


class ChoiceState:
    """What has come of one choice; texts as lists of pieces.

    Attributes:
        index: Which of the ``n`` choices.
        content: Pieces of the text.
        refusal: Pieces of the refusal.
        reasoning: Pieces of the reasoning.
        tool_calls: The calls in order of their first fragment.
        logprobs: Log probabilities, a list for each of ``content`` and ``refusal``.
        parts: Content that came as a list of parts, but for the text and thinking in it; None where none came as a list.
        finish_reason: Why the choice ended; None while it goes on.
    """

    __slots__ = (
        "audio",
        "audio_pieces",
        "content",
        "extra",
        "finish_reason",
        "function_call",
        "index",
        "logprobs",
        "message_extra",
        "parts",
        "reasoning",
        "reasoning_key",
        "refusal",
        "role",
        "tool_calls",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.role = ""
        self.content: list[str] = []
        self.refusal: list[str] = []
        self.reasoning: list[str] = []
        self.reasoning_key = "reasoning_content"  # the wire's own name for it, kept for the next request
        self.parts: list[Any] | None = None
        self.tool_calls = _NO_TOOL_CALLS
        self.function_call: ToolCallState | None = None
        self.audio: dict[str, Any] = {}
        self.audio_pieces: dict[str, list[str]] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None
        self.message_extra: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}

    def pieces_of(self, key: str) -> list[str]:
        """Return the texts to which a delta's field adds; for ``tool_calls``, the arguments of the call that came last."""
        call = self.tool_calls.last
        if key == "tool_calls" and call is not None:
            return call.arguments
        return self.content if key == "content" else self.refusal if key == "refusal" else self.reasoning

    def bent_at_the_end(self) -> list[str]:
        """Return the kinds of normalisation that only an ended choice can tell."""
        kinds: list[str] = []
        calls = self.tool_calls.calls
        if not calls and self.finish_reason != "tool_calls":
            return kinds
        if self.finish_reason == "tool_calls" and not calls and self.function_call is None:
            kinds.append(_NO_CALLS)
        if calls and self.finish_reason is not None and any(call.id is None for call in calls):
            kinds.append("tool_call_id_missing")
        return kinds

    def build(self, completion_id: object) -> dict[str, Any]:
        """Return the choice as in a ``chat.completion``; calls without an id get one that is made from the completion's."""
        calls = self._build_calls(completion_id) if self.tool_calls.calls else None
        text = "".join(self.content)
        reasoning = "".join(self.reasoning) if self.reasoning else ""
        message: dict[str, Any] = {"role": self.role or "assistant"}
        if self.parts is not None:
            # What came as a list goes back as one.
            thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": reasoning}]}] if reasoning else []
            message["content"] = [*thinking, *([{"type": "text", "text": text}] if text else []), *self.parts] or None
        else:
            # As in the synchronous form: no text beside calls or a refusal is null, not "".
            message["content"] = text if text or (self.content and not calls) else None
            if reasoning:
                message[self.reasoning_key] = reasoning
        message["refusal"] = ("".join(self.refusal) or None) if self.refusal else None
        if calls:
            message["tool_calls"] = calls
        if self.function_call is not None:
            message["function_call"] = self.function_call.build_function()
        if self.audio or self.audio_pieces:
            message["audio"] = {
                **self.audio,
                **{key: _joined_audio(key, value) for key, value in self.audio_pieces.items()},
            }
        if self.message_extra:
            message.update({key: _joined(value) for key, value in self.message_extra.items()})
        logprobs = {name: list(tokens) for name, tokens in self.logprobs.items()} if self.logprobs else None
        choice = {
            "index": self.index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": self.finish_reason,
        }
        return {**choice, **self.extra} if self.extra else choice

    def _build_calls(self, completion_id: object) -> list[dict[str, Any]]:
        prefix = f"call_{text_or_none(completion_id) or ''}_{self.index}"
        return [call.build(f"{prefix}_{place}") for place, call in enumerate(self.tool_calls.calls)]


def _is_text_alone(choice: dict[str, Any], delta: dict[str, Any], state: ChoiceState) -> bool:
    """Whether a choice brings one piece of text for one that goes on, and all else in it is null."""
    return len(delta) == 1 and state.finish_reason is None and list(choice.values()).count(None) == len(choice) - 2


class Accumulator:
    """Adds chunks up into the completion.

    Args:
        strict: Raise ``ProtocolError`` where a shape would have to be normalised.

    Attributes:
        choices: The state of each choice, by its index.
        normalizations: What was normalised so far, each kind with its count.
        errored: A choice ended with ``finish_reason: "error"``, or holds an error: that is no end.
        went_on: A choice that had its finish_reason brought more; whoever looks at it sets it to False.
        built: The completion as it was last built; None where something was added since.
    """

    __slots__ = (
        "_top",
        "_usage",
        "built",
        "choices",
        "errored",
        "normalizations",
        "strict",
        "went_on",
    )

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.choices: dict[int, ChoiceState] = {}
        self.normalizations: dict[str, int] = {}
        self.errored = False
        self.went_on = False
        self._top: dict[str, Any] = {}
        self._usage: dict[str, Any] | None = None
        self.built: ChatCompletion | None = None

    def add(self, chunk: ChatCompletionChunk) -> bool:
        """Add one chunk.

        Returns:
            Whether it carried content: a text, refusal, reasoning, tool-call, function-call or audio delta.
        Raises:
            ProtocolError: Only if ``strict``.
        """
        return self.add_raw(chunk.raw)

    def add_raw(self, raw: dict[str, Any]) -> bool:
        """Add one chunk as it was parsed; see `add`."""
        self.built = None
        self._add_top(raw)
        choices = raw.get("choices")
        if type(choices) is list and len(choices) == 1 and type(choice := choices[0]) is dict:
            delta, index = choice.get("delta"), choice.get("index")
            # Most bring one piece of text for a choice that is known, and all else is null.
            if type(delta) is dict and len(delta) == 1 and type(index) is int:
                text = delta.get("content")
                state = self.choices.get(index)
                if type(text) is str and state is not None and _is_text_alone(choice, delta, state):
                    state.content.append(text)
                    return text != ""
            return self._add_choice(choice)
        if type(choices) is not list:
            if choices is not None:
                self.note("choices_malformed")
            elif "choices" in raw:
                self.note("choices_null")
            return False
        has_content = False
        for choice in choices:
            if type(choice) is dict:
                has_content = self._add_choice(choice) or has_content
            else:
                self.note("choice_malformed")
        return has_content

    def _add_top(self, raw: dict[str, Any]) -> None:
        top = self._top
        for key, value in raw.items():
            if value or (value is not None and value != ""):
                top[key] = value
        if "usage" in raw or "x_groq" in raw:
            self.add_usage(raw)

    def add_usage(self, raw: dict[str, Any]) -> None:
        """Take the usage of a chunk, and nothing else of it. The last that says something wins: reports are never summed."""
        self.built = None
        usage = raw.get("usage")
        if usage and type(usage) is dict:
            self._usage = usage
        if "x_groq" in raw:
            self._add_groq(raw)

    def _add_groq(self, raw: dict[str, Any]) -> None:
        groq, names = raw["x_groq"], list(raw)
        usage = groq.get("usage") if type(groq) is dict else None
        if usage and isinstance(usage, dict):
            own = raw.get("usage")
            if not own or type(own) is not dict or names.index("usage") < names.index("x_groq"):
                self._usage = usage

    def note(self, kind: str) -> None:
        """Count one normalisation.

        Raises:
            ProtocolError: If ``strict``.
        """
        if self.strict:
            raise ProtocolError(f"the stream departs from the documented shape: {kind}")
        self.normalizations[kind] = self.normalizations.get(kind, 0) + 1
        self.built = None

    @property
    def finished(self) -> bool:
        """Whether a choice came and every choice that came has a finish reason."""
        return (
            bool(self.choices)
            and not self.errored
            and all(state.finish_reason is not None for state in self.choices.values())
        )

    @property
    def completion(self) -> ChatCompletion:
        """The completion so far; the same object until another chunk is added."""
        if self.built is None:
            self.built = self._build()
        return self.built

    def _build(self) -> ChatCompletion:
        top = self._top
        raw: dict[str, Any] = {}
        for key in _FIRST:
            if key in top:
                raw[key] = top[key]
        raw["object"] = "chat.completion"
        notes = dict(self.normalizations)
        choices: list[dict[str, Any]] = []
        raw["choices"] = choices
        for index in sorted(self.choices):
            state = self.choices[index]
            choice = state.build(top.get("id"))
            if state.finish_reason is not None:
                for kind in state.bent_at_the_end():
                    notes[kind] = notes.get(kind, 0) + 1
                    if kind == _NO_CALLS:
                        choice["finish_reason"] = "stop"
            choices.append(choice)
        if self._usage is not None:
            raw["usage"] = self._usage
        kept = top.copy()
        for key in _NOT_KEPT:
            kept.pop(key, None)
        raw.update(kept)  # the first ones among them keep their places
        return ChatCompletion(raw, notes)

    def _add_choice(self, choice: dict[str, Any]) -> bool:
        index = choice.get("index")
        if type(index) is not int:
            self.note("choice_index_missing" if int_or_none(index) is None else "choice_index_malformed")
            index = Choice(choice).index
        state = self.choices.get(index)
        if state is None:
            state = self.choices[index] = ChoiceState(index)
        # The delta first, wherever it stands: its text does not come after the finish_reason beside it.
        delta = choice["delta"] if "delta" in choice else choice.get("message")
        has_content = False
        if delta is None:
            if "delta" in choice:
                self.note("delta_null")
        elif delta or type(delta) is not dict:
            has_content = self._add_delta(state, delta)
        before = state.finish_reason
        for key, value in choice.items():
            if value is None or key == "delta" or key == "index":
                continue
            if key == "finish_reason" and type(value) is str and value and value != "error":
                state.finish_reason = value
            else:
                self._add_choice_field(state, key, value)
        if self.errored and choice.get("error") and state.finish_reason != "error":
            state.finish_reason = before  # beside an error it ends nothing: a call must not be taken for whole
        if self.strict:
            for kind in state.bent_at_the_end():
                self.note(kind)
        return has_content

    def _add_choice_field(self, state: ChoiceState, key: str, value: Any) -> None:
        if key == "finish_reason" or key == "finishReason":
            if not isinstance(value, str):
                self.note("finish_reason_malformed")
            elif not value:
                self.note("finish_reason_empty")
            elif key == "finishReason" and state.finish_reason is not None:
                return
            else:
                if key == "finishReason":
                    self.note("finish_reason_camel_case")
                state.finish_reason = value
                if value == "error":
                    self.errored = True
        elif key == "logprobs":
            if not isinstance(value, dict):
                self.note("logprobs_malformed")
                return
            for name, tokens in value.items():
                if isinstance(tokens, list):
                    state.logprobs.setdefault(name, []).extend(tokens)
        elif key == "message":
            # Read where there is no delta. Beside one it is what came so far, once more.
            self.note("message_in_chunk")
        else:
            state.extra[key] = value
            if key == "error" and value:
                self.errored = True

    def _add_delta(self, state: ChoiceState, delta: Any) -> bool:
        if type(delta) is not dict:
            self.note("delta_malformed")
            return False
        has_content = reasoned = False
        for key, value in delta.items():
            if value is None:
                continue
            if key == "content":
                if type(value) is str:
                    state.content.append(value)
                    if value:
                        has_content = True
                elif isinstance(value, list):
                    has_content = self._add_parts(state, value, delta) or has_content
                else:
                    self.note("content_malformed")
            elif key == "role":
                if not state.role and isinstance(value, str):
                    state.role = value
            elif key == "tool_calls":
                if isinstance(value, list):
                    for fragment in value:
                        if isinstance(fragment, dict):
                            if state.tool_calls is _NO_TOOL_CALLS:
                                state.tool_calls = ToolCallFold()
                            state.tool_calls.add(fragment, self.note)
                            has_content = True
                        else:
                            self.note("tool_call_malformed")
                else:
                    self.note("tool_calls_malformed")
            elif key == "reasoning_content" or key == "reasoning":
                if not isinstance(value, str):
                    self.note("reasoning_malformed")
                elif not reasoned:
                    reasoned = self._add_reasoning(state, delta)
                    has_content = has_content or reasoned
            elif key == "refusal":
                if isinstance(value, str):
                    state.refusal.append(value)
                    has_content = has_content or bool(value)
                else:
                    self.note("refusal_malformed")
            else:
                has_content = self._add_rare(state, key, value) or has_content
        if has_content and state.finish_reason is not None:
            # The choice is open again until its next finish_reason.
            self.note("content_after_finish")
            state.finish_reason = None
            self.went_on = True
        return has_content

    def _add_reasoning(self, state: ChoiceState, delta: dict[str, Any]) -> bool:
        field = reasoning_field(delta)
        if field is None:
            return False
        name, text = field
        if not state.reasoning:
            state.reasoning_key = name
        state.reasoning.append(text)
        return True

    def _add_parts(self, state: ChoiceState, parts: list[Any], delta: dict[str, Any]) -> bool:
        self.note("content_parts")
        text, reasoning = split_parts(parts)
        if state.parts is None:
            state.parts = []
        state.parts.extend(part for part in parts if not any(split_parts([part])))
        if text:
            state.content.append(text)
        if reasoning and reasoning_field(delta) is None:
            state.reasoning.append(reasoning)
        return bool(text or reasoning)

    def _add_rare(self, state: ChoiceState, key: str, value: Any) -> bool:
        if key not in ("function_call", "audio"):
            _merge(state.message_extra, key, value)
            return False
        if not isinstance(value, dict):
            self.note(f"{key}_malformed")
            return False
        if key == "function_call":
            if state.function_call is None:
                state.function_call = ToolCallState()
            state.function_call.add_function(value, self.note)
            return bool(value)
        for name, piece in value.items():
            if name not in ("data", "transcript"):
                if piece is not None:
                    state.audio[name] = piece
            elif isinstance(piece, str):
                state.audio_pieces.setdefault(name, []).append(piece)
            elif piece is not None:
                self.note("audio_malformed")
        return bool(value)


def _merge(into: dict[str, Any], key: str, value: Any) -> None:
    """Fold an unknown delta field: texts are pieces, lists grow, the rest is replaced.

    A text that repeats its first piece exactly is a label (``"type": "text"``), not a piece, and is kept once.
    """
    have = into.get(key)
    if isinstance(value, str):
        if isinstance(have, _Pieces):
            if have != [value]:
                have.append(value)
        else:
            into[key] = _Pieces([value])
    elif isinstance(value, list):
        if isinstance(have, list) and not isinstance(have, _Pieces):
            have.extend(value)
        else:
            into[key] = list(value)
    else:
        into[key] = value


class _Pieces(list[str]):
    """Pieces of a text, told from a list that the wire sent."""

    __slots__ = ()


def _joined(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return "".join(value)
    return list(value) if isinstance(value, list) else value


def _joined_audio(key: str, pieces: list[str]) -> str:
    if key == "data" and any(piece.endswith("=") for piece in pieces[:-1]):
        # Pieces that were padded on their own cannot be joined as text.
        try:
            return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
        except ValueError:
            pass
    return "".join(pieces)
