from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import re
import textwrap
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import openai
import orjson
import pytest
from support.virtual_clock import run

import cometstream
from cometstream import openai as ours
from cometstream.openai.calls import to_timeouts
from cometstream.policy import Timeouts
from cometstream.testing import DONE, Reply, SimulatedServer, chunk

MESSAGES: list[Any] = [{"role": "user", "content": "Write one sentence about comets."}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"location": {"type": "string"}},
                "required": ["location"],
                "additionalProperties": False,
            },
        },
    }
]

# As the endpoint's page has them.
SAMPLES = {
    "default": """
        import os
        from openai import OpenAI
        client = OpenAI(
            base_url="https://api.cometapi.com/v1",
            api_key=os.environ["COMETAPI_KEY"],
        )

        completion = client.chat.completions.create(
            model="gpt-5.4",
            messages=[
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "Hello!"},
            ],
        )

        print(completion.choices[0].message)
        """,
    "image input": """
        import os
        from openai import OpenAI
        client = OpenAI(
            base_url="https://api.cometapi.com/v1",
            api_key=os.environ["COMETAPI_KEY"],
        )

        completion = client.chat.completions.create(
            model="gpt-4.1",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is in this image?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "https://picsum.photos/1920/1080"},
                        },
                    ],
                }
            ],
            max_tokens=300,
        )

        print(completion.choices[0].message)
        """,
    "streaming": """
        import os
        from openai import OpenAI
        client = OpenAI(
            base_url="https://api.cometapi.com/v1",
            api_key=os.environ["COMETAPI_KEY"],
        )

        stream = client.chat.completions.create(
            model="gpt-5.4",
            messages=[
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "Hello!"},
            ],
            stream=True,
        )

        for chunk in stream:
            if chunk.choices[0].delta.content is not None:
                print(chunk.choices[0].delta.content, end="")
        """,
    "functions": """
        import os
        from openai import OpenAI

        client = OpenAI(
            base_url="https://api.cometapi.com/v1",
            api_key=os.environ["COMETAPI_KEY"],
        )

        completion = client.chat.completions.create(
            model="gpt-4.1",
            messages=[
                {"role": "user", "content": "What is the weather like in Boston today?"}
            ],
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": "get_current_weather",
                        "description": "Get the current weather in a given location",
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "location": {
                                    "type": "string",
                                    "description": "The city and state, e.g. San Francisco, CA",
                                },
                                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                            },
                            "required": ["location"],
                        },
                    },
                }
            ],
            tool_choice="auto",
        )

        print(completion.choices[0].message)
        """,
    "logprobs": """
        import os
        from openai import OpenAI

        client = OpenAI(
            base_url="https://api.cometapi.com/v1",
            api_key=os.environ["COMETAPI_KEY"],
        )

        completion = client.chat.completions.create(
            model="gpt-5.4",
            messages=[
                {"role": "user", "content": "Hello!"}
            ],
            logprobs=True,
            top_logprobs=2,
        )

        print(completion.choices[0].logprobs)
        """,
    # The quickstart's request, whose answer "your application reads" as choices[0].message.content.
    "quickstart": """
        import os
        from openai import OpenAI

        client = OpenAI(
            base_url="https://api.cometapi.com/v1",
            api_key=os.environ["COMETAPI_KEY"],
        )

        completion = client.chat.completions.create(
            model="gpt-5.4",
            messages=[{"role": "user", "content": "Write one sentence about CometAPI."}],
        )

        print(completion.choices[0].message.content)
        """,
}
CHAT_WITH_RETRY = """
    import os
    import time
    import random
    from openai import OpenAI, RateLimitError

    client = OpenAI(
        base_url="https://api.cometapi.com/v1",
        api_key=os.environ["COMETAPI_KEY"],
    )

    def chat_with_retry(messages, max_retries=3):
        for i in range(max_retries):
            try:
                return client.chat.completions.create(
                    model="gpt-5.4",
                    messages=messages,
                )
            except RateLimitError:
                if i < max_retries - 1:
                    wait_time = (2 ** i) + random.random()
                    time.sleep(wait_time)
                else:
                    raise
    """


