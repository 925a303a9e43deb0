from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("pydantic", reason="types as response_format need pydantic")

from pydantic import BaseModel, Field
from support.serving import CHAT, serving

from cometstream import (
    APIStatusError,
    ChatStream,
    ConfigurationError,
    InvalidRequestError,
    OutputCutError,
    OutputInvalidError,
    OutputRefusedError,
    Part,
    StreamServerError,
    StreamTruncatedError,
    StreamUnterminatedError,
    UsageError,
)
from cometstream.testing import DONE, Reply, chunk

JSON_OBJECT: Any = {"type": "json_object"}

ANSWER = ['{"title": "Pan', 'cakes", "steps": ["mix', '", "bake"], "size": 1', "2}"]


async def grown(stream: ChatStream[Any], **options: Any) -> AsyncIterator[Any]:
    """The value after each piece, as it was then."""
    async for value in stream.partials(**options):
        yield copy.deepcopy(value)


async def test_the_value_grows_with_each_piece_of_text() -> None:
    async with serving(Reply.text(*ANSWER)) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT) as stream:
            assert [value async for value in grown(stream)] == [
                {"title": "Pan"},
                {"title": "Pancakes", "steps": ["mix"]},
                {"title": "Pancakes", "steps": ["mix", "bake"]},
                {"title": "Pancakes", "steps": ["mix", "bake"], "size": 12},
            ]
            whole = {"title": "Pancakes", "steps": ["mix", "bake"], "size": 12}
            assert stream.completion.parsed == whole
            assert stream.completion.choices[0].message.parsed == whole
            assert stream.completion.parsed is stream.completion.parsed
            assert stream.outcome == "complete"


async def test_it_is_the_same_object_each_time_and_tells_where_it_grows() -> None:
    async with serving(Reply.text(*ANSWER)) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT) as stream:
            partials = stream.partials()
            assert (partials.value, partials.open_path) == (None, None)
            values, paths = [], []
            async for value in partials:
                values.append(value)
                paths.append(partials.open_path)
                assert partials.value is value
            assert all(value is values[0] for value in values)
            assert paths == [("title",), ("steps", 0), ("size",), None]


async def test_each_finished_part_is_told() -> None:
    parts: list[Part] = []
    async with serving(Reply.text(*ANSWER)) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT) as stream:
            async for _ in stream.partials(on_part=parts.append):
                pass
    assert [part.path for part in parts] == [("title",), ("steps", 0), ("steps", 1), ("steps",), ("size",), ()]
    assert parts[2] == Part(("steps", 1), "bake")


async def test_text_that_was_read_before_is_part_of_the_value() -> None:
    async with serving(Reply.text(*ANSWER)) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT) as stream:
            async for text in stream.text():
                assert text == ANSWER[0]
                break
            first = await anext(aiter(stream.partials()))
            assert first == {"title": "Pancakes", "steps": ["mix"]}


async def test_prose_and_white_space_around_the_value_give_nothing() -> None:
    texts = ["Sure:\n", "```json\n", '{"a"', ": 1}", "\n```"]
    async with serving(Reply.text(*texts)) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT) as stream:
            assert [value async for value in grown(stream)] == [{}, {"a": 1}, {"a": 1}]
            assert stream.completion.parsed == {"a": 1}


async def test_other_choices_and_reasoning_are_not_the_value() -> None:
    reply = Reply.sse(
        {**chunk(), "choices": [{"index": 1, "delta": {"content": '{"b": 2}'}, "finish_reason": "stop"}]},
        chunk({"reasoning_content": '{"c": 3}'}),
        chunk({"content": '{"a": 1}'}),
        chunk(finish_reason="stop"),
        DONE,
    )
    async with serving(reply) as (_, session):
        async with session.stream(**CHAT, n=2, response_format=JSON_OBJECT) as stream:
            assert [value async for value in grown(stream)] == [{"a": 1}]
            assert [choice.message.parsed for choice in stream.completion.choices] == [{"a": 1}, {"b": 2}]


async def test_an_attempt_that_died_before_its_content_leaves_nothing() -> None:
    replies = [Reply.sse(chunk({"role": "assistant"})).cut(), Reply.text(*ANSWER)]
    async with serving(*replies, retry=1) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT) as stream:
            values = [value async for value in grown(stream)]
            assert len(values) == 4
            assert stream.metrics.attempts == 2


