"""Chunks to the completion: one fold over the stream, usable alone.

Texts are lists of pieces, joined when somebody reads them. Every bend that a gateway's shape needed is counted by kind in
``completion.normalizations``; with ``strict=True`` the first one raises instead.
"""

from __future__ import annotations

from typing import Any, Final

from cometstream.answer.blocks import merge
from cometstream.answer.choice import NO_CALLS, NO_TOOL_CALLS, ChoiceState
from cometstream.answer.tool_calls import ToolCallFold, ToolCallState
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk, Choice, finish_reason_of, is_error_reason, usage_beside
from cometstream.views.completion import ChatCompletion
from cometstream.views.content import (
    REASONING_FIELDS,
    audio_says,
    delta_says,
    field_says,
    reasoning_field,
    says_something,
    split_parts,
)
from cometstream.views.view import int_or_none

__all__ = ["Accumulator", "ChoiceState", "ToolCallState"]

# Fields of a chunk that are not part of the completion: `obfuscation` is padding against eavesdroppers who count bytes.
# The usage is kept apart.
_NOT_KEPT: Final = ("choices", "object", "obfuscation", "usage")

# Fields of a completion that stand before its choices.
_FIRST: Final = ("id", "created", "model")


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
        errored: A choice ended with a ``finish_reason`` that is an error, or holds an error: that does not end it.
        went_on: A choice that had its finish_reason brought more; whoever looks at it sets it to False.
        built: The completion as it was last built; None where something was added since.
    """

    __slots__ = (
        "_first",
        "_open",
        "_top",
        "_usage",
        "_usage_in_choices",
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
        self._open = 0  # of them have not ended; counted, since it is asked for after every chunk
        self.normalizations: dict[str, int] = {}
        self.errored = False
        self.went_on = False
        self._top: dict[str, Any] = {}
        self._first: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._usage_in_choices = True  # and nowhere else, as far as is known
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
            if value or (value is not None and value != "" and key not in top):
                top[key] = value
        first = self._first
        if len(first) < len(_FIRST):
            self._find_first(raw)
        top.update(first)
        if "usage" in raw or "x_groq" in raw:
            self.add_usage(raw)

    def add_usage(self, raw: dict[str, Any]) -> None:
        """Take the usage of a chunk, and nothing else of it. The last that says something counts: reports are never summed."""
        self.built = None
        usage = raw.get("usage")
        if usage and type(usage) is dict:
            _report(self._usage, usage)
            self._usage_in_choices = False
        elif "x_groq" in raw and (usage := usage_beside(raw)):
            _report(self._usage, usage)

    def _find_first(self, raw: dict[str, Any]) -> None:
        """Keep the first id, time and model that say something: gateways add their own, and their upstream's behind."""
        for key in _FIRST:
            value = raw.get(key)
            if key not in self._first and value and (type(value) is int if key == "created" else type(value) is str):
                self._first[key] = value

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
        return not self._open and not self.errored and bool(self.choices)

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
                    if kind == NO_CALLS:
                        choice["finish_reason"] = "stop"
            choices.append(choice)
        if self._usage:
            raw["usage"] = _copied(self._usage)
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
            self._open += 1
        had_ended = state.ended
        # The delta first, wherever it stands: its text does not come after the finish_reason beside it.
        delta = choice["delta"] if "delta" in choice else choice.get("message")
        has_content = False
        if delta is None:
            if "delta" in choice:
                self.note("delta_null")
        elif delta or type(delta) is not dict:
            has_content = self._add_delta(state, delta)
        before = state.finish_reason
        reason = finish_reason_of(choice)
        if reason is not None:
            state.finish_reason = reason
            if choice.get("finish_reason") != reason:
                self.note("finish_reason_camel_case")
            if is_error_reason(reason):
                self.errored = True
        for key, value in choice.items():
            if value is not None and value is not reason and key != "delta" and key != "index":
                has_content = self._add_choice_field(state, key, value) or has_content
        if self.errored and choice.get("error") and not is_error_reason(state.finish_reason):
            state.finish_reason = before  # beside an error it ends nothing: a call must not be taken for whole
        self._open += had_ended - state.ended
        if self.strict:
            for kind in state.bent_at_the_end():
                self.note(kind)
        return has_content

    def _add_choice_field(self, state: ChoiceState, key: str, value: Any) -> bool:
        """Add a field of a choice that is neither its delta nor its finish reason; return whether it is content."""
        if key == "finish_reason" or key == "finishReason":
            if not isinstance(value, str):
                self.note("finish_reason_malformed")
            elif key == "finish_reason" or not value:
                self.note("finish_reason_empty")
        elif key == "logprobs":
            if not isinstance(value, dict):
                self.note("logprobs_malformed")
                return False
            for name, tokens in value.items():
                if isinstance(tokens, list):
                    state.logprobs.setdefault(name, []).extend(tokens)
        elif key == "message":
            # Read where there is no delta. Beside one it is what came so far, once more.
            self.note("message_in_chunk")
        else:
            if value or key not in state.extra:
                state.extra[key] = value
            if key == "error" and value:
                self.errored = True
            elif key == "usage" and self._usage_in_choices and value and isinstance(value, dict):
                _report(self._usage, value)
        return bool(value) and field_says(key, value)

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
                            if state.tool_calls is NO_TOOL_CALLS:
                                state.tool_calls = ToolCallFold()
                            has_content = state.tool_calls.add(fragment, self.note) or has_content
                        else:
                            self.note("tool_call_malformed")
                else:
                    self.note("tool_calls_malformed")
            elif key in REASONING_FIELDS:
                if not isinstance(value, str):
                    has_content = self._add_unknown_reasoning(state, key, value) or has_content
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
        if state.reasoning_key is None:
            state.reasoning_key = name
        state.reasoning.append(text)
        return True

    def _add_unknown_reasoning(self, state: ChoiceState, key: str, value: Any) -> bool:
        """Add reasoning of another shape than a text: kept as it came, and never shown."""
        self.note("reasoning_malformed")
        if not isinstance(value, (list, dict)):
            return False
        merge(state.message_extra, key, value)
        return says_something(value)

    def _add_parts(self, state: ChoiceState, parts: list[Any], delta: dict[str, Any]) -> bool:
        self.note("content_parts")
        state.add_parts(parts)
        if reasoning_field(delta) is None:
            reasoning = split_parts(parts)[1]
            if reasoning:
                state.reasoning.append(reasoning)
        return says_something(parts)

    def _add_rare(self, state: ChoiceState, key: str, value: Any) -> bool:
        if key not in ("function_call", "audio"):
            if key == "obfuscation":
                return False
            merge(state.message_extra, key, value)
            return delta_says(key, value)
        if not isinstance(value, dict):
            self.note(f"{key}_malformed")
            return False
        if key == "function_call":
            if state.function_call is None:
                state.function_call = ToolCallState()
            return state.function_call.add_function(value, self.note)
        for name, piece in value.items():
            if name not in ("data", "transcript"):
                merge(state.audio, name, piece)
            elif isinstance(piece, str):
                state.audio_pieces.setdefault(name, []).append(piece)
            elif piece is not None:
                self.note("audio_malformed")
        says = audio_says(value)
        if says or value.get("expires_at"):
            state.audio_ended = bool(value.get("expires_at"))
        return says


def _report(into: dict[str, Any], usage: dict[str, Any]) -> None:
    """Add a report of usage: of each field the last that says something. Cumulative reports must not be summed."""
    for key, value in usage.items():
        have = into.get(key)
        if isinstance(value, dict) and isinstance(have, dict):
            _report(have, value)
        elif value or have is None:
            into[key] = _copied(value) if isinstance(value, dict) else value


def _copied(usage: dict[str, Any]) -> dict[str, Any]:
    """Return a copy to which nothing is added when the next report comes."""
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in usage.items()}
