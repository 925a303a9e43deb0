"""Checks a request against the endpoint's specification before it is sent, and lists all problems at once.

Checked are types, required fields, ranges and the names of the parameters. Not checked are values that providers may add to:
roles, reasoning efforts, service tiers, part and tool types, and unknown fields of nested objects. Null is accepted for every
optional parameter and field.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from cometstream.errors import InvalidRequestError
from cometstream.request.describe import MISSING, kind, shown
from cometstream.request.encode import encode_body, is_json_list, join_path, opened

__all__ = ["KNOWN_PARAMETERS", "check_request"]

# Appends to `problems` what is wrong with the value at a path.
_Check: TypeAlias = Callable[[Any, str, list[str]], None]


def _refuse(value: object, path: str, problems: list[str], allowed: str) -> None:
    problems.append(f"{path}: is {kind(value)}; {allowed}")


def _string(value: Any, path: str, problems: list[str]) -> None:
    if not isinstance(value, str):
        _refuse(value, path, problems, "it must be a string")


def _model(value: Any, path: str, problems: list[str]) -> None:
    if not isinstance(value, str) or not value.strip():
        _refuse(value, path, problems, "it must be a model id, see the Models page")


def _boolean(value: Any, path: str, problems: list[str]) -> None:
    if not isinstance(value, bool):
        _refuse(value, path, problems, "it must be true or false")


def _present(value: Any, path: str, problems: list[str]) -> None:
    if value is MISSING or value is None:
        _refuse(value, path, problems, "it is required")


def _number(low: float, high: float) -> _Check:
    def check(value: Any, path: str, problems: list[str]) -> None:
        # NaN and the infinities fail this comparison, too.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            _refuse(value, path, problems, f"it must be a number from {low} to {high}")

    return check


def _integer(low: int | None = None, high: int | None = None) -> _Check:
    bounds = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"

    def check(value: Any, path: str, problems: list[str]) -> None:
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or (low is not None and value < low)
            or (high is not None and value > high)
        ):
            _refuse(value, path, problems, f"it must be an integer{bounds}")

    return check


def _content(value: Any, path: str, problems: list[str]) -> None:
    if not isinstance(value, str):
        _parts(value, path, problems)


def _stop(value: Any, path: str, problems: list[str]) -> None:
    if not isinstance(value, str):
        _stop_strings(value, path, problems)


def _list(item: _Check, allowed: str) -> _Check:
    def check(value: Any, path: str, problems: list[str]) -> None:
        if not is_json_list(value):
            _refuse(value, path, problems, f"it must be {allowed}")
            return
        for index, element in enumerate(value):
            item(element, f"{path}[{index}]", problems)

    return check


def _mapping_of(item: _Check) -> _Check:
    def check(value: Any, path: str, problems: list[str]) -> None:
        if not isinstance(value, Mapping):
            _refuse(value, path, problems, "it must be an object")
            return
        for key, element in value.items():
            if isinstance(key, str):
                item(element, join_path(path, key), problems)
            else:
                problems.append(f"{path}: has a key of type {type(key).__name__}; keys must be strings")

    return check


def _object(
    required: Mapping[str, _Check] | None = None,
    optional: Mapping[str, _Check] | None = None,
    *,
    variants: Mapping[str, _Check] | None = None,
    or_string: bool = False,
) -> _Check:
    """Return the check of an object: its required and optional fields, and those that its `type` asks for in addition."""
    required, variants = required or {}, variants or {}
    fields = {**required, **(optional or {})}
    texts = frozenset(name for name, field in fields.items() if field is _string or field is _content)
    allowed = "it must be a string or an object" if or_string else "it must be an object"

    def check(value: Any, path: str, problems: list[str]) -> None:
        if not isinstance(value, (dict, Mapping)):
            if (stands_for := opened(value)) is not value:  # of an earlier answer, or a pydantic model
                check(stands_for, path, problems)
            elif not (or_string and isinstance(value, str)):
                _refuse(value, path, problems, allowed)
            return
        for name, element in value.items():
            # A long conversation has thousands of texts: they cost neither a call nor a path.
            if type(element) is str and name in texts:
                continue
            if (field := fields.get(name)) is not None and (element is not None or name in required):
                field(element, f"{path}.{name}", problems)
        for name, field in required.items():
            if name not in value:
                field(MISSING, f"{path}.{name}", problems)
        if variants and isinstance(kind := value.get("type"), str) and kind in variants:
            variants[kind](value, path, problems)

    return check


def _response_format_type(value: Any, path: str, problems: list[str]) -> None:
    if not isinstance(value, str) or value not in ("text", "json_object", "json_schema"):
        _refuse(value, path, problems, "it must be text, json_object or json_schema")


_anything = _object()

_part = _object(
    {"type": _string},
    variants={
        "text": _object({"text": _string}),
        "image_url": _object({"image_url": _object({"url": _string}, {"detail": _string})}),
        "input_audio": _object({"input_audio": _object({"data": _string, "format": _string})}),
        "file": _object({"file": _object({}, {"file_id": _string, "filename": _string, "file_data": _string})}),
        "refusal": _object({"refusal": _string}),
    },
)
_parts = _list(_part, "a string or a list of parts")

_called_function = _object({"name": _string, "arguments": _string})
_tool_call = _object({"id": _string, "type": _string}, variants={"function": _object({"function": _called_function})})

_message_fields = _object(
    {"role": _string},
    {
        "content": _content,
        "name": _string,
        "refusal": _string,
        "tool_calls": _list(_tool_call, "a list of tool calls"),
        "function_call": _called_function,
        "audio": _object({"id": _string}),
    },
)

# A parameter's name that a message shows as it is; names can come from a browser.
_LONGEST_NAME: Final = 64

# Nearly all messages are these two texts; a long conversation has thousands of them.
_PLAIN: Final = frozenset({"role", "content"})


def _messages(value: Any, path: str, problems: list[str]) -> None:
    if not is_json_list(value) or not value:
        _refuse(value, path, problems, "it must be a list of at least one message")
        return
    for index, message in enumerate(value):
        if type(message) is dict and message.keys() == _PLAIN:
            role, content = message["role"], message["content"]
            if type(role) is type(content) is str and role != "tool":
                continue
        _message(message, f"{path}[{index}]", problems)


def _message(value: Any, path: str, problems: list[str]) -> None:
    _message_fields(value, path, problems)
    if not isinstance(value, (dict, Mapping)):
        return
    role = value.get("role")
    if not isinstance(role, str):
        return
    content = value.get("content", MISSING)
    # An answer may have none (it called tools, or was cut), and comes back as it is.
    if (content is None or content is MISSING) and role in ("system", "developer", "user", "tool"):
        _content(content, f"{path}.content", problems)
    if role == "tool":
        _string(value.get("tool_call_id", MISSING), f"{path}.tool_call_id", problems)


_stop_strings = _list(_string, "a string or a list of strings")
_function = _object({"name": _string}, {"description": _string, "parameters": _anything, "strict": _boolean})

_OPTIONAL: Final[Mapping[str, _Check]] = {
    # The endpoint's OpenAPI.
    "stream": _boolean,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "n": _integer(1),
    "stop": _stop,
    "max_tokens": _integer(),
    "max_completion_tokens": _integer(),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "logit_bias": _mapping_of(_number(-100, 100)),
    "logprobs": _boolean,
    "top_logprobs": _integer(0, 20),
    "user": _string,
    "response_format": _object(
        {"type": _response_format_type},
        variants={
            "json_schema": _object(
                {
                    "json_schema": _object(
                        {"name": _string, "schema": _anything}, {"description": _string, "strict": _boolean}
                    )
                }
            )
        },
    ),
    "tools": _list(
        _object({"type": _string}, variants={"function": _object({"function": _function})}), "a list of tools"
    ),
    "tool_choice": _object(
        {"type": _string}, variants={"function": _object({"function": _object({"name": _string})})}, or_string=True
    ),
    "reasoning_effort": _string,
    "stream_options": _object({}, {"include_usage": _boolean, "include_obfuscation": _boolean}),
    "service_tier": _string,
    # OpenAI's own, which the gateway passes on.
    "audio": _object({"voice": _present, "format": _string}),
    "function_call": _object({"name": _string}, or_string=True),
    "functions": _list(_function, "a list of functions"),
    "metadata": _mapping_of(_string),
    "modalities": _list(_string, "a list of strings"),
    "parallel_tool_calls": _boolean,
    "prediction": _object({"type": _string}, variants={"content": _object({"content": _content})}),
    "moderation": _anything,
    "prompt_cache_key": _string,
    "prompt_cache_options": _anything,
    "prompt_cache_retention": _string,
    "safety_identifier": _string,
    "seed": _integer(),
    "store": _boolean,
    "verbosity": _string,
    "web_search_options": _object({}, {"search_context_size": _string, "user_location": _anything}),
}

KNOWN_PARAMETERS: Final[frozenset[str]] = frozenset({"model", "messages", *_OPTIONAL})
"""Every parameter of the request body. A provider's own parameters go into `extra_body`."""


