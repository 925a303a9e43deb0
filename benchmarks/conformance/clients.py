"""The clients of the scoreboard, each read as its documentation shows, by a caller who guards against null.

Importing this module imports none of them: litellm lives in an environment of its own, and so each has a process of its own.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module, metadata
from typing import Any

MESSAGES = [{"role": "user", "content": "Say hello."}]
MODEL = "gpt-5.4"
KEY = "sk-conformance"


class Choices:
    """Joins deltas as the documentation of openai shows: texts by choice, calls by their index."""

    def __init__(self) -> None:
        self._choices: dict[Any, dict[str, Any]] = {}
        self._usage: Any = None

    def add(self, chunk: Any) -> None:
        usage = getattr(chunk, "usage", None)
        if usage:
            self._usage = usage
        for choice in getattr(chunk, "choices", None) or []:
            state = self._choices.setdefault(
                getattr(choice, "index", None) or 0,
                {"content": [], "reasoning": [], "refusal": [], "calls": {}, "function": None, "finish_reason": None},
            )
            state["finish_reason"] = getattr(choice, "finish_reason", None) or state["finish_reason"]
            delta = getattr(choice, "delta", None)
            if delta is not None:
                self._add_delta(state, delta)

    def _add_delta(self, state: dict[str, Any], delta: Any) -> None:
        for name, fields in (
            ("content", ["content"]),
            ("reasoning", ["reasoning_content", "reasoning"]),
            ("refusal", ["refusal"]),
        ):
            piece = next((getattr(delta, field) for field in fields if getattr(delta, field, None)), None)
            if piece:
                state[name].append(piece)
        function = getattr(delta, "function_call", None)
        if function is not None:
            state["function"] = state["function"] or {"name": None, "arguments": []}
            _add_function(state["function"], function)
        for call in getattr(delta, "tool_calls", None) or []:
            joined = state["calls"].setdefault(
                getattr(call, "index", None), {"id": None, "name": None, "arguments": []}
            )
            joined["id"] = joined["id"] or getattr(call, "id", None)
            _add_function(joined, getattr(call, "function", None))

    def view(self) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                **{name: _joined(state[name]) for name in ("content", "reasoning", "refusal")},
                "tool_calls": [{**call, "arguments": _joined(call["arguments"])} for call in state["calls"].values()],
                "function_call": state["function"]
                and {**state["function"], "arguments": _joined(state["function"]["arguments"])},
                "finish_reason": state["finish_reason"],
            }
            for index, state in self._choices.items()
        ]
        return {"choices": choices, "usage": _plain(self._usage)}


def _add_function(joined: dict[str, Any], function: Any) -> None:
    if function is not None:
        joined["name"] = joined["name"] or getattr(function, "name", None)
        arguments = getattr(function, "arguments", None)
        if arguments:
            joined["arguments"].append(arguments)


def _joined(pieces: list[Any]) -> Any:
    """Join texts; what is no text stays as the client gave it."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    return pieces[0] if len(pieces) == 1 else pieces


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def view_of(completion: Any) -> dict[str, Any]:
    """Return the view of a whole completion."""
    choices = []
    for choice in getattr(completion, "choices", None) or []:
        message = choice.message
        function = getattr(message, "function_call", None)
        calls = getattr(message, "tool_calls", None) or []
        choices.append(
            {
                "index": choice.index,
                "content": getattr(message, "content", None),
                "reasoning": getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None),
                "refusal": getattr(message, "refusal", None),
                "tool_calls": [
                    {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
                    for call in calls
                    if getattr(call, "function", None) is not None
                ],
                "function_call": function and {"name": function.name, "arguments": function.arguments},
                "finish_reason": choice.finish_reason,
            }
        )
    return {"choices": choices, "usage": _plain(getattr(completion, "usage", None))}