async def run_sample(sample: str, package: str, base_url: str) -> dict[str, Any]:
    """Run a sample made async, with its import changed, and return its names; its client is closed."""
    source = textwrap.dedent(sample).replace("https://api.cometapi.com/v1", base_url)
    for synchronous, asynchronous in (
        (r"from openai import OpenAI", f"from {package} import AsyncOpenAI"),
        (r"= OpenAI\(", "= AsyncOpenAI("),
        (r"client\.chat", "await client.chat"),
        (r"for chunk in", "async for chunk in"),
        (r"def chat_with_retry", "async def chat_with_retry"),
        (r"import time", "import asyncio"),
        (r"time\.sleep", "await asyncio.sleep"),
    ):
        source = re.sub(synchronous, asynchronous, source)
    names: dict[str, Any] = {}
    code = compile(source, "sample", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    started = eval(code, names)
    if inspect.isawaitable(started):
        await started
        await names["client"].close()
    return names


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


@pytest.fixture
async def client(server: SimulatedServer) -> AsyncIterator[ours.AsyncOpenAI]:
    async with ours.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def theirs(server: SimulatedServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url, max_retries=0) as client:
        yield client


# The samples.


@pytest.mark.filterwarnings("ignore::cometstream.ParameterWarning")
@pytest.mark.parametrize("name", SAMPLES)
async def test_the_documents_samples_run_with_only_the_import_changed(
    name: str, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", server.api_key)
    expected = await run_sample(SAMPLES[name], "openai", server.base_url)
    expected_output = capsys.readouterr().out
    names = await run_sample(SAMPLES[name], "cometstream.openai", server.base_url)
    output = capsys.readouterr().out
    theirs, mine = (request.json for request in server.requests)
    mine.pop("stream_options", None)  # asks for the usage, unseen
    assert mine == theirs
    if name in ("streaming", "quickstart"):
        assert output == expected_output != ""
        return
    message, wanted = (found["completion"].choices[0].message for found in (names, expected))
    assert without_ids(message.model_dump()) == without_ids(wanted.model_dump(exclude_unset=True))
    assert output.startswith("ChoiceLogprobs(content=[" if name == "logprobs" else "ChatCompletionMessage(")
    if name == "functions":
        call, wanted_call = message.tool_calls[0].function, wanted.tool_calls[0].function
        assert (call.name, call.arguments) == (wanted_call.name, wanted_call.arguments)


def without_ids(dumped: Any) -> Any:
    """Leave out what differs from one answer of the simulated model to the next."""
    return orjson.loads(re.sub(rb"sim\d+", b"sim", orjson.dumps(dumped)))


def test_the_faqs_retry_loop_runs_with_only_the_import_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with SimulatedServer() as server:
            monkeypatch.setenv("COMETAPI_KEY", server.api_key)
            names = await run_sample(CHAT_WITH_RETRY, "cometstream.openai", server.base_url)
            async with names["client"]:
                # Three requests for each call: the client's own retries come first.
                server.script(*[Reply.error(429)] * 6)
                completion = await names["chat_with_retry"](MESSAGES)
                assert completion.choices[0].finish_reason == "stop"
                assert len(server.requests) == 7
                server.always(Reply.error(429))
                with pytest.raises(ours.RateLimitError):
                    await names["chat_with_retry"](MESSAGES)
                assert len(server.requests) == 16

    run(main())


# Shapes, compared with the openai package.


def assert_reads_alike(mine: Any, wanted: Any, path: str = "") -> None:
    """Compare every attribute that openai's type names; what is no object there is compared as it is."""
    if isinstance(wanted, list):
        assert len(mine) == len(wanted), path
        for place, (item, other) in enumerate(zip(mine, wanted, strict=True)):
            assert_reads_alike(item, other, f"{path}[{place}]")
    elif not isinstance(wanted, openai.BaseModel):
        assert mine == wanted, path
    elif isinstance(mine, dict):
        assert mine == wanted.model_dump(exclude_unset=True), path
    else:
        assert mine.model_dump() == wanted.model_dump(exclude_unset=True), path
        for name in type(wanted).model_fields:
            other = getattr(wanted, name)
            if not hasattr(mine, name):
                assert other is None, f"{path}.{name}"  # a field of openai's that the wire left out
            elif other is not None or getattr(mine, name) != []:
                assert_reads_alike(getattr(mine, name), other, f"{path}.{name}")


REQUESTS: dict[str, dict[str, Any]] = {
    "text": {},
    "two choices": {"n": 2},
    "tools": {"tools": TOOLS},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "reasoning": {"reasoning_effort": "low"},
    "usage": {"stream_options": {"include_usage": True}},
    "no usage": {"stream_options": {"include_usage": False}},
    "length": {"max_completion_tokens": 3},
}


@pytest.mark.parametrize("name", [name for name in REQUESTS if "usage" not in name])
async def test_a_completion_reads_as_openais_attribute_by_attribute(
    name: str, server: SimulatedServer, client: ours.AsyncOpenAI, theirs: openai.AsyncOpenAI
) -> None:
    wanted = await theirs.chat.completions.create(model="gpt-5.4", messages=MESSAGES, **REQUESTS[name])
    server.script(Reply.json(wanted.model_dump(exclude_unset=True)))
    mine = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, **REQUESTS[name])
    assert_reads_alike(mine, wanted)


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_stream_yields_openais_chunks_attribute_by_attribute(
    name: str, server: SimulatedServer, client: ours.AsyncOpenAI, theirs: openai.AsyncOpenAI
) -> None:
    request: dict[str, Any] = {"model": "gpt-5.4", "messages": MESSAGES, **REQUESTS[name]}
    wanted = [item async for item in await theirs.chat.completions.create(**request, stream=True)]
    assert wanted
    server.script(Reply.sse(*(item.model_dump(exclude_unset=True) for item in wanted), DONE))
    mine = [item async for item in await client.chat.completions.create(**request, stream=True)]
    assert len(mine) == len(wanted)
    for item, other in zip(mine, wanted, strict=True):
        assert_reads_alike(item, other)


EVENT_FIELDS = ("delta", "snapshot", "content", "refusal", "name", "index", "arguments", "arguments_delta")


def fields_of(event: Any) -> dict[str, Any]:
    """Return what both packages' events have, as plain data."""
    found: dict[str, Any] = {"type": event.type}
    for name in EVENT_FIELDS:
        value = getattr(event, name, None)
        if event.type != "chunk" and value is not None:
            tokens = isinstance(value, list)
            found[name] = (
                [item if isinstance(item, dict) else item.model_dump(exclude_unset=True) for item in value]
                if tokens
                else value
            )
    if event.type == "chunk":
        found["chunk"] = event.chunk.model_dump(exclude_unset=True)
    return found


def event_stream(client: Any, **request: Any) -> Any:
    # Older releases of openai have the helper under beta only.
    completions = client.chat.completions
    return (completions if hasattr(completions, "stream") else client.beta.chat.completions).stream(**request)


REFUSAL = Reply.sse(
    chunk({"role": "assistant", "content": None, "refusal": None}),
    chunk(
        {"refusal": "I "}, logprobs={"content": None, "refusal": [{"token": "I ", "logprob": -1.0, "bytes": [73, 32]}]}
    ),
    chunk({"refusal": "will not."}),
    chunk(finish_reason="stop"),
    DONE,
)


@pytest.mark.parametrize("name", [*REQUESTS, "refusal"])
async def test_the_helper_yields_openais_events_by_type_and_order(
    name: str, server: SimulatedServer, client: ours.AsyncOpenAI, theirs: openai.AsyncOpenAI
) -> None:
    request: dict[str, Any] = {"model": "gpt-5.4", "messages": MESSAGES, **REQUESTS.get(name, {})}
    if name == "refusal":
        server.always(REFUSAL)
    async with event_stream(theirs, **request) as stream:
        wanted = [fields_of(event) async for event in stream]
    if name != "refusal":
        chunks = [event["chunk"] for event in wanted if event["type"] == "chunk"]
        server.script(Reply.sse(b": keep-alive\n\n", *chunks, DONE))
    async with event_stream(client, **request) as stream:
        mine = [fields_of(event) async for event in stream]
    assert mine == [event for event in wanted if event.get("delta") != ""]
    assert len(mine) > 3


async def test_the_helper_gives_the_final_completion(
    client: ours.AsyncOpenAI, theirs: openai.AsyncOpenAI, server: SimulatedServer
) -> None:
    server.always(Reply.text("Comets ", "shine."))
    request: dict[str, Any] = {"model": "gpt-5.4", "messages": MESSAGES}
    async with event_stream(theirs, **request) as their_stream:
        wanted = await their_stream.get_final_completion()
    async with event_stream(client, **request) as stream:
        async for event in stream:
            if event.type == "content.delta":
                break
        assert stream.current_completion_snapshot.choices[0].message.content == "Comets "
        assert await stream.until_done() is stream
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == wanted.choices[0].message.content == "Comets shine."
    assert completion.choices[0].finish_reason == wanted.choices[0].finish_reason
    assert stream.current_completion_snapshot == completion


async def test_the_list_of_models_reads_as_openais(client: ours.AsyncOpenAI, theirs: openai.AsyncOpenAI) -> None:
    wanted = await theirs.models.list()
    page = await client.models.list()
    assert page.object == wanted.object
    assert_reads_alike(page.data, wanted.data)
    assert [model async for model in client.models.list()] == page.data
    assert [model async for model in page] == page.data


# Errors.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 503])
async def test_a_status_raises_openais_class(
    status: int, stream: bool, server: SimulatedServer, client: ours.AsyncOpenAI, theirs: openai.AsyncOpenAI
) -> None:
    server.always(Reply.error(status, "no", code="some_code", param="model", retry_after=1))
    with pytest.raises(openai.APIStatusError) as wanted:
        await theirs.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=stream)
    with pytest.raises(ours.APIStatusError) as caught:
        await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=stream)
    error, other = caught.value, wanted.value
    assert type(error).__name__ == type(other).__name__
    assert (error.status_code, error.code, error.type, error.param) == (
        other.status_code,
        other.code,
        other.type,
        other.param,
    )
    assert error.headers["Retry-After"] == other.response.headers["Retry-After"]
    assert error.body == other.body
    assert (error.response.status_code, error.response.json()) == (other.response.status_code, other.response.json())
    assert error.response.request.url == str(other.response.request.url)


