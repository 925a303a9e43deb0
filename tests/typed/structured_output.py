"""What type checkers see of a typed ``response_format``; see ``tests/test_typed.py``. Nothing here runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from typing_extensions import TypedDict, assert_type

from cometstream import ChatCompletion, ChatStream, CometSession, Schema, fan_out
from cometstream.partials import PartialReader

MESSAGES = [{"role": "user", "content": "Pancakes"}]


class Recipe(BaseModel):
    title: str


@dataclass
class Point:
    x: float


class Place(TypedDict):
    name: str


async def a_model(session: CometSession) -> None:
    async with session.stream(model="m", messages=MESSAGES, response_format=Recipe, temperature=0) as stream:
        assert_type(stream, ChatStream[Recipe])
        assert_type(stream.partials(), PartialReader[Recipe])
        async for partial in stream.partials():
            assert_type(partial, Recipe)
            assert_type(partial.title, str)
        assert_type(stream.completion, ChatCompletion[Recipe])
        assert_type(stream.completion.parsed, Recipe)
        assert_type(stream.completion.choices[0].message.parsed, Recipe)
        assert_type(await stream.until_done(), ChatCompletion[Recipe])
    completion = await session.complete(model="m", messages=MESSAGES, response_format=Recipe)
    assert_type(completion.choices[0].message.parsed, Recipe)


async def other_types(session: CometSession) -> None:
    point = await session.complete(model="m", messages=MESSAGES, response_format=Point)
    assert_type(point.parsed, Point)
    place = await session.complete(model="m", messages=MESSAGES, response_format=Place)
    assert_type(place.parsed, Place)
    numbers = await session.complete(model="m", messages=MESSAGES, response_format=list[int])
    assert_type(numbers.parsed, list[int])
    named = await session.complete(model="m", messages=MESSAGES, response_format=Schema(Recipe, name="recipe"))
    assert_type(named.parsed, Recipe)
    async for partial in session.stream(model="m", messages=MESSAGES, response_format=Place).partials():
        assert_type(partial, Place)


async def no_type(session: CometSession) -> None:
    async with session.stream(model="m", messages=MESSAGES) as stream:
        assert_type(stream, ChatStream[Any])
        assert_type(stream.completion.content, str | None)
        plain: ChatStream = stream
        takes_any(plain)
    as_json = await session.complete(model="m", messages=MESSAGES, response_format={"type": "json_object"})
    assert_type(as_json.parsed, Any)


def takes_any(stream: ChatStream) -> ChatCompletion:
    return stream.completion


def takes_a_typed_one_as_any(session: CometSession) -> None:
    takes_any(session.stream(model="m", messages=MESSAGES, response_format=Recipe))


async def batch(session: CometSession) -> None:
    async with fan_out(session, [{"messages": MESSAGES}], model="m", response_format=Recipe) as rows:
        async for row in rows:
            if row.completion is not None:
                assert_type(row.completion.parsed, Recipe)
