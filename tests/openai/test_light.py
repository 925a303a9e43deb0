"""What programs that are written for openai use of the light client."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, ValidationError
from support.cli_server import ServerThread

import cometstream
from cometstream import Schema
from cometstream import openai as ours
from cometstream.testing import Reply, SimulatedServer

CHAT: Any = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}


class City(BaseModel):
    name: str
    population: int


class Weather(BaseModel):
    """Look the weather up."""

    city: str
    days: int | None = None


class Trip(BaseModel):
    """A model without a strict form: a default, and an object of any names."""

    city: str = "Rome"
    costs: dict[str, int]


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


@pytest.fixture
async def client(server: SimulatedServer) -> AsyncIterator[ours.AsyncOpenAI]:
    async with ours.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread() as thread:
        yield thread


async def test_an_answer_is_parsed_to_a_model_by_either_name(client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    for completions in (client.chat.completions, client.beta.chat.completions):
        completion = await completions.parse(**CHAT, response_format=City)
        message = completion.choices[0].message
        assert message.parsed == City(name="comet", population=1)
        assert pickle.loads(pickle.dumps(completion)).choices[0].message.parsed == message.parsed
    sent = server.requests[0].json["response_format"]
    assert (sent["type"], sent["json_schema"]["name"], sent["json_schema"]["strict"]) == ("json_schema", "City", True)
    schema = sent["json_schema"]["schema"]
    assert (schema["required"], schema["additionalProperties"]) == (["name", "population"], False)


async def test_the_schema_that_goes_out_is_openais(client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    theirs = openai.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url)
    await theirs.chat.completions.parse(**CHAT, response_format=City)
    await client.chat.completions.parse(**CHAT, response_format=City)
    assert server.requests[0].json["response_format"] == server.requests[1].json["response_format"]
    assert ours.pydantic_function_tool(Weather) == openai.pydantic_function_tool(Weather)
    await theirs.close()


async def test_a_tool_of_a_model_gives_parsed_arguments(client: ours.AsyncOpenAI) -> None:
    tool = ours.pydantic_function_tool(City, name="find", description="Find it.")
    completion = await client.chat.completions.parse(**CHAT, tools=[tool], tool_choice="required")
    message: Any = completion.choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == "find"
    assert call.function.parsed_arguments == City(name="comet", population=1)


async def test_what_has_no_strict_form_is_sent_and_read_without_it(
    client: ours.AsyncOpenAI, server: SimulatedServer
) -> None:
    server.always(Reply.text('{"costs": {"train": 9}}'))
    completion = await client.chat.completions.parse(**CHAT, response_format=Trip)
    assert completion.choices[0].message.parsed == Trip(costs={"train": 9})
    sent = server.requests[0].json["response_format"]["json_schema"]
    assert (sent["strict"], sent["schema"]) == (False, Trip.model_json_schema())
    function = ours.pydantic_function_tool(Trip)["function"]
    assert (function["strict"], function["parameters"]) == (False, Trip.model_json_schema())


async def test_any_type_is_read_and_a_schema_says_more(client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    server.always(Reply.text('Here it is: {"response": [1, 2]}'))
    completion = await client.chat.completions.parse(**CHAT, response_format=list[int])
    assert completion.choices[0].message.parsed == [1, 2]
    server.always(Reply.text('{"name": "Rome", "population": 3}'))
    completion = await client.chat.completions.parse(**CHAT, response_format=Schema(City, name="city"))
    assert completion.choices[0].message.parsed == City(name="Rome", population=3)
    assert server.requests[-1].json["response_format"]["json_schema"]["name"] == "city"
    with pytest.raises(ours.BadRequestError, match="strict mode"):
        await client.chat.completions.parse(**CHAT, response_format=Schema(Trip))


@pytest.mark.parametrize("text", ['{"name": "Rome"}', "I cannot say", '{"name": '])
async def test_an_answer_that_does_not_match_is_pydantics_error(
    client: ours.AsyncOpenAI, server: SimulatedServer, text: str
) -> None:
    server.always(Reply.text(text))
    with pytest.raises(ValidationError):
        await client.chat.completions.parse(**CHAT, response_format=City)


async def test_events_of_calls_tell_the_arguments(client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    tool = ours.pydantic_function_tool(City, name="find")
    seen: list[Any] = []
    for arguments in ('{"name": "Rome", "population": 3}', '{"name": "Rome"}'):
        server.always(Reply.tool_calls(("find", arguments), fragment=8))
        async with client.chat.completions.stream(**CHAT, tools=[tool]) as stream:
            seen += [event async for event in stream if event.type.startswith("tool_calls.")]
    done = [event.parsed_arguments for event in seen if event.type.endswith(".done")]
    assert done == [City(name="Rome", population=3), {"name": "Rome"}]
    assert all(isinstance(event.parsed_arguments, dict | None) for event in seen if event.type.endswith(".delta"))


async def test_each_choice_grows_by_itself(client: ours.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(**CHAT, n=2, response_format=City) as stream:
        parsed = {event.choice_index: event.parsed async for event in stream if event.type == "content.delta"}
    assert parsed == {choice: {"name": "comet", "population": 1} for choice in (0, 1)}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("length", ours.LengthFinishReasonError), ("content_filter", ours.ContentFilterFinishReasonError)],
)
async def test_an_answer_that_was_cut_short_is_not_parsed(
    client: ours.AsyncOpenAI, server: SimulatedServer, reason: str, kind: Any
) -> None:
    message = {"role": "assistant", "content": '{"name": "com'}
    server.always(Reply.json({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": reason}]}))
    with pytest.raises(kind) as caught:
        await client.chat.completions.parse(**CHAT, response_format=City)
    assert caught.value.completion.id == "c"


async def test_events_tell_what_is_said_so_far_as_an_object(client: ours.AsyncOpenAI) -> None:
    seen: list[Any] = []
    async with client.chat.completions.stream(**CHAT, response_format=City) as stream:
        seen += [
            event.parsed async for event in stream if event.type == "content.delta" or event.type == "content.done"
        ]
        final = await stream.get_final_completion()
    assert seen[-1] == final.choices[0].message.parsed == City(name="comet", population=1)
    assert {"name": "comet"}.items() <= seen[-2].items()


async def test_events_without_a_model_have_nothing_parsed(client: ours.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(**CHAT) as stream:
        assert {event.parsed async for event in stream if event.type == "content.delta"} == {None}


@pytest.mark.parametrize("kind", ["City", 3, object()])
async def test_a_type_that_cannot_be_sent_is_refused(client: ours.AsyncOpenAI, kind: Any) -> None:
    with pytest.raises(cometstream.CometError):
        await client.chat.completions.parse(**CHAT, response_format=kind)


async def test_a_local_refusal_is_a_bad_request(client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    with pytest.raises(ours.BadRequestError) as caught:
        await client.chat.completions.create(**CHAT, temperature=9)
    error = caught.value
    assert (error.status_code, error.response.status_code, error.type) == (400, 400, None)
    assert error.body["message"] == error.response.json()["error"]["message"] == error.message
    assert isinstance(error, cometstream.InvalidRequestError)
    assert server.requests == []


async def test_an_error_is_ours_and_openais(client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    server.always(Reply.error(429, "slow down", request_id="r-1"))
    with pytest.raises(cometstream.RateLimitError) as caught:
        await client.chat.completions.create(**CHAT)
    error = caught.value
    assert isinstance(error, ours.RateLimitError)
    assert "slow down" in error.response.text
    assert (error.request_id, error.response.request_id) == ("r-1", "r-1")
    with pytest.raises(AttributeError, match="CometTransport"):
        getattr(error.response, "iter_lines")  # noqa: B009 - that it is read is the test
    for made in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(made), made.status_code, made.response.text) == (type(error), 429, error.response.text)


async def test_a_cut_stream_is_an_api_error_with_what_came(client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    server.always(Reply.text("half", finish_reason=None))
    with pytest.raises(ours.APIError) as caught:
        async for _ in await client.chat.completions.create(**CHAT, stream=True):
            pass
    assert isinstance(caught.value, cometstream.StreamUnterminatedError)
    assert caught.value.partial.content == "half"
    assert caught.value.request.url.endswith("/chat/completions")


async def test_an_answer_tells_its_request_id(client: ours.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(**CHAT)
    assert completion._request_id == completion.request_id == "sim000000001"
    stream = await client.chat.completions.create(**CHAT, stream=True)
    assert (stream.response.status_code, stream.response.headers["x-request-id"]) == (200, "sim000000002")
    await stream.aclose()


async def test_a_model_is_retrieved_by_its_id(client: ours.AsyncOpenAI) -> None:
    assert (await client.models.retrieve("gpt-5.4")).id == "gpt-5.4"
    with pytest.raises(ours.NotFoundError, match="does not list 'nope'"):
        await client.models.retrieve("nope")
    page = await client.models.list()
    assert (page.has_next_page(), page.next_page_info()) == (False, None)
    assert [each async for each in page.iter_pages()] == [page]
    with pytest.raises(RuntimeError, match="no next page"):
        await page.get_next_page()


async def test_openais_sentinels_and_objects_are_accepted(client: ours.AsyncOpenAI, server: SimulatedServer) -> None:
    theirs = openai.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url)
    message = (await theirs.chat.completions.create(**CHAT)).choices[0].message
    messages: Any = [*CHAT["messages"], message]
    options: Any = {
        "tools": openai.NOT_GIVEN,
        "stream": openai.NOT_GIVEN,
        "seed": openai.omit,
        "timeout": openai.not_given,
    }
    await client.chat.completions.create(model="gpt-5.4", messages=messages, **options)
    sent = server.requests[-1].json["messages"][1]
    assert (sent["role"], sent["content"]) == ("assistant", message.content)
    assert None not in sent.values()
    assert not {"tools", "seed"} & server.requests[-1].json.keys()
    await theirs.close()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_key_may_come_from_a_function(server: SimulatedServer, is_async: bool) -> None:
    keys = iter([server.api_key, server.api_key, server.api_key, "sk-expired"])

    async def later() -> str:
        return next(keys)

    async with ours.AsyncOpenAI(
        api_key=later if is_async else lambda: next(keys), base_url=server.base_url, max_retries=0
    ) as client:
        assert client.api_key == ""
        await client.chat.completions.create(**CHAT)
        async with client.chat.completions.stream(**CHAT) as stream:
            await stream.until_done()
        await client.models.list()
        with pytest.raises(ours.AuthenticationError):
            await client.chat.completions.create(**CHAT)


async def test_a_function_that_gives_no_key_is_named(server: SimulatedServer) -> None:
    for function in (len, lambda: None):
        key: Any = function
        async with ours.AsyncOpenAI(api_key=key, base_url=server.base_url) as client:
            with pytest.raises(ours.OpenAIError, match="key"):
                await client.chat.completions.create(**CHAT)
    assert server.requests == []


async def test_a_key_can_be_set(server: SimulatedServer) -> None:
    async with ours.AsyncOpenAI(api_key="sk-wrong", base_url=server.base_url, max_retries=0) as client:
        with pytest.raises(ours.AuthenticationError):
            await client.chat.completions.create(**CHAT)
        client.api_key = server.api_key
        assert client.api_key == server.api_key
        assert await client.chat.completions.create(**CHAT)
        assert not client.is_closed()
    assert client.is_closed()


async def test_settings_read_as_they_were_given(server: SimulatedServer) -> None:
    client = ours.AsyncOpenAI(
        api_key="sk-1", base_url=server.base_url, timeout=5, max_retries=3, organization="o", project="p",
        default_headers={"A": "1"}, default_query={"q": 1},
    )  # fmt: skip
    assert (client.timeout, client.max_retries, client.organization, client.project) == (5, 3, "o", "p")
    assert (client.default_headers, client.default_query) == ({"A": "1"}, {"q": 1})
    changed = client.with_options(default_headers={"B": "2"}, default_query={"r": 2}, timeout=None, max_retries=0)
    assert (changed.default_headers, changed.default_query) == ({"A": "1", "B": "2"}, {"q": 1, "r": 2})
    assert (changed.timeout, changed.max_retries, client.timeout) == (None, 0, 5)
    changed = client.copy(set_default_headers={"C": "3"}, set_default_query={})
    assert (changed.default_headers, changed.default_query) == ({"C": "3"}, {})
    assert ours.AsyncOpenAI(api_key="k").max_retries == 2


def test_the_synchronous_client_does_the_same(thread: ServerThread) -> None:
    with ours.OpenAI(api_key=thread.server.api_key, base_url=thread.server.base_url, max_retries=0) as client:
        assert client.chat.completions.create(**CHAT).choices[0].message.content
        with client.chat.completions.create(**CHAT, stream=True) as chunks:
            assert "".join([chunk.choices[0].delta.content or "" for chunk in chunks])
            assert chunks.response.status_code == 200
            assert chunks.completion.finish_reason == "stop"
        with client.chat.completions.stream(**CHAT, response_format=City) as stream:
            assert [event.type for event in stream][-1] == "content.done"
            assert stream.get_final_completion().choices[0].message.parsed.name == "comet"
            assert stream.until_done().current_completion_snapshot.finish_reason == "stop"
        assert (
            client.beta.chat.completions.parse(**CHAT, response_format=City).choices[0].message.parsed.name == "comet"
        )
        assert [model.id for model in client.models.list()]
        assert not client.models.list().has_next_page()
        assert client.models.retrieve("gpt-5.4").id == "gpt-5.4"
        with pytest.raises(ours.BadRequestError):
            client.with_options(timeout=5).chat.completions.create(**CHAT, temperature=9)
    assert client.is_closed()


async def test_wrappers_take_a_client_for_openais(client: ours.AsyncOpenAI) -> None:
    assert isinstance(client, openai.AsyncOpenAI)
    assert isinstance(client, ours.AsyncOpenAI)
    assert isinstance(ours.OpenAI(api_key="k"), openai.OpenAI)
    completions: Any = client.completions
    with pytest.raises(AttributeError, match=r"client\.completions\.create .*CometTransport"):
        completions.create(model="m", prompt="p")


def test_a_client_that_is_forgotten_makes_no_noise(thread: ServerThread) -> None:
    async def ask(kind: type[ours.AsyncOpenAI]) -> None:
        client = kind(api_key=thread.server.api_key, base_url=thread.server.base_url)
        await client.chat.completions.create(**CHAT)
        await client.with_options(timeout=5).chat.completions.create(**CHAT)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(ask(ours.AsyncOpenAI))
        gc.collect()


PROGRAM = """
import asyncio
from cometstream import CometSession
from cometstream.openai import AsyncOpenAI, OpenAI