ERROR_NAMES = [
    "OpenAIError",
    "APIError",
    "APIConnectionError",
    "APITimeoutError",
    "APIStatusError",
    "APIResponseValidationError",
    "BadRequestError",
    "AuthenticationError",
    "PermissionDeniedError",
    "NotFoundError",
    "RateLimitError",
    "InternalServerError",
]


@pytest.mark.parametrize("name", ERROR_NAMES)
def test_error_names_are_importable_and_stand_in_openais_tree(name: str) -> None:
    wanted = getattr(openai, name)
    parents = [parent.__name__ for parent in wanted.__mro__ if hasattr(ours, parent.__name__)]
    assert name in ours.__all__
    assert all(issubclass(getattr(ours, name), getattr(ours, parent)) for parent in parents)


async def test_an_error_frame_is_an_api_error(
    server: SimulatedServer, client: ours.AsyncOpenAI, theirs: openai.AsyncOpenAI
) -> None:
    server.always(Reply.sse(chunk({"content": "Com"}), {"error": {"message": "overloaded", "code": "502"}}))
    packages: list[Any] = [(openai, theirs), (ours, client)]
    for package, each in packages:
        stream = await each.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
        assert (await anext_of(stream)).choices[0].delta.content == "Com"
        with pytest.raises(package.APIError, match="overloaded"):
            await anext_of(stream)


