"""Whatever structured output is asked for with, no error but a ``CometError`` leaves it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, ForwardRef, Literal, NoReturn, Optional, TypeVar

import pytest

pytest.importorskip("pydantic", reason="types as response_format need pydantic")

from support import virtual_clock
from support.odd_values import ODD, Awkward, each, only_ours
from support.serving import CHAT, KEY

from cometstream import CometSession, Schema
from cometstream.testing import Reply, SimulatedServer

FORMS: list[Any] = [ClassVar, Final, Literal, Optional, list]

# Annotations, most of which mean nothing by themselves.
TYPES: list[Any] = [
    int,
    object,
    type,
    dict,
    tuple,
    Awkward,
    Any,
    NoReturn,
    TypeVar("T"),
    ForwardRef("Nowhere"),
    *(form[int] for form in FORMS),
    FORMS[2][Awkward()],
    Annotated[int, Awkward()],
    FORMS[3][ForwardRef("Nowhere")],
    list[list[object]],
    list[list[Awkward]],
    dict[str, int],
    set[int],
    tuple[int, ...],
    int | Awkward,
    type[int],
    CometSession,
    Schema,
]


def test_a_schema_takes_or_refuses_each_odd_value() -> None:
    for value in [*ODD, *TYPES]:
        with only_ours():
            Schema(value)
    for options in each("name", "description", "strict"):
        with only_ours():
            Schema(int, **options)


def test_calls_take_or_refuse_each_odd_type_and_read_whatever_comes() -> None:
    async def main() -> None:
        async with SimulatedServer(api_key=KEY) as server:
            server.always(Reply.text('{"response": [1, {"a": 2}], "b": "c"}'))
            async with CometSession(api_key=KEY, base_url=server.base_url, validate=False) as session:
                for type_ in [*ODD, *TYPES]:
                    with only_ours():
                        async with session.stream(**{**CHAT, "response_format": type_}) as stream:
                            async for _ in stream.partials():
                                pass
                for options in each("on_part", "stop_on_invalid"):
                    if callable(next(iter(options.values()))):
                        continue  # what it raises is its own
                    with only_ours():
                        async with session.stream(**CHAT, response_format=list[int]) as stream:
                            async for _ in stream.partials(**options):
                                pass

    virtual_clock.run(main())