SESSION, CLIENT, BLOCKING = CometSession(), AsyncOpenAI(), OpenAI()
CHAT = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}

async def ask():
    async with SESSION.stream(**CHAT) as stream:
        async for chunk in stream: pass
    async for chunk in await CLIENT.chat.completions.create(**CHAT, stream=True): pass

for _ in range(2): asyncio.run(ask())
loop = asyncio.new_event_loop(); loop.run_until_complete(ask())  # a notebook's: never closed
for chunk in BLOCKING.chat.completions.create(**CHAT, stream=True): pass
"""


def test_a_program_that_closes_nothing_ends_without_a_word(thread: ServerThread) -> None:
    environment = {"COMETAPI_KEY": thread.server.api_key, "COMETAPI_BASE_URL": thread.server.base_url}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_types_are_importable_by_openais_names() -> None:
    from cometstream.openai.types import CompletionUsage
    from cometstream.openai.types.chat import ChatCompletion, ChatCompletionUserMessageParam
    from cometstream.openai.types.chat.chat_completion import Choice
    from cometstream.openai.types.chat.chat_completion_chunk import ChoiceDelta
    from cometstream.openai.types.chat.chat_completion_message import ChatCompletionMessage
    from cometstream.openai.types.chat.chat_completion_message_param import ChatCompletionMessageParam
    from cometstream.openai.types.chat.chat_completion_message_tool_call import ChatCompletionMessageToolCall

    assert ChatCompletion is cometstream.ChatCompletion
    assert CompletionUsage is cometstream.CompletionUsage
    assert ChatCompletionUserMessageParam(role="user", content="hi") == {"role": "user", "content": "hi"}
    assert all((Choice, ChoiceDelta, ChatCompletionMessage, ChatCompletionMessageParam, ChatCompletionMessageToolCall))
