"""What counts as content: text, reasoning, and every field in which a model may have said something.

The rule is open-ended: what is not known as bookkeeping is content. A list of its own would miss the next provider's field, and an
image or a thought that is missed is withheld, ended by a clock, or paid for twice.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = [
    "REASONING_FIELDS",
    "audio_says",
    "choice_says_more",
    "delta_says",
    "field_says",
    "fragment_says",
    "function_says",
    "is_content",
    "is_reasoning_type",
    "reasoning_field",
    "reasoning_of",
    "says_something",
    "split_parts",
]

# The names of the reasoning's text. The first one counts: gateways that send two of them send one text twice.
REASONING_FIELDS: Final = ("reasoning_content", "reasoning", "reasoning_text")

# Names and numbers that tell one item from another; none of them is what a model said.
_LABELS: Final = frozenset(
    {
        "created",
        "created_at",
        "expires_at",
        "format",
        "id",
        "index",
        "mime_type",
        "model",
        "object",
        "obfuscation",
        "role",
        "status",
        "type",
    }
)

# Beside these, fields of a delta: who speaks, and padding against eavesdroppers who count bytes.
_OF_A_DELTA: Final = _LABELS | {"name", "p", "padding"}

# Beside these, fields of a choice: its ending, and what filters, meters and routers add to it.
_OF_A_CHOICE: Final = _OF_A_DELTA | {
    "content_filter_error",
    "content_filter_offsets",
    "content_filter_raw",
    "content_filter_result",
    "content_filter_results",
    "delta",
    "end_turn",
    "error",
    "finishReason",
    "finish_details",
    "finish_reason",
    "logprobs",
    "matched_stop",
    "message",
    "native_finish_reason",
    "prompt_filter_results",
    "provider",
    "request_id",
    "safetyRatings",
    "safety_ratings",
    "seed",
    "service_tier",
    "stop_reason",
    "stop_sequence",
    "system_fingerprint",
    "timings",
    "usage",
}

# Where a part of reasoning may hold its text.
_REASONING_TEXTS: Final = ("thinking", "reasoning", "reasoning_text", "summary", "text", "content")


def says_something(value: object) -> bool:
    """Whether a value holds a text or a number anywhere below, labels aside: ``[{"type": "x", "data": ""}]`` says nothing."""
    if type(value) is str:
        return value != ""
    # A stack of our own: a server may send nothing but brackets, and a call for each costs several times as much.
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for name, item in value.items():
                if item and name not in _LABELS:
                    stack.append(item)
        elif isinstance(value, list):
            stack += value
        elif value and value is not True:
            return True
    return False


def is_content(delta: Any) -> bool:
    """Whether a delta carries content."""
    if type(delta) is not dict:
        return False
    content = delta.get("content")
    if type(content) is str and content:
        return True
    for key, value in delta.items():  # noqa: SIM110 - a generator takes half as long again
        if value and key != "role" and delta_says(key, value):
            return True
    return False  # as most of the others


def delta_says(key: str, value: Any) -> bool:
    """Whether a field of a delta is content."""
    if key == "tool_calls":
        return isinstance(value, list) and any(isinstance(item, dict) and fragment_says(item) for item in value)
    if key == "function_call":
        return isinstance(value, dict) and function_says(value)
    if key == "audio":
        return isinstance(value, dict) and audio_says(value)
    if key == "content" or key == "refusal":
        # A number or an object in the place of a text is dropped.
        return isinstance(value, str) or (key == "content" and isinstance(value, list) and says_something(value))
    if key in REASONING_FIELDS:
        return isinstance(value, str) or (isinstance(value, (list, dict)) and says_something(value))
    return key not in _OF_A_DELTA and says_something(value)


def choice_says_more(choice: dict[str, Any]) -> bool:
    """Whether a choice carries content beside its delta: in a field that nobody knows, or as log probabilities."""
    for key, value in choice.items():  # noqa: SIM110 - as above
        if value and key != "delta" and field_says(key, value):
            return True
    return False


def field_says(key: str, value: Any) -> bool:
    """Whether a field of a choice, beside its delta, is content."""
    if key == "logprobs":
        return isinstance(value, dict) and says_something(value)
    return key not in _OF_A_CHOICE and says_something(value)


def fragment_says(fragment: dict[str, Any]) -> bool:
    """Whether a fragment of a tool call says anything: an id, a name, a piece of the arguments, a provider's own field."""
    for key, value in fragment.items():
        if not value or key == "index" or key == "type":
            continue
        if key == "function" or key == "custom":
            if isinstance(value, dict) and function_says(value):
                return True
        elif key == "id":
            if isinstance(value, str):
                return True
        elif says_something(value):
            return True
    return False


def function_says(function: dict[str, Any]) -> bool:
    """Whether the function part of a call says anything."""
    for key, value in function.items():
        if key == "name":
            if isinstance(value, str) and value:
                return True
        elif key == "arguments" or key == "input":
            if value and isinstance(value, (str, dict, list)):
                return True
        elif says_something(value):
            return True
    return False


def audio_says(audio: dict[str, Any]) -> bool:
    """Whether a piece of audio brings sound or words; its id and the time when it expires are neither."""
    return any(
        value
        and (
            isinstance(value, str) if name in ("data", "transcript") else name not in _LABELS and says_something(value)
        )
        for name, value in audio.items()
    )


def reasoning_field(message: dict[str, Any]) -> tuple[str, str] | None:
    """Return name and text of the reasoning field that counts."""
    for name in REASONING_FIELDS:
        text = message.get(name)
        if isinstance(text, str) and text:
            return name, text
    return None


def reasoning_of(message: dict[str, Any]) -> str | None:
    """Return the reasoning of a delta or message: its field, or the parts of its content that reason."""
    field = reasoning_field(message)
    if field is not None:
        return field[1]
    content = message.get("content")
    return split_parts(content)[1] or None if isinstance(content, list) else None


def split_parts(parts: list[Any]) -> tuple[str, str]:
    """Split content that came as a list of parts into (text, reasoning)."""
    pairs = [_part_texts(part) for part in parts]
    return "".join(text for text, _ in pairs), "".join(reasoning for _, reasoning in pairs)


def _part_texts(part: Any) -> tuple[str, str]:
    """Return the (text, reasoning) of one part. Its ``type`` decides; what is neither text nor reasoning is neither."""
    if isinstance(part, str):
        return part, ""
    if not isinstance(part, dict):
        return "", ""
    kind, text = part.get("type"), part.get("text")
    kind = kind.lower() if isinstance(kind, str) else ""
    if is_reasoning_type(kind) or (not kind and ("thinking" in part or not isinstance(text, str))):
        return "", _reasoning_text(part)
    return (text, "") if isinstance(text, str) and (not kind or "text" in kind) else ("", "")


def is_reasoning_type(kind: str) -> bool:
    """Whether the ``type`` of a part, in small letters, says that it holds reasoning."""
    return "reason" in kind or "think" in kind or "thought" in kind or "summary" in kind


def _reasoning_text(part: dict[str, Any]) -> str:
    """Return the text of a part that reasons: as it is, or as a list of texts and parts that all belong to it."""
    for name in _REASONING_TEXTS:
        inner = part.get(name)
        if isinstance(inner, str) and inner:
            return inner
        if isinstance(inner, list):
            text = "".join(
                item if isinstance(item, str) else _reasoning_text(item) if isinstance(item, dict) else ""
                for item in inner
            )
            if text:
                return text
    return ""