async def test_no_connection_is_an_api_connection_error() -> None:
    async with SimulatedServer() as server:
        pass
    packages: list[Any] = [openai, ours]
    for package in packages:
        async with package.AsyncOpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
            with pytest.raises(package.APIConnectionError):
                await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)


# Streams.


async def test_the_usage_we_asked_for_stays_out_of_the_loop(server: SimulatedServer, client: ours.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
    async for item in stream:
        assert item.choices
    assert server.requests[0].json["stream_options"] == {"include_usage": True}
    assert stream.completion.usage is not None
    assert stream.completion.usage.completion_tokens > 5


async def test_the_usage_we_asked_for_is_no_event(server: SimulatedServer, client: ours.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="gpt-5.4", messages=MESSAGES) as stream:
        assert all([event.chunk.choices async for event in stream if event.type == "chunk"])
        completion = await stream.get_final_completion()
    assert completion.usage is not None
    assert server.requests[0].json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("holder", ["stream_options", "extra_body"])
async def test_the_usage_that_the_caller_asked_for_is_in_the_loop(holder: str, client: ours.AsyncOpenAI) -> None:
    asked: Any = {"include_usage": True}
    if holder == "extra_body":
        asked = {"stream_options": asked}
    stream = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True, **{holder: asked})
    chunks = [item async for item in stream]
    assert chunks[-1].usage == stream.completion.usage
    assert chunks[-1].choices == []


