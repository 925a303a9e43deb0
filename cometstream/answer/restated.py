"""A whole message behind its own pieces, as MiniMax's last chunk brings it: what is new in it, which is little or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cometstream.answer.blocks import joined
from cometstream.views.chunks import finish_reason_of, index_of
from cometstream.views.content import REASONING_FIELDS, split_parts
from cometstream.views.view import dict_or_empty, list_of_dicts, text_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.answer.choice import ChoiceState
    from cometstream.answer.tool_calls import ToolCallState

__all__ = ["without_said"]


def without_said(raw: dict[str, Any], known: Mapping[int, ChoiceState]) -> dict[str, Any]:
    """Return a chunk in which a whole message became a delta with what is new in it; the chunk itself where there is none.

    A message is taken for a whole one where the chunk is called a completion or the choice ends with it. Else it may be a piece
    under another name, and two pieces may be alike.

    Args:
        raw: The chunk; it is not changed.
        known: What has come of each choice so far.
    """
    called_whole = raw.get("object") == "chat.completion"
    choices = list_of_dicts(raw.get("choices"))
    news = [_news(choice, known.get(index_of(choice)), called_whole) for choice in choices]
    return raw if all(new is choice for new, choice in zip(news, choices, strict=True)) else {**raw, "choices": news}


def _news(choice: dict[str, Any], state: ChoiceState | None, called_whole: bool) -> dict[str, Any]:
    message = choice.get("message")
    if state is None or "delta" in choice or not isinstance(message, dict):
        return choice
    if not called_whole and finish_reason_of(choice) is None:
        return choice
    delta = {key: _new(key, value, state, called_whole) for key, value in message.items()}
    return {
        **{key: value for key, value in choice.items() if key != "message"},
        "delta": {key: value for key, value in delta.items() if value is not None},
    }


def _new(key: str, value: Any, state: ChoiceState, called_whole: bool) -> Any:
    """Return what a field of the message says beyond its pieces; None where that is nothing."""
    if key == "content" or key == "refusal" or key in REASONING_FIELDS:
        return _new_text(value, "".join(state.pieces_of(key)), called_whole)
    if key == "tool_calls":
        return None if _are_said(list_of_dicts(value), state.tool_calls.calls) else value
    if key == "function_call":
        call = state.function_call
        return None if call is not None and _is_said(dict_or_empty(value), call) else value
    if key == "audio":
        pieces = state.audio_pieces
        return {name: item for name, item in dict_or_empty(value).items() if item != "".join(pieces.get(name, ()))}
    return None if joined(state.message_extra.get(key)) == value else value


def _new_text(value: Any, said: str, called_whole: bool) -> Any:
    text = split_parts(value)[0] if isinstance(value, list) else text_or_none(value)
    if not said or text is None:
        return value
    if text.startswith(said):
        return text[len(said) :] or None
    # A gateway may trim the whole text; where it says another one the pieces count, which were handed over.
    return None if called_whole or text.strip() == said.strip() else value


def _are_said(calls: list[dict[str, Any]], said: list[ToolCallState]) -> bool:
    return len(calls) == len(said) and all(
        _is_said(dict_or_empty(call.get("function")), known) for call, known in zip(calls, said, strict=True)
    )


def _is_said(function: dict[str, Any], known: ToolCallState) -> bool:
    return function.get("name") == known.name and function.get("arguments") == known.said_once()[0]