async def test_the_synchronous_form_has_the_value_too() -> None:
    message = {"role": "assistant", "content": '{"a": 1}'}
    document = {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    async with serving(Reply.json(document)) as (_, session):
        completion = await session.complete(**CHAT, response_format=JSON_OBJECT)
        assert completion.parsed == {"a": 1}


async def ended(reply: Reply, *, options: Any = None, **call: Any) -> Any:
    """The error that reading the partials of a reply ends with."""
    async with serving(reply, retry=None) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT, **call) as stream:
            partials = stream.partials(**(options or {}))
            with pytest.raises(Exception) as caught:
                async for _ in partials:
                    pass
            assert partials.value == getattr(caught.value, "value", partials.value)
            return caught.value


async def test_a_refusal_is_an_error() -> None:
    error = await ended(Reply.sse(chunk({"refusal": "No."}), chunk(finish_reason="stop"), DONE))
    assert type(error) is OutputRefusedError
    assert (error.refusal, error.value, error.partial.refusal) == ("No.", None, "No.")


async def test_an_answer_that_was_too_long_is_an_error_with_what_came() -> None:
    error = await ended(Reply.text(*ANSWER[:2], finish_reason="length"))
    assert type(error) is OutputCutError
    assert (error.finish_reason, error.value) == ("length", {"title": "Pancakes", "steps": ["mix"]})


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Reply.text(*ANSWER[:2], finish_reason=None, done=False).cut(), StreamTruncatedError),
        (Reply.text(*ANSWER[:2], finish_reason=None), StreamUnterminatedError),
    ],
)
async def test_a_cut_is_an_error_with_what_came(reply: Reply, cause: type[Exception]) -> None:
    error = await ended(reply)
    assert type(error) is OutputCutError
    assert type(error.__cause__) is cause
    assert (error.finish_reason, error.retryable) == (None, True)
    assert error.value == {"title": "Pancakes", "steps": ["mix"]}
    assert error.partial.content == "".join(ANSWER[:2])
    with pytest.raises(OutputCutError) as caught:
        _ = error.partial.parsed
    assert caught.value.value == error.value


async def test_where_a_cut_is_to_be_quiet_the_loop_just_ends() -> None:
    reply = Reply.text(*ANSWER[:2], finish_reason=None, done=False).cut()
    async with serving(reply) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT, on_incomplete="return") as stream:
            assert len([value async for value in grown(stream)]) == 2
            assert stream.outcome == "truncated"


async def test_other_endings_are_what_they_are_everywhere() -> None:
    error = await ended(Reply.sse(chunk({"content": "{"}), {"error": {"code": 502, "message": "bad"}}))
    assert type(error) is StreamServerError
    assert error.partial.content == "{"


async def test_an_answer_that_is_no_json_is_told_at_its_end() -> None:
    reply = Reply.text('{"a": 1, ', "b", ": 2}", " and so on")
    error = await ended(reply)
    assert type(error) is OutputInvalidError
    assert error.problems == ("the answer: a name in quotes is missing at character 9",)
    assert error.value == {"a": 1}


async def test_a_bad_part_may_end_the_stream_at_once() -> None:
    endless = Reply.text('{"a": 1, ', "b", finish_reason=None, done=False).stall()
    async with serving(endless) as (server, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT) as stream:
            with pytest.raises(OutputInvalidError) as caught:
                async for _ in stream.partials(stop_on_invalid=True):
                    pass
            assert stream.outcome == "cancelled"
            await server.requests[0].disconnected.wait()
    assert caught.value.value == {"a": 1}
    assert caught.value.partial.content == '{"a": 1, b'
    assert caught.value.problems == ("the answer: a name in quotes is missing at character 9",)


async def test_whoever_closes_the_stream_ends_the_loop_quietly() -> None:
    endless = Reply.text('{"a": ', finish_reason=None, done=False).stall()
    async with serving(endless) as (_, session):
        async with session.stream(**CHAT, response_format=JSON_OBJECT) as stream:
            async for value in stream.partials():
                assert value == {}
                await stream.aclose()


async def test_what_the_callers_hook_raises_is_the_callers() -> None:
    def hook(part: Part) -> None:
        raise KeyError(part.path)

    error = await ended(Reply.text(*ANSWER), options={"on_part": hook})
    assert type(error) is KeyError