async def test_stream_options_without_usage_leave_it_out_of_the_loop(client: ours.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="gpt-5.4", messages=MESSAGES, stream=True, stream_options={"include_obfuscation": False}
    )
    assert all([item.choices async for item in stream])


async def test_create_has_sent_the_request_and_tells_of_the_answer(
    server: SimulatedServer, client: ours.AsyncOpenAI
) -> None:
    stream = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
    assert len(server.requests) == 1
    assert stream.response.status == 200
    assert stream.response.headers["x-request-id"] == server.requests[0].id == stream.response.request_id
    await stream.close()


async def test_streams_read_to_their_ends_use_one_connection(server: SimulatedServer, client: ours.AsyncOpenAI) -> None:
    for _ in range(3):
        async for _chunk in await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True):
            pass
    assert server.connections_seen == 1


@pytest.mark.parametrize("way", ["close", "async with", "cancel", "error"])
async def test_a_stream_left_half_way_closes_its_connection(
    way: str, server: SimulatedServer, client: ours.AsyncOpenAI
) -> None:
    half = Reply.sse(chunk({"content": "Com"}))
    server.script(half.then(b"data: {nonsense\n\n").stall() if way == "error" else half.stall())
    stream = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
    assert (await anext_of(stream)).choices[0].delta.content == "Com"
    if way == "close":
        await stream.close()
    elif way == "async with":
        async with stream as entered:
            assert entered is stream
    elif way == "cancel":
        reading = asyncio.create_task(anext_of(stream))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    else:
        with pytest.raises(ours.APIResponseValidationError):
            await anext_of(stream)
    await unconnected(server)
    with pytest.raises(StopAsyncIteration):
        await anext_of(stream)
    assert stream.completion.choices[0].message.content == "Com"


async def anext_of(stream: Any) -> Any:
    return await stream.__anext__()


async def unconnected(server: SimulatedServer) -> None:
    """Wait for the connections to close; where they stay open the test fails instead of hanging."""
    await asyncio.wait_for(server.until_unconnected(), 10)


async def test_a_forgotten_stream_warns_and_closes_its_connection(
    server: SimulatedServer, client: ours.AsyncOpenAI
) -> None:
    server.script(Reply.sse(chunk({"content": "Com"})).stall())
    held = [await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)]
    await anext_of(held[0])
    with pytest.warns(ResourceWarning, match="unclosed <ChatStream open, 1 chunks>"):
        held.clear()
    await unconnected(server)


async def test_a_stream_forgotten_by_another_thread_closes_its_connection(
    server: SimulatedServer, client: ours.AsyncOpenAI
) -> None:
    server.script(Reply.sse(chunk({"content": "Com"})).stall())
    held = [await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)]
    with pytest.warns(ResourceWarning):
        await asyncio.to_thread(held.clear)
    await unconnected(server)


def test_a_stream_forgotten_after_its_loop_only_warns() -> None:
    async def main() -> Any:
        async with (
            SimulatedServer() as server,
            ours.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url) as client,
        ):
            return await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)

    held = [asyncio.run(main())]
    with pytest.warns(ResourceWarning, match="unclosed"):
        held.clear()


@pytest.mark.parametrize("entered", [False, True])
async def test_a_stream_of_events_is_left_without_a_warning(
    entered: bool, server: SimulatedServer, client: ours.AsyncOpenAI
) -> None:
    server.script(Reply.sse(chunk({"content": "Com"})).stall())
    manager = client.chat.completions.stream(model="gpt-5.4", messages=MESSAGES)
    if entered:
        async with manager as stream:
            assert (await anext_of(stream)).type == "chunk"
        del stream
        await unconnected(server)
    del manager
    gc.collect()
    assert len(server.requests) == entered


async def test_a_second_reader_is_refused_and_the_first_goes_on(
    server: SimulatedServer, client: ours.AsyncOpenAI
) -> None:
    go_on = asyncio.Event()
    server.script(Reply.sse(chunk({"content": "Com"}), go_on, chunk({"content": "et"}, finish_reason="stop"), DONE))
    stream = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
    await anext_of(stream)
    first = asyncio.create_task(anext_of(stream))
    await asyncio.sleep(0)
    with pytest.raises(cometstream.UsageError, match="another task"):
        await anext_of(stream)
    go_on.set()
    assert (await first).choices[0].delta.content == "et"
    await stream.close()