def check_request(body: Mapping[str, Any], problems: Sequence[str] = ()) -> None:
    """Check a request against the endpoint's specification.

    Args:
        body: The whole body with `model`, `messages` and `stream`, without `extra_body`, which is not checked.
        problems: What is known to be wrong already.

    Raises:
        InvalidRequestError: The request does not match the specification; every problem is listed with its path.

    Source:
        The OpenAPI of POST /v1/chat/completions; for parameters that it does not have, OpenAI's own reference.
    """
    problems = list(problems)
    _model(body.get("model", MISSING), "model", problems)
    _messages(body.get("messages", MISSING), "messages", problems)
    for name, value in body.items():
        if name == "model" or name == "messages" or (value is True and name == "stream"):
            continue
        if (optional := _OPTIONAL.get(name)) is None:
            problems.append(_unknown(name))
        elif value is not None:
            optional(value, name, problems)
    if body.get("top_logprobs") is not None and _is_off(body.get("logprobs")):
        problems.append("top_logprobs: is given without logprobs; logprobs must be true")
    if body.get("stream_options") is not None and _is_off(body.get("stream")):
        problems.append("stream_options: is given without stream; stream must be true")
    if problems:
        raise InvalidRequestError([*problems, *_unwritable(body, problems)])


def _is_off(flag: object) -> bool:
    return flag is None or flag is False


def _unwritable(body: Mapping[str, Any], problems: list[str]) -> list[str]:
    """Return the problems that encoding would find in addition, so that the caller learns of all at once."""
    known = {problem.partition(": ")[0] for problem in problems}
    try:
        encode_body(body)
    except InvalidRequestError as error:
        return [problem for problem in error.problems if problem.partition(": ")[0] not in known]
    return []


def _unknown(name: str) -> str:
    nearest: list[str] = []
    with contextlib.suppress(OSError):  # what is wrong is told also where no file is left to import from
        import difflib  # here: programs whose requests are right do not wait for its import

        nearest = difflib.get_close_matches(name[:_LONGEST_NAME].lower(), KNOWN_PARAMETERS, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    label = name if name.isprintable() and len(name) <= _LONGEST_NAME else shown(name)
    return f"{label}: is not a parameter of this endpoint; {hint}a provider's own parameters go into extra_body"
