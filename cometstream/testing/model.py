"""The simulated model: deterministic answers, one delta a token, as a stream or as a whole completion.

A token is a word of at most 16 characters or a punctuation mark, with the white space before it; the name of a called
tool counts as one. Usage adds up exactly that: the texts of the messages, and the deltas of every choice.

With tools it calls those that the last message names, in full or by a word of their names ("weather" for ``get_weather``), all of
them at once unless ``parallel_tool_calls`` is false; where it names none, the first one. Once results came back it answers in text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile, zip_longest
from typing import Any

import orjson

from cometstream.testing.replies import DONE, Piece, Reply, chunk
from cometstream.testing.schema import sample

__all__ = ["Said", "answer", "content_text", "tokens"]

_COMETS = (
    "A comet is a small world of ice and dust that grows a shining tail whenever its path leads it near the Sun.",
    "Comets are time capsules: their ice has kept the dust of the young solar system for more than four billion years.",
    "Halley's Comet returns about every 76 years, so a lucky person can greet it twice.",
    "A comet's tail always points away from the Sun, even when the comet itself is on its way out.",
)
_LETTERS = "kQ3vT9xB2mZ7pLs4"
_REASONING = "The question is about the sky, so I recall what comets are made of and answer briefly."
_COMMON = {"get", "set", "the", "and", "for", "find", "make", "run", "use", "call", "tool", "with", "from"}
_TOKEN = re.compile(r"\s*(?:\w{1,16}|[^\w\s])|\s+")


def tokens(text: str) -> list[str]:
    """Return the tokens of a text; joined they are the text."""
    return _TOKEN.findall(text)


@dataclass(frozen=True)
class Said:
    """What the model says, in place of what it makes up.

    Attributes:
        deltas: The deltas of each choice, after the one with the role.
        finish_reason: Why each choice ended.
        whole: False leaves out of a stream all that follows the deltas.
    """

    deltas: tuple[dict[str, Any], ...]
    finish_reason: str = "stop"
    whole: bool = True


def answer(
    request: dict[str, Any], request_id: str, token_rate: float | None = None, said: Said | None = None
) -> Reply:
    """Return the model's answer to a request that the gateway has let pass.

    Args:
        request: The request's parsed body.
        request_id: Distinguishes this answer's ids from others'.
        token_rate: Tokens a second for each choice; None is as fast as the reader reads.
        said: What the model says; None lets it make something up.
    """
    choices = [_choose(request, request_id, index, said) for index in range(request.get("n") or 1)]
    head = {"id": f"chatcmpl-{request_id}", "model": request["model"]}
    usage = _usage(request, choices)
    pause = 1 / token_rate if token_rate else 0.0
    if request.get("stream"):
        options = request.get("stream_options") or {}
        padded = options.get("include_obfuscation") is not False
        # Where usage is asked for, every chunk before the last has a null one.
        with_usage = bool(options.get("include_usage"))
        common = {"usage": None} if with_usage else {}
        events = [*_deltas(head, choices, pause, padded, common)]
        if said is None or said.whole:
            events += _end(head, choices, usage if with_usage else None, padded, common)
        return Reply.sse(*events)
    completion = {
        **chunk(**head),
        "object": "chat.completion",
        "choices": [_whole(choice, index) for index, choice in enumerate(choices)],
        "usage": usage,
    }
    return Reply.json(completion).after(pause * max(len(choice.deltas) for choice in choices))


@dataclass
class _Choice:
    deltas: list[dict[str, Any]]  # one token each
    finish_reason: str
    top_logprobs: int | None  # None is no logprobs at all


def _choose(request: dict[str, Any], request_id: str, index: int, said: Said | None) -> _Choice:
    top_logprobs = (request.get("top_logprobs") or 0) if request.get("logprobs") else None
    if said is not None:
        return _Choice(list(said.deltas), said.finish_reason, top_logprobs)
    effort = request.get("reasoning_effort")
    reasoning = _REASONING if effort and effort != "none" else ""
    deltas: list[dict[str, Any]] = [{"reasoning_content": token} for token in tokens(reasoning)]
    finish_reason = "stop"
    tools = _tools_to_call(request)
    if tools:
        for place, tool in enumerate(tools):
            deltas += _tool_call(tool, place, f"call_{request_id}_{index}" + (f"_{place}" if place else ""))
        finish_reason = "tool_calls"
    else:
        deltas += [{"content": token} for token in tokens(_stopped(_text(request, index), request.get("stop")))]
    limits = [request[name] for name in ("max_tokens", "max_completion_tokens") if request.get(name)]
    if limits and len(deltas) > min(limits):
        deltas, finish_reason = deltas[: min(limits)], "length"
    return _Choice(deltas, finish_reason, top_logprobs)


def _text(request: dict[str, Any], index: int) -> str:
    last = request["messages"][-1]
    asked = content_text(last)
    comet = _COMETS[index % len(_COMETS)]
    format_ = request.get("response_format") or {}
    if format_.get("type") == "json_schema":
        return orjson.dumps(sample((format_.get("json_schema") or {}).get("schema") or {"type": "object"})).decode()
    if format_.get("type") == "json_object":
        return orjson.dumps({"answer": comet}).decode()
    if last["role"] == "tool":
        results = [content_text(message) for message in takewhile(_is_result, reversed(request["messages"]))]
        return f"The tool says: {asked}" if len(results) == 1 else f"The tools say: {'; '.join(reversed(results))}"
    if "comet" in asked.lower():
        return comet if re.search(r"\b(one|a|single)\b.*\bsentence\b", asked, re.IGNORECASE) else " ".join(_COMETS)
    return f'You said: "{asked}" I would rather talk about comets.'


def content_text(message: dict[str, Any]) -> str:
    """Return a message's content as text; parts that are no text as ``[image_url]`` and so on."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else ()
    return " ".join(part["text"] if isinstance(part.get("text"), str) else f"[{part.get('type')}]" for part in parts)


