"""Whatever a public call is given, no error but a ``CometError`` leaves it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import virtual_clock
from support.odd_values import arguments, each, in_turn, only_ours
from support.serving import CHAT, KEY

from cometstream import CometSession, RetryPolicy, Timeouts
from cometstream.openai import AsyncOpenAI
from cometstream.request.params import ChatParams
from cometstream.testing import Reply, SimulatedServer

SESSION = (
    "api_key",
    "base_url",
    "timeouts",
    "retry",
    "headers",
    "max_connections",
    "client",
    "validate",
    "max_event_size",
    "ssl",
    "proxy",
    "hooks",
)
CALL = ("timeouts", "retry", "headers", "fallback_models", "extra_body", "split_think", "max_event_size", "hooks")
STREAM = (*CALL, "pace", "on_incomplete")
WIRE = ("model", "messages", "stream", "temprature", *ChatParams.__annotations__)
CLIENT = ("api_key", "base_url", "timeout", "max_retries", "default_headers")
REFUSED = ("http_client", "organization", "project", "default_query")
CREATE = ("timeout", "extra_headers", "extra_query", "extra_body", "stream")


def test_policies_and_clocks_take_or_refuse_each_odd_value() -> None:
    for cls in (RetryPolicy, Timeouts):
        for options in each(*(field.name for field in dataclasses.fields(cls))):
            with only_ours():
                cls(**options)


def make_session(options: dict[str, Any]) -> None:
    with only_ours():
        CometSession(**{"api_key": KEY, **options})


def test_a_session_takes_or_refuses_each_odd_value() -> None:
    for options in each(*SESSION):
        make_session(options)


@in_turn
@given(arguments(*SESSION))
def test_a_session_takes_or_refuses_any_arguments(options: dict[str, Any]) -> None:
    make_session(options)


def make_stream(options: dict[str, Any], validate: bool) -> None:
    session = CometSession(api_key=KEY, validate=validate)
    with only_ours():
        session.stream(**{**CHAT, **options})


@pytest.mark.parametrize("validate", [True, False])
def test_a_stream_takes_or_refuses_each_odd_value(validate: bool) -> None:
    for options in each(*STREAM, *WIRE):
        make_stream(options, validate)


@in_turn
@given(arguments(*STREAM, *WIRE, others=True), st.booleans())
@example({"model": "gpt-5." + "1" * 5000}, True)
def test_a_stream_takes_or_refuses_any_arguments(options: dict[str, Any], validate: bool) -> None:
    make_stream(options, validate)


async def call_all(session: CometSession, options: dict[str, Any]) -> None:
    """Make every call of a session with those of the options that it has."""
    wire = {name: value for name, value in options.items() if name in (*CALL, *WIRE)}
    with only_ours():
        await session.complete(**{**CHAT, **wire})
    with only_ours():
        async with session.stream(**{**CHAT, **options}) as stream:
            await stream.until_done()
    with only_ours():
        await session.models(**{name: options[name] for name in ("timeouts", "retry", "headers") if name in options})


def run_all(every: list[dict[str, Any]]) -> None:
    async def main() -> None:
        async with SimulatedServer(api_key=KEY) as server:
            server.always(Reply.text("Hello"))
            async with CometSession(api_key=KEY, base_url=server.base_url, retry=1) as session:
                for options in every:
                    await call_all(session, options)

    virtual_clock.run(main())


def test_calls_answer_or_refuse_each_odd_value() -> None:
    run_all(each(*STREAM, "model", "messages", "temperature", "n", "stream", "stream_options", "tools"))


@in_turn
@given(st.lists(arguments(*STREAM, *WIRE), min_size=1, max_size=3))
def test_calls_answer_or_refuse_any_arguments(every: list[dict[str, Any]]) -> None:
    run_all(every)


def run_client(every: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    async def main() -> None:
        async with SimulatedServer(api_key=KEY) as server:
            server.always(Reply.text("Hello"))
            for settings_given, call in every:
                with only_ours():
                    async with AsyncOpenAI(**{"api_key": KEY, "base_url": server.base_url, **settings_given}) as client:
                        with only_ours():
                            unstreamed: dict[str, Any] = {**CHAT, **call, "stream": False}
                            await client.chat.completions.create(**unstreamed)
                        with only_ours():
                            answer = await client.chat.completions.create(**{**CHAT, **call})
                            if hasattr(answer, "close"):
                                await answer.close()
                        with only_ours():
                            rest = {name: value for name, value in call.items() if name != "stream"}
                            async with client.chat.completions.stream(**{**CHAT, **rest}) as stream:
                                await stream.until_done()
                        with only_ours():
                            listed = ("timeout", "extra_headers", "extra_query")
                            await client.models.list(**{name: call[name] for name in listed if name in call})
                        with only_ours():
                            client.copy(**{name: value for name, value in settings_given.items() if name in CLIENT})

    virtual_clock.run(main())


def test_the_openai_client_takes_or_refuses_each_odd_value() -> None:
    run_client([(options, {}) for options in each(*CLIENT, *REFUSED)])
    run_client([({}, options) for options in each(*CREATE, "model", "messages", "headers", "retry", "timeouts")])


@in_turn
@given(st.lists(st.tuples(arguments(*CLIENT, *REFUSED), arguments(*CREATE, *WIRE)), min_size=1, max_size=2))
def test_the_openai_client_takes_or_refuses_any_arguments(every: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    run_client(every)