# Requests.


async def test_an_answers_message_goes_back_as_it_is(server: SimulatedServer, client: ours.AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "Weather in Boston?"}]
    completion = await client.chat.completions.create(model="gpt-5.4", messages=messages, tools=TOOLS)
    message = completion.choices[0].message
    assert message.tool_calls is not None
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    parts = {"role": "assistant", "content": message.content, "tool_calls": message.tool_calls}
    for answer in (message, parts, message.model_dump()):
        after = await client.chat.completions.create(model="gpt-5.4", messages=[*messages, answer, result], tools=TOOLS)
        assert "sunny" in (after.choices[0].message.content or "")
        sent = server.requests[-1].json["messages"][1]
        assert sent["tool_calls"] == message.model_dump()["tool_calls"]
    messages.append(message)
    assert messages[-1].role == "assistant"


async def test_sentinels_and_none_send_nothing(server: SimulatedServer, client: ours.AsyncOpenAI) -> None:
    await client.chat.completions.create(
        model="gpt-5.4",
        messages=MESSAGES,
        stream=ours.NOT_GIVEN,
        temperature=ours.omit,
        tools=ours.NOT_GIVEN,
        user=ours.not_given,
        seed=None,
        timeout=ours.NOT_GIVEN,
        extra_query=None,
    )
    assert server.requests[0].json == {"model": "gpt-5.4", "messages": MESSAGES}


async def test_extra_headers_and_extra_body_are_sent(server: SimulatedServer) -> None:
    async with ours.AsyncOpenAI(
        api_key=server.api_key, base_url=server.base_url, default_headers={"X-App": "a", "X-Run": "1"}
    ) as client:
        await client.chat.completions.create(
            model="gpt-5.4", messages=MESSAGES, extra_headers={"X-Run": "2"}, extra_body={"top_k": 3}
        )
        async with client.chat.completions.stream(
            model="gpt-5.4", messages=MESSAGES, extra_headers={"X-Run": "2"}, extra_body={"top_k": 3}
        ) as stream:
            await stream.until_done()
        await client.models.list(extra_headers={"X-Run": "2"})
    assert [(request.headers["X-App"], request.headers["X-Run"]) for request in server.requests] == [("a", "2")] * 3
    assert [request.json["top_k"] for request in server.requests[:2]] == [3, 3]


async def test_organization_project_and_queries_are_sent_as_given(server: SimulatedServer) -> None:
    async with ours.AsyncOpenAI(
        api_key=server.api_key,
        base_url=server.base_url,
        organization="org-1",
        project="proj-1",
        default_query={"api-version": "1"},
    ) as client:
        await client.chat.completions.create(
            model="gpt-5.4", messages=MESSAGES, extra_query={"deep": True, "n": [1, 2]}
        )
        await client.models.list(extra_query={"a": "b c"})
    assert [request.path for request in server.requests] == [
        "/v1/chat/completions?api-version=1&deep=true&n=1&n=2",
        "/v1/models?api-version=1&a=b+c",
    ]
    for request in server.requests:
        assert (request.headers["OpenAI-Organization"], request.headers["OpenAI-Project"]) == ("org-1", "proj-1")


@pytest.mark.parametrize("query", [1, "a=b", [("a", "b")]])
async def test_a_query_that_is_none_is_refused(query: Any, client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    with pytest.raises(ours.OpenAIError, match="extra_query must be a mapping"):
        await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, extra_query=query)
    with pytest.raises(ours.OpenAIError, match="default_query must be a mapping"):
        ours.AsyncOpenAI(api_key="k", default_query=query)
    assert server.requests == []


# The client.