@pytest.mark.parametrize("format_", [None, {"type": "text"}])
async def test_without_a_value_to_grow_there_is_a_clear_error(format_: Any) -> None:
    async with serving() as (_, session):
        with pytest.raises(UsageError, match="needs a response_format"):
            session.stream(**CHAT, response_format=format_).partials()


@pytest.mark.parametrize("options", [{"on_part": 5}, {"on_part": ended}, {"stop_on_invalid": 1}])
async def test_options_that_cannot_be_used_are_refused(options: Any) -> None:
    async with serving() as (_, session):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            session.stream(**CHAT, response_format=JSON_OBJECT).partials(**options)


async def test_a_server_that_refuses_the_format_is_an_error_as_ever() -> None:
    async with serving(Reply.error(400)) as (_, session):
        with pytest.raises(APIStatusError):
            async with session.stream(**CHAT, response_format=JSON_OBJECT):
                pass


class Step(BaseModel):
    text: str
    minutes: int = Field(gt=0)


class Recipe(BaseModel):
    title: str
    steps: list[Step]


RECIPE = [
    '{"title": "Pan',
    'cakes", "steps": [{"text": "mi',
    'x", "minutes": 1',
    '2}, {"text": "bake", "minutes": ',
    "0}]}",
]


async def test_a_type_is_sent_as_its_schema_and_grows() -> None:
    async with serving(Reply.text(*RECIPE[:3], "2}]}")) as (server, session):
        async with session.stream(**CHAT, response_format=Recipe) as stream:
            values = [value async for value in grown(stream)]
            assert all(type(value) is Recipe for value in values)
            assert [value.title for value in values] == ["Pan", "Pancakes", "Pancakes", "Pancakes"]
            assert values[0].steps is None
            assert values[1].steps[0].text == "mi"
            assert values[2].steps[0].minutes is None
            assert (
                values[3] == stream.completion.parsed == Recipe(title="Pancakes", steps=[Step(text="mix", minutes=12)])
            )
        sent = server.requests[0].json["response_format"]["json_schema"]
        assert (sent["name"], sent["strict"]) == ("Recipe", True)


async def test_a_part_that_is_not_valid_may_end_the_stream_at_once() -> None:
    bad = Reply.text(*RECIPE, finish_reason=None, done=False).stall()
    parts: list[Part] = []
    async with serving(bad) as (_, session):
        async with session.stream(**CHAT, response_format=Recipe) as stream:
            with pytest.raises(OutputInvalidError) as caught:
                async for _ in stream.partials(on_part=parts.append, stop_on_invalid=True):
                    pass
            assert stream.outcome == "cancelled"
    problem = "steps[1].minutes: Input should be greater than 0"
    assert caught.value.problems == (problem,)
    assert next(part for part in parts if part.problems) == Part(("steps", 1, "minutes"), 0, (problem,))
    assert caught.value.value.steps[0] == Step(text="mix", minutes=12)


async def test_an_answer_that_does_not_match_is_told_at_its_end() -> None:
    async with serving(Reply.text(*RECIPE)) as (_, session):
        async with session.stream(**CHAT, response_format=Recipe) as stream:
            with pytest.raises(OutputInvalidError, match=r"steps\[1\]\.minutes: Input should be greater than 0"):
                async for _ in stream.partials():
                    pass
            with pytest.raises(OutputInvalidError) as caught:
                _ = stream.completion.parsed
            assert caught.value.value.title == "Pancakes"


async def test_a_schema_that_the_api_refuses_is_refused_before_it_is_sent() -> None:
    class Loose(BaseModel):
        size: int = 5
        table: dict[str, int]

    async with serving() as (server, session):
        wrong: Any = {**CHAT, "temperature": 9, "response_format": Loose}
        with pytest.raises(InvalidRequestError) as caught:
            session.stream(**wrong)
        places = [problem.partition(":")[0] for problem in caught.value.problems]
        assert places == ["response_format.size", "response_format.table", "temperature"]
        with pytest.raises(InvalidRequestError):
            await session.complete(**CHAT, response_format=Loose)
        assert server.requests == []


async def test_who_does_not_want_checks_sends_what_they_like() -> None:
    class Loose(BaseModel):
        size: int = 5

    async with serving(Reply.text('{"size": 1}'), validate=False) as (_, session):
        async with session.stream(**CHAT, response_format=Loose) as stream:
            await stream.until_done()
            assert stream.completion.parsed == Loose(size=1)