class Comet:
    """cometstream's ``session.stream()``."""

    packages = ("cometstream", "aiohttp")

    def __init__(self, timeout: float) -> None:
        from cometstream import CometError, Timeouts

        self.own = CometError
        self.timeouts = Timeouts(connect=timeout, first_content=timeout, content_idle=timeout)

    async def read(self, base_url: str, request: dict[str, Any], views: list[dict[str, Any]]) -> None:
        from cometstream import CometSession

        async with CometSession(api_key=KEY, base_url=base_url, retry=None, timeouts=self.timeouts) as session:
            async with session.stream(model=MODEL, messages=MESSAGES, **request) as stream:
                async for _ in stream:
                    pass
            view = view_of(stream.completion)
            for shown, choice in zip(view["choices"], stream.completion.choices, strict=True):
                shown["tool_calls"] = [
                    {
                        "id": call.id,
                        "name": call.function.name,
                        "arguments": call.parse() if call.executable and call.custom is None else "-",
                    }
                    for call in choice.message.tool_calls or []
                ]
            views.append(view)


class OpenAICreate:
    """openai's ``create(stream=True)``."""

    packages = ("openai", "httpx", "httpx2")

    def __init__(self, timeout: float) -> None:
        import openai

        self.own = openai.OpenAIError
        self.timeout = timeout

    def client(self, base_url: str) -> Any:
        import openai

        return openai.AsyncOpenAI(api_key=KEY, base_url=base_url, timeout=self.timeout, max_retries=0)

    async def read(self, base_url: str, request: dict[str, Any], views: list[dict[str, Any]]) -> None:
        choices = Choices()
        async with self.client(base_url) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **request
            )
            async for chunk in stream:
                choices.add(chunk)
        views.append(choices.view())


class OpenAIStream(OpenAICreate):
    """openai's helper ``stream()``, which adds the completion up itself."""

    async def read(self, base_url: str, request: dict[str, Any], views: list[dict[str, Any]]) -> None:
        async with (
            self.client(base_url) as client,
            client.chat.completions.stream(
                model=MODEL, messages=MESSAGES, stream_options={"include_usage": True}, **request
            ) as stream,
        ):
            async for _ in stream:
                pass
            views.append(view_of(await stream.get_final_completion()))


class Litellm:
    """litellm's ``acompletion(stream=True)``; its calls joined by the deltas or by its own helper, whichever is right."""

    packages = ("litellm", "openai", "httpx", "aiohttp")
    prefix = "openai"

    def __init__(self, timeout: float) -> None:
        import openai

        litellm: Any = import_module("litellm")
        litellm.telemetry = False
        litellm.suppress_debug_info = True
        # Every error of litellm's is one of openai's.
        self.own = openai.OpenAIError
        self.timeout = timeout

    async def read(self, base_url: str, request: dict[str, Any], views: list[dict[str, Any]]) -> None:
        litellm: Any = import_module("litellm")
        stream = await litellm.acompletion(
            model=f"{self.prefix}/{MODEL}",
            messages=MESSAGES,
            api_base=base_url,
            api_key=KEY,
            stream=True,
            stream_options={"include_usage": True},
            timeout=self.timeout,
            stream_timeout=self.timeout,
            max_retries=0,
            num_retries=0,
            **request,
        )
        choices = Choices()
        chunks = []
        async for chunk in stream:
            choices.add(chunk)
            chunks.append(chunk)
        by_hand = choices.view()
        views.append(by_hand)
        try:
            whole = view_of(litellm.stream_chunk_builder(chunks, messages=MESSAGES))
        except Exception:
            return  # the deltas stand for it
        # The helper counts tokens itself where the server told none.
        views.append({**whole, "usage": by_hand["usage"]})


class LitellmComet(Litellm):
    """The same with litellm's own provider for CometAPI."""

    prefix = "cometapi"


CLIENTS: dict[str, type[Any]] = {
    "cometstream": Comet,
    "openai create": OpenAICreate,
    "openai stream": OpenAIStream,
    "litellm openai/": Litellm,
    "litellm cometapi/": LitellmComet,
}


def versions(name: str) -> dict[str, str]:
    """Return the versions of what a client is made of."""
    found = {}
    for package in CLIENTS[name].packages:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
