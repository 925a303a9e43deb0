"""Whatever a public call is given, no error but a ``CometError`` leaves it."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import virtual_clock
from support.serving import CHAT, KEY

from cometstream import CometError, CometSession, RetryPolicy, Timeouts
from cometstream.openai import AsyncOpenAI
from cometstream.policy import NOT_GIVEN
from cometstream.request.params import ChatParams
from cometstream.testing import Reply, SimulatedServer


class Awkward:
    """An object that cannot be printed, compared or asked for its truth, as arrays cannot."""

    __hash__ = None  # type: ignore[assignment]

    def _refuse(self, *_: object) -> Any:
        raise ValueError("ambiguous")

    __repr__ = __str__ = __bool__ = __eq__ = __len__ = __iter__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse


class BrokenMapping(Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        return 1


class BrokenSequence(Sequence[Any]):
    """A sequence that cannot be read."""

    def __getitem__(self, index: Any) -> Any:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        return 1


def circular() -> list[Any]:
    value: list[Any] = []
    value.append({"role": "user", "content": value})
    return value


def deep() -> Any:
    value: Any = "deep"
    for _ in range(3000):
        value = [value]
    return value


# Values that hypothesis cannot print.
UNPRINTABLE: list[Any] = []

PRINTABLE: list[Any] = [
    None,
    True,
    NOT_GIVEN,
    0,
    -1,
    10**400,
    -(10**5000),
    1.5,
    float("nan"),
    float("inf"),
    1e308,
    "",
    " ",
    "\ud800",
    "\x00\r\n",
    "x" * 100_000,
    "gpt-5." + "1" * 5000,
    "https://a.example:99999/v1",
    "http://[::1/v1",
    "https://" + "a" * 300 + ".example/v1",
    b"bytes",
    bytearray(b"x"),
    [],
    [None],
    ["b"],
    (),
    {},
    {"": ""},
    {1: 2},
    {"Content-Length": "5"},
    {"Authorization": "Basic !!!"},
    {"X-A": "b"},
    {"a", "b"},
    object(),
    object,
    len,
    Awkward(),
    [Awkward()],
    {"role": Awkward(), "type": Awkward()},
    [{"role": "assistant", "tool_calls": Awkward()}],
    BrokenMapping(),
    [BrokenMapping()],
    BrokenSequence(),
    circular(),
    deep(),
    Timeouts(total=1e308),
    RetryPolicy(max_retries=10**30, initial_delay=0, max_delay=0, budget=3),
]

ODD = [*PRINTABLE, *UNPRINTABLE]

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
)
CALL = ("timeouts", "retry", "headers", "fallback_models", "extra_body", "split_think", "max_event_size")
STREAM = (*CALL, "pace", "on_incomplete")
WIRE = ("model", "messages", "stream", "temprature", *ChatParams.__annotations__)
CLIENT = ("api_key", "base_url", "timeout", "max_retries", "default_headers")
REFUSED = ("http_client", "organization", "project", "default_query")
CREATE = ("timeout", "extra_headers", "extra_query", "extra_body", "stream")

_texts = st.text(st.characters(exclude_categories=()), max_size=40)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_values = (
    st.sampled_from(PRINTABLE) | _json | st.dictionaries(st.sampled_from(["role", "content", "type", "X-A"]), _json)
)


def arguments(*names: str, others: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    known = st.sampled_from(names)
    return st.dictionaries(known | _texts.filter(lambda name: name != "self") if others else known, _values, max_size=4)


@contextlib.contextmanager
def only_ours() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = ""
        try:
            yield
        except CometError as error:
            told = str(error)
        assert "\n" not in told


def in_turn(test: Any) -> Any:
    """Try each odd value as each argument; hypothesis combines them."""
    checks: list[Any] = list(HealthCheck)  # its metaclass leaves out the deprecated ones, and the type of the rest
    return settings(deadline=None, suppress_health_check=checks, max_examples=100)(test)


def each(*names: str) -> list[dict[str, Any]]:
    return [{name: value} for name in names for value in ODD]


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