def _stopped(text: str, stop: Any) -> str:
    sequences = [stop] if isinstance(stop, str) else stop or []
    ends = [text.find(sequence) for sequence in sequences if sequence]
    return text[: min((end for end in ends if end >= 0), default=None)]


def _is_result(message: dict[str, Any]) -> bool:
    return bool(message["role"] == "tool")


def _tools_to_call(request: dict[str, Any]) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = list(request.get("tools") or ())
    choice = request.get("tool_choice")
    last = request["messages"][-1]
    if not tools or choice == "none" or _is_result(last):
        return []
    if isinstance(choice, dict):
        forced = (choice.get(str(choice.get("type"))) or {}).get("name")
        return [next((tool for tool in tools if _name(tool) == forced), tools[0])]
    asked = content_text(last).lower()
    words = set(re.findall(r"[a-z]+", asked))
    named = [tool for tool in tools if _name(tool).lower() in asked or words & _words(_name(tool))] or tools[:1]
    return named[:1] if request.get("parallel_tool_calls") is False else named


def _name(tool: dict[str, Any]) -> str:
    return str(tool[tool["type"]]["name"])


def _words(name: str) -> set[str]:
    """Return the words of a tool's name that say what it is about: not those that many tools begin with."""
    return set(re.findall(r"[a-z]{3,}", name.lower())) - _COMMON


def _tool_call(tool: dict[str, Any], index: int, call_id: str) -> Iterator[dict[str, Any]]:
    kind, name = tool["type"], _name(tool)
    if kind == "custom":
        text, holds = "comet", "input"
    else:
        text, holds = orjson.dumps(sample(tool[kind].get("parameters") or {"type": "object"})).decode(), "arguments"
    yield {"tool_calls": [{"index": index, "id": call_id, "type": kind, kind: {"name": name, holds: ""}}]}
    for token in tokens(text):
        yield {"tool_calls": [{"index": index, kind: {holds: token}}]}


def _deltas(
    head: dict[str, Any], choices: list[_Choice], pause: float, padded: bool, common: dict[str, None]
) -> Iterator[Piece | dict[str, Any]]:
    for index, choice in enumerate(choices):
        content = None if choice.finish_reason == "tool_calls" else ""
        role = {"role": "assistant", "content": content, "refusal": None}
        yield chunk(role, index=index, **head) | common | _padding(role, padded)
    for step in zip_longest(*(choice.deltas for choice in choices)):
        if pause:
            yield pause
        for index, delta in enumerate(step):
            if delta is not None:
                logprobs = _logprobs([delta], choices[index])
                yield chunk(delta, index=index, logprobs=logprobs, **head) | common | _padding(delta, padded)


def _end(
    head: dict[str, Any], choices: list[_Choice], usage: dict[str, Any] | None, padded: bool, common: dict[str, None]
) -> Iterator[Piece | dict[str, Any]]:
    for index, choice in enumerate(choices):
        yield chunk(index=index, finish_reason=choice.finish_reason, **head) | common | _padding({}, padded)
    if usage is not None:
        yield {**chunk(**head), "choices": [], "usage": usage}
    yield DONE


def _padding(delta: dict[str, Any], padded: bool) -> dict[str, str]:
    """Return what hides a delta's length from who sees only the size of packets; the gateway pads each chunk otherwise."""
    return {"obfuscation": _LETTERS[: 16 - len(orjson.dumps(delta)) % 16]} if padded else {}


def _whole(choice: _Choice, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": _joined(choice, "content") or None,
        "refusal": None,
        "annotations": [],
    }
    if reasoning := _joined(choice, "reasoning_content"):
        message["reasoning_content"] = reasoning
    calls: list[dict[str, Any]] = []
    for fragment in (delta["tool_calls"][0] for delta in choice.deltas if "tool_calls" in delta):
        if "id" in fragment:
            kind = fragment["type"]
            calls.append({"id": fragment["id"], "type": kind, kind: dict(fragment[kind])})
        else:
            called = calls[-1][calls[-1]["type"]]
            holds = "input" if "input" in called else "arguments"
            called[holds] += fragment[calls[-1]["type"]][holds]
    if calls:
        message["tool_calls"] = calls
    logprobs = _logprobs(choice.deltas, choice)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}


def _joined(choice: _Choice, key: str) -> str:
    return "".join(delta[key] for delta in choice.deltas if key in delta)


def _logprobs(deltas: list[dict[str, Any]], choice: _Choice) -> dict[str, Any] | None:
    if choice.top_logprobs is None:
        return None
    content = []
    for delta in deltas:
        if "content" in delta:
            likely = [_logprob(delta["content"] + "'" * rank, rank) for rank in range(max(1, choice.top_logprobs))]
            content.append({**likely[0], "top_logprobs": likely[: choice.top_logprobs]})
    return {"content": content, "refusal": None} if content else None


def _logprob(token: str, rank: int) -> dict[str, Any]:
    return {"token": token, "logprob": -0.125 * 2**rank, "bytes": list(token.encode())}


def _usage(request: dict[str, Any], choices: list[_Choice]) -> dict[str, Any]:
    prompt = sum(len(tokens(content_text(message))) for message in request["messages"])
    completion = sum(len(choice.deltas) for choice in choices)
    reasoning = sum("reasoning_content" in delta for choice in choices for delta in choice.deltas)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
