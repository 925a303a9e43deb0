"""One span for each call, whatever happens to it: what it says, whose child it is, and what is sent of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the SDK of OpenTelemetry")

from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from support import virtual_clock
from support.odd_values import each, only_ours
from support.serving import CHAT, KEY, ask, serving
from support.telemetry import Recorded, id_of, parent_of

from cometstream import CometError, CometSession, ConfigurationError, RetryPolicy, Timeouts
from cometstream.openai import AsyncOpenAI
from cometstream.otel import instrument
from cometstream.otel.names import NESTED
from cometstream.testing import DONE, Reply, SimulatedServer, chunk

HELLO = Reply.text("Hello").with_headers({"x-request-id": "gw-1"})
TEXT, STOP = chunk({"content": "Hello"}), chunk({}, finish_reason="stop")
USAGE = {
    "id": "a",
    "choices": [],
    "usage": {
        "prompt_tokens": 30,
        "completion_tokens": 20,
        "total_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 5},
    },
}
ONE_RETRY = RetryPolicy(max_retries=1, initial_delay=0.0)

Body = Callable[[CometSession, SimulatedServer, Recorded], Awaitable[Any]]


def told(*replies: Reply, body: Body | None = None, settings: dict[str, Any] | None = None, **call: Any) -> Recorded:
    """Make one call on a clock that jumps, and return what was told of it."""

    async def main() -> Recorded:
        recorded = Recorded()
        async with serving(*replies) as (server, session):
            recorded.instrument(session, **(settings or {}))
            if body is not None:
                await body(session, server, recorded)
            else:
                try:
                    await ask(session, **call)
                except CometError:
                    pass
        assert recorded.open == 0
        return recorded

    return virtual_clock.run(main())


def test_a_call_is_a_client_span_with_what_was_asked_and_answered() -> None:
    recorded = told(
        Reply.sse(TEXT, STOP, USAGE, DONE).with_headers({"x-request-id": "gw-1"}),
        temperature=0,
        max_completion_tokens=100,
        top_p=0.5,
        seed=7,
        stop=["END"],
        presence_penalty=0.25,
        reasoning_effort="low",
        response_format={"type": "json_object"},
    )
    span, about = recorded.chat, recorded.about
    assert (span.name, span.kind, span.status.status_code) == (
        f"chat {CHAT['model']}",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert about.pop("server.port") > 0
    assert about.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert len(about.pop("cometstream.client_request_id")) == 32
    assert about == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "cometapi",
        "gen_ai.request.model": CHAT["model"],
        "server.address": "127.0.0.1",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.request.presence_penalty": 0.25,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.output.type": "json",
        "gen_ai.response.id": TEXT["id"],
        "gen_ai.response.model": TEXT["model"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "cometstream.outcome": "complete",
        "cometstream.attempts": 1,
        "cometstream.request_id": "gw-1",
    }


def test_a_whole_completion_is_a_span_that_does_not_claim_to_stream() -> None:
    async def body(session: CometSession, *_: object) -> None:
        await session.complete(**CHAT)

    answer = {"id": "a", "model": "m", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    recorded = told(Reply.json(answer), body=body)
    assert recorded.about["cometstream.outcome"] == "complete"
    assert recorded.about["gen_ai.response.id"] == "a"
    assert not {"gen_ai.request.stream", "gen_ai.response.time_to_first_chunk"} & recorded.about.keys()
    assert not [name for name in recorded.metrics if "chunk" in name]


def test_each_failed_attempt_is_an_event_on_the_one_span() -> None:
    limited = Reply.error(429, "you asked", code="slow_down", retry_after=2).with_headers({"x-request-id": "gw-0"})
    recorded = told(limited, Reply.error(503), Reply.error(503), HELLO, retry=ONE_RETRY, fallback_models=["b"])
    first, second, third = recorded.chat.events
    assert {event.name for event in recorded.chat.events} == {"cometstream.retry"}
    about: dict[str, Any] = dict(first.attributes or {})
    assert 2.0 <= about.pop("cometstream.wait") <= 3.0
    assert about == {
        "error.type": "RateLimitError",
        "http.response.status_code": 429,
        "cometstream.error.code": "slow_down",
        "cometstream.attempt": 1,
        "cometstream.followed_by": "retry",
        "cometstream.next_model": CHAT["model"],
        "cometstream.request_id": "gw-0",
    }
    assert second.attributes is not None
    assert (second.attributes["cometstream.followed_by"], second.attributes["cometstream.next_model"]) == (
        "fallback",
        "b",
    )
    assert third.attributes is not None
    assert third.attributes["cometstream.attempt"] == 3
    assert recorded.about["cometstream.attempts"] == 4
    assert recorded.about["cometstream.fallbacks"] == ("b",)
    assert recorded.about["gen_ai.request.model"] == CHAT["model"]
    assert recorded.chat.status.status_code is StatusCode.UNSET
    assert "error.type" not in recorded.about


@pytest.mark.parametrize(
    ("reply", "outcome", "error", "status"),
    [
        (Reply.sse(TEXT).cut(), "truncated", "StreamTruncatedError", None),
        (Reply.sse(TEXT, DONE), "unterminated", "StreamUnterminatedError", None),
        (Reply.error(400, "the prompt was ..."), "error", "BadRequestError", 400),
        (Reply.error(401, "no"), "error", "AuthenticationError", 401),
        (Reply.raw().stall(), "error", "APITimeoutError", None),
    ],
)
def test_a_call_that_fails_says_of_what(reply: Reply, outcome: str, error: str, status: int | None) -> None:
    recorded = told(reply, retry=None, timeouts=Timeouts(first_content=3))
    about = recorded.about
    assert (about["cometstream.outcome"], about["error.type"]) == (outcome, error)
    assert about.get("http.response.status_code") == status
    assert about.get("cometstream.error.clock") == ("first_content" if error == "APITimeoutError" else None)
    assert recorded.chat.status.status_code is StatusCode.ERROR
    assert (recorded.chat.status.description or "").startswith(error)
    assert "the prompt" not in recorded.chat.to_json()
    assert "gen_ai.usage.input_tokens" not in about


def test_a_cut_answer_has_the_usage_that_came_before_the_cut() -> None:
    recorded = told(Reply.sse({**TEXT, "usage": USAGE["usage"]}).cut(), retry=None)
    assert recorded.about["cometstream.outcome"] == "truncated"
    assert recorded.about["gen_ai.usage.input_tokens"] == 30
    assert recorded.about["gen_ai.usage.output_tokens"] == 20


@pytest.mark.parametrize(
    ("usage", "told_of"),
    [
        ({"completion_tokens": 4}, {"output_tokens": 4}),
        ({"prompt_tokens": 3}, {"input_tokens": 3}),
        ({"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0}, {}),
        ({"prompt_tokens": 0, "completion_tokens": 0}, {"input_tokens": 0, "output_tokens": 0}),
        # Reasoning that is counted in the total alone.
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 17}, {"input_tokens": 3, "output_tokens": 14}),
    ],
)
def test_a_count_that_the_report_leaves_out_is_not_nought(usage: dict[str, Any], told_of: dict[str, int]) -> None:
    about = told(Reply.sse(TEXT, STOP, {"choices": [], "usage": usage}, DONE)).about
    prefix = "gen_ai.usage."
    assert {name[len(prefix) :]: count for name, count in about.items() if name.startswith(prefix)} == told_of


def test_leaving_early_is_no_error() -> None:
    async def body(session: CometSession, *_: object) -> None:
        async with session.stream(**CHAT) as stream:
            await stream.__anext__()

    recorded = told(HELLO, body=body)
    assert recorded.about["cometstream.outcome"] == "cancelled"
    assert recorded.chat.status.status_code is StatusCode.UNSET
    assert "error.type" not in recorded.about


def test_the_newest_names_say_error_where_a_finish_reason_should_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Reply.sse(TEXT).cut()
    assert "gen_ai.response.finish_reasons" not in told(cut, retry=None).about
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http, gen_ai_latest_experimental")
    assert told(cut, retry=None).about["gen_ai.response.finish_reasons"] == ("error",)


def test_a_call_is_a_child_of_the_span_around_it_and_the_parent_of_nothing_that_the_caller_does() -> None:
    async def body(session: CometSession, _: SimulatedServer, recorded: Recorded) -> None:
        tracer = recorded.tracers.get_tracer("app")
        with tracer.start_as_current_span("handler"):
            async with session.stream(**CHAT) as stream:
                async for _chunk in stream:
                    with tracer.start_as_current_span("work"):
                        pass

    recorded = told(HELLO, body=body)
    handler = recorded.one("handler")
    assert {parent_of(span) for span in recorded.spans if span is not handler} == {id_of(handler)}


# -- what is sent of it -----------------------------------------------------------------------------------------------------


def test_the_gateway_is_sent_the_spans_context_with_each_attempt_and_no_baggage() -> None:
    async def body(session: CometSession, server: SimulatedServer, recorded: Recorded) -> None:
        token = contexts.attach(baggage.set_baggage("user", "jane"))
        await ask(session)
        await ask(session)  # over the connection that is open now
        contexts.detach(token)
        spans = [span.context for span in recorded.spans if span.context is not None]
        sent = [request.headers["traceparent"] for request in server.requests]
        names = [trace.format_trace_id(span.trace_id) + "-" + trace.format_span_id(span.span_id) for span in spans]
        assert [parts[3:52] for parts in sent] == [names[0], names[0], names[1]]
        assert not [request for request in server.requests if "baggage" in request.headers]

    told(Reply.error(503), HELLO, HELLO, body=body)


@pytest.mark.parametrize(
    ("propagator", "sent"),
    [(CompositePropagator([]), set()), (W3CBaggagePropagator(), {"baggage"})],
)
def test_a_propagator_of_the_callers_sends_what_it_has(propagator: Any, sent: set[str]) -> None:
    async def body(session: CometSession, server: SimulatedServer, _: Recorded) -> None:
        token = contexts.attach(baggage.set_baggage("user", "jane"))
        await ask(session)
        contexts.detach(token)
        assert {"traceparent", "baggage"} & {name.lower() for name in server.requests[0].headers} == sent

    told(HELLO, body=body, settings={"propagator": propagator})


def test_a_header_that_the_caller_gave_stays() -> None:
    async def body(session: CometSession, server: SimulatedServer, _: Recorded) -> None:
        for _turn in range(2):
            await ask(session, headers={"Traceparent": "mine"})
        assert [request.headers.getall("traceparent") for request in server.requests] == [["mine"], ["mine"]]

    told(HELLO, HELLO, body=body)


class BreakingOut:
    """A propagator whose value would end its line."""

    def inject(self, carrier: dict[str, str], *_: object, **__: object) -> None:
        carrier["x-trace"] = "a\r\nX-Other: b"


def test_a_header_that_cannot_be_sent_is_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def body(session: CometSession, server: SimulatedServer, _: Recorded) -> None:
        await ask(session)
        assert not {"x-trace", "X-Other"} & server.requests[0].headers.keys()

    told(HELLO, body=body, settings={"propagator": BreakingOut()})
    assert "the propagator's headers are not sent" in caplog.text


# -- where somebody else tells of the call ------------------------------------------------------------------------------------


class Theirs:
    """As much of an InferenceData as the test reads."""

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.response_finish_reasons: list[str] | None = None
        self.usage_input_tokens: int | None = None
        self.usage_cache_read_input_tokens: int | None = None
        self.error_type: str | None = None


def test_below_a_frameworks_span_for_the_same_call_there_is_no_second_one() -> None:
    theirs = Theirs()

    async def body(session: CometSession, server: SimulatedServer, recorded: Recorded) -> None:
        with recorded.tracers.get_tracer("framework").start_as_current_span("chat theirs"):
            token = contexts.attach(contexts.set_value(NESTED, theirs))
            await ask(session)
            contexts.detach(token)
        span_id = trace.format_span_id(id_of(recorded.one("chat theirs")))
        assert span_id in server.requests[0].headers["traceparent"]

    recorded = told(Reply.sse(TEXT, STOP, USAGE, DONE), body=body)
    assert [span.name for span in recorded.spans] == ["chat theirs"]
    assert not recorded.metrics
    assert (theirs.response_id, theirs.response_model) == (TEXT["id"], TEXT["model"])
    assert theirs.response_finish_reasons == ["stop"]
    assert (theirs.usage_input_tokens, theirs.usage_cache_read_input_tokens) == (30, 10)


def test_the_key_is_the_one_of_opentelemetry_util_genai() -> None:
    util = pytest.importorskip("opentelemetry.util.genai.invocation", reason="needs opentelemetry-util-genai")
    assert NESTED == util.CLIENT_INFERENCE_CONTEXT_KEY
    known = vars(util.InferenceData())
    assert all(hasattr(util.InferenceData(), name) for name in vars(Theirs())), known


@pytest.mark.parametrize("key", ["suppress_instrumentation", "suppress_language_model_instrumentation"])
def test_suppressed_instrumentation_tells_nothing(key: str) -> None:
    async def body(session: CometSession, server: SimulatedServer, _: Recorded) -> None:
        token = contexts.attach(contexts.set_value(key, True))
        await ask(session)
        contexts.detach(token)
        assert "traceparent" not in server.requests[0].headers

    recorded = told(HELLO, body=body)
    assert not recorded.spans
    assert not recorded.metrics


# -- secrets and odd values ---------------------------------------------------------------------------------------------------


def everything(recorded: Recorded) -> str:
    return "".join(span.to_json() for span in recorded.spans) + repr(recorded.metrics) + repr(recorded.events)


def test_the_key_is_in_no_attribute_whoever_wrote_it_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_AND_EVENT")
    echo = {**chunk({"content": f"it is {KEY}"}, finish_reason=KEY), "model": KEY, "id": KEY}
    refused = Reply.error(503, KEY, code=KEY, type=KEY).with_headers({"x-request-id": KEY})
    recorded = told(
        refused,
        Reply.sse(echo, DONE).with_headers({"x-request-id": KEY}),
        messages=[{"role": "user", "name": "me", "content": f"my key is {KEY}"}],
        stop=[KEY],
        retry=ONE_RETRY,
        extra_body={"reasoning_effort": KEY},
    )
    assert recorded.about["cometstream.outcome"] == "complete"
    assert "it is " in recorded.about["gen_ai.output.messages"]
    assert KEY not in everything(recorded)
    assert KEY[:12] not in everything(recorded)


def test_what_opentelemetry_cannot_hold_is_left_out() -> None:
    chunks = [
        b'data: {"id":5,"model":"'
        + b"m\\ud800" * 2000
        + b'","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        {"choices": [], "usage": {"prompt_tokens": 2**63, "completion_tokens": -1}},
    ]
    odd = {"temperature": True, "seed": 2**63, "top_k": 5.5, "n": True, "stop": [1], "modalities": 5, "top_p": 10**400}

    async def body(session: CometSession, *_: object) -> None:
        async with session.forward(json.dumps({**CHAT, "stream": True, **odd}).encode()) as stream:
            await stream.until_done()

    about = told(Reply.sse(*chunks, DONE), body=body, settings={"provider": "p\ud800"}).about
    assert about["gen_ai.provider.name"] == "p?"
    assert len(about["gen_ai.response.model"]) == 1024
    about["gen_ai.response.model"].encode()
    assert {name for name in about if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.request.stream",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.model",
    }


# -- what is not ours may break -----------------------------------------------------------------------------------------------


class Broken(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("no disk")

    def on_end(self, span: Any) -> None:
        raise RuntimeError("no disk")


def test_a_processor_that_raises_never_reaches_the_call(caplog: pytest.LogCaptureFixture) -> None:
    async def body(session: CometSession, _: SimulatedServer, recorded: Recorded) -> None:
        recorded.tracers.add_span_processor(Broken())
        assert (await ask(session)).content == "Hello"

    async def main() -> None:
        async with serving(HELLO) as (server, session):
            recorded = Recorded()
            recorded.instrument(session)
            await body(session, server, recorded)

    virtual_clock.run(main())
    assert "OpenTelemetry raised RuntimeError" in caplog.text


async def test_without_an_sdk_nothing_is_told_and_nothing_breaks() -> None:
    async with serving(HELLO) as (server, session):
        instrument(session)
        assert (await ask(session)).content == "Hello"
        assert "traceparent" not in server.requests[0].headers


# -- the public call ----------------------------------------------------------------------------------------------------------


def test_it_is_taken_back_and_a_second_call_takes_the_place_of_the_first() -> None:
    async def body(session: CometSession, _: SimulatedServer, recorded: Recorded) -> None:
        forget = recorded.instrument(session, provider="my gateway")
        await ask(session)
        assert recorded.about["gen_ai.provider.name"] == "my gateway"
        forget()
        await ask(session)
        assert len(recorded.spans) == 1

    told(HELLO, HELLO, body=body)


@pytest.mark.parametrize(
    "arguments",
    [
        {"session": None},
        {"session": "no"},
        {"tracer_provider": "no"},
        {"meter_provider": 5},
        {"logger_provider": object()},
        {"propagator": "none"},
        {"provider": ""},
        {"provider": None},
    ],
)
async def test_what_cannot_be_used_is_refused(arguments: dict[str, Any]) -> None:
    async with serving() as (_, session):
        with pytest.raises(ConfigurationError) as caught:
            instrument(**{"session": session, **arguments})
        assert next(iter(arguments)) in str(caught.value)


async def test_any_argument_is_taken_or_refused_with_an_error_of_ours() -> None:
    options = ("session", "tracer_provider", "meter_provider", "logger_provider", "propagator", "provider")
    async with serving() as (_, session):
        for given in each(*options):
            with only_ours():
                instrument(**{"session": session, **given})


async def test_the_session_of_openais_client_can_be_told_of_too() -> None:
    recorded = Recorded()
    async with SimulatedServer() as server:
        async with AsyncOpenAI(api_key=server.api_key, base_url=server.base_url) as client:
            recorded.instrument(client.session)
            await client.chat.completions.create(**CHAT)
    assert recorded.about["cometstream.outcome"] == "complete"


async def test_without_opentelemetry_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.trace", None)
    async with serving() as (_, session):
        with pytest.raises(ConfigurationError, match=r"pip install 'cometstream\[otel\]'"):
            instrument(session)


async def test_a_session_that_is_gone_is_not_kept() -> None:
    import gc
    import weakref

    async def use() -> weakref.ref[CometSession]:
        async with serving(HELLO) as (_, session):
            Recorded().instrument(session)
            await ask(session)
            return weakref.ref(session)

    gone = await use()
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


def test_switches_that_cannot_be_read_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "yes please")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "maybe")
    caplog.set_level(logging.WARNING, "cometstream")
    recorded = told(HELLO)
    assert "must be one of NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT" in caplog.text
    assert "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT must be true or false" in caplog.text
    assert not recorded.events
    assert "gen_ai.input.messages" not in recorded.about
