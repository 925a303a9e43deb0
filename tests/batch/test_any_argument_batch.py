"""Whatever ``fan_out`` is given, no error but a ``CometError`` leaves it or the batch."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import virtual_clock
from support.odd_values import Awkward, arguments, each, in_turn, only_ours
from support.serving import CHAT, KEY

from cometstream import BatchResult, CometSession, ConfigurationError, fan_out
from cometstream.request.params import ChatParams
from cometstream.testing import Reply, SimulatedServer

OPTIONS = [name for name in inspect.signature(fan_out).parameters if name not in ("session", "requests", "defaults")]
WIRE = ("model", "messages", "stream", "headers", "fallback_models", "extra_body", "custom_id", "temprature")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}

# More rows than any odd value has; an endless iterator would not end the test.
MANY = 50


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an odd value names as a file lies there."""
    monkeypatch.chdir(tmp_path)


class Unasked:
    """A list of requests that has no truth value and no length."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")

    def __len__(self) -> int:
        raise ValueError("ambiguous")

    def __iter__(self) -> Iterator[Any]:
        return iter([dict(CHAT)])


class Unready:
    """An async iterable that gives no iterator."""

    def __aiter__(self) -> AsyncIterator[Any]:
        raise RuntimeError("broken")


def no_argument() -> None: ...


def two_arguments(progress: object, more: object) -> None: ...


def keyword_only(*, progress: object) -> None: ...


def by_keyword(progress: object = None, **more: object) -> None: ...


async def run_one(session: CometSession, options: Mapping[str, Any]) -> list[BatchResult]:
    results: list[BatchResult] = []
    given_session = options.get("session", session)
    requests = options.get("requests", [dict(CHAT), {}, dict(CHAT)])
    rest = {name: value for name, value in options.items() if name not in ("session", "requests")}
    with only_ours():
        async with fan_out(given_session, requests, **rest) as batch:
            async for result in batch:
                results.append(result)
                if len(results) == MANY:
                    break
    return results


def run_each(every: list[dict[str, Any]], **settings: Any) -> list[list[BatchResult]]:
    async def main() -> list[list[BatchResult]]:
        async with SimulatedServer(api_key=KEY) as server:
            server.always(Reply.text("Hello", usage=USAGE))
            async with CometSession(api_key=KEY, base_url=server.base_url, **settings) as session:
                return [await run_one(session, options) for options in every]

    return virtual_clock.run(main())


def test_a_batch_takes_or_refuses_each_odd_value() -> None:
    run_each(each("session", "requests", *OPTIONS, *WIRE, "temperature", "n", "tools", "stream_options"))


@pytest.mark.parametrize("validate", [True, False])
def test_a_batch_takes_or_refuses_each_odd_value_in_a_row(validate: bool) -> None:
    rows = each(*WIRE, "temperature", "n", "tools", "split_think", "max_event_size", "pace")
    run_each([{"requests": [{**CHAT, **row}, dict(CHAT)]} for row in rows], validate=validate)


@in_turn
@given(st.lists(arguments("session", "requests", *OPTIONS, *WIRE, *ChatParams.__annotations__), min_size=1, max_size=3))
@example([{"rpm": 5e-324}])
@example([{"tpm": 5e-324}])
@example([{"rpm": 1e308}])
@example([{"tpm": 1e308, "rpm": 1e308}])
def test_a_batch_takes_or_refuses_any_arguments(every: list[dict[str, Any]]) -> None:
    run_each(every)


@in_turn
@given(st.lists(arguments(*WIRE, *ChatParams.__annotations__, others=True), min_size=1, max_size=3))
def test_a_batch_takes_or_refuses_any_rows(rows: list[dict[str, Any]]) -> None:
    run_each([{"requests": [{**CHAT, **row} for row in rows]}])


@pytest.mark.parametrize("requests", [Awkward(), Unasked(), Unready()])
def test_requests_that_cannot_be_read_are_told_of(requests: Any) -> None:
    async def main() -> None:
        async with CometSession(api_key=KEY) as session:
            with pytest.raises(ConfigurationError, match=r"^requests: cannot be read \(.*Error\("):
                async with fan_out(session, requests):
                    pass

    virtual_clock.run(main())


@pytest.mark.parametrize("function", [no_argument, two_arguments, keyword_only, object])
def test_a_function_that_takes_no_progress_is_refused_at_once(function: Callable[..., Any]) -> None:
    session = CometSession(api_key=KEY)
    with pytest.raises(ConfigurationError, match=r"^on_progress must be a function of one argument"):
        fan_out(session, [], on_progress=function)


@pytest.mark.parametrize("function", [len, dict])
def test_a_function_that_python_cannot_look_into_is_refused_when_it_is_called(function: Callable[..., Any]) -> None:
    async def main() -> None:
        async with CometSession(api_key=KEY) as session:
            with pytest.raises(ConfigurationError, match=r"^on_progress cannot be called with a BatchProgress"):
                async with fan_out(session, [{}], on_progress=function) as batch:
                    _ = [result async for result in batch]

    virtual_clock.run(main())


def test_functions_that_take_a_progress_are_called() -> None:
    (results,) = run_each([{"on_progress": by_keyword}])
    assert [result.outcome for result in results].count("complete") == 2