def test_the_key_is_never_openais(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMETAPI_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://openai.test/v1")
    with pytest.raises(ours.OpenAIError, match="COMETAPI_KEY"):
        ours.AsyncOpenAI()
    monkeypatch.setenv("COMETAPI_KEY", "sk-comet")
    monkeypatch.delenv("COMETAPI_BASE_URL", raising=False)
    assert repr(ours.AsyncOpenAI()) == "<AsyncOpenAI https://api.cometapi.com/v1>"
    monkeypatch.setenv("COMETAPI_BASE_URL", "https://comet.test/v1")
    assert ours.AsyncOpenAI().base_url == "https://comet.test/v1"


@pytest.mark.parametrize(
    ("timeout", "clocks"),
    [
        (5, Timeouts(connect=5, first_content=5, content_idle=5)),
        (openai.Timeout(60, connect=2), Timeouts(connect=2, first_content=60, content_idle=60)),
        (openai.Timeout(None, read=7), Timeouts(connect=None, first_content=7, content_idle=7)),
        (Timeouts(total=9), Timeouts(total=9)),
        (None, None),
        (ours.NOT_GIVEN, ours.NOT_GIVEN),
    ],
)
def test_a_timeout_limits_each_wait(timeout: Any, clocks: Any) -> None:
    assert to_timeouts(timeout) == clocks


@pytest.mark.parametrize("timeout", ["60", 0, -1, SimpleNamespace(total=3)])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(cometstream.ConfigurationError, match=r"timeout"):
        ours.AsyncOpenAI(api_key="k", timeout=timeout)


async def read_answer(client: ours.AsyncOpenAI, **params: Any) -> None:
    answer: Any = await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, **params)
    if params["stream"]:
        async for _ in answer:
            pass


@pytest.mark.parametrize("where", ["client", "with_options", "call"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_timeout_is_kept_wherever_it_is_given(where: str, stream: bool) -> None:
    async def main() -> None:
        async with SimulatedServer() as server:
            server.always(Reply.sse(chunk({"content": "Com"})).stall() if stream else Reply().stall())
            timeout: Any = {"client": 7, "with_options": 200, "call": 200}[where]
            async with ours.AsyncOpenAI(
                api_key=server.api_key, base_url=server.base_url, timeout=timeout, max_retries=0
            ) as client:
                began = asyncio.get_running_loop().time()
                user = client.with_options(timeout=7) if where == "with_options" else client
                per_call: Any = {"timeout": 7} if where == "call" else {}
                with pytest.raises(ours.APITimeoutError, match="7 s"):
                    await read_answer(user, stream=stream, **per_call)
                assert 6.9 < asyncio.get_running_loop().time() - began < 8

    run(main())


def test_the_list_of_models_keeps_timeouts_and_retries() -> None:
    async def main() -> None:
        async with SimulatedServer() as server:
            server.always(Reply.json({}).after(1000.0))
            async with ours.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url, max_retries=0) as client:
                with pytest.raises(ours.APITimeoutError, match="7 s"):
                    await client.models.list(timeout=7)
                with pytest.raises(ours.APITimeoutError, match="8 s"):
                    await client.with_options(timeout=8, max_retries=1).models.list()
                assert len(server.requests) == 3

    run(main())


async def test_with_options_shares_the_connections(server: SimulatedServer, client: ours.AsyncOpenAI) -> None:
    derived = client.with_options(default_headers={"X-App": "a"}).copy(default_headers={"X-Run": "1"}, max_retries=0)
    for each in (client, derived, client):
        await each.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    assert server.connections_seen == 1
    assert [request.headers.get("X-App", "") + request.headers.get("X-Run", "") for request in server.requests] == [
        "",
        "a1",
        "",
    ]
    await derived.close()
    with pytest.raises(cometstream.UsageError, match="closed"):
        await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)


async def test_with_options_of_another_key_is_a_client_of_its_own(
    server: SimulatedServer, client: ours.AsyncOpenAI
) -> None:
    async with client.with_options(api_key="sk-other", max_retries=1, default_headers={"X-App": "a"}) as other:
        with pytest.raises(ours.AuthenticationError):
            await other.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
        assert server.requests[0].headers["Authorization"] == "Bearer sk-other"
        assert server.requests[0].headers["X-App"] == "a"
    assert (await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)).choices
    assert server.requests[1].headers["Authorization"] == f"Bearer {server.api_key}"
    with pytest.raises(cometstream.ConfigurationError, match="http_client"):
        client.copy(http_client=object())


async def test_max_retries_are_the_attempts_beyond_the_first(server: SimulatedServer, client: ours.AsyncOpenAI) -> None:
    server.always(Reply.error(503, retry_after=0))
    for retries in (0, 3):
        server.requests.clear()
        with pytest.raises(ours.InternalServerError):
            await client.with_options(max_retries=retries).chat.completions.create(model="gpt-5.4", messages=MESSAGES)
        assert len(server.requests) == retries + 1
