from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from support import virtual_clock
from support.ports import free_port
from support.serving import CHAT, KEY, ask, failure, serving

from cometstream import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CometError,
    CometSession,
    InternalServerError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    StreamServerError,
    StreamTruncatedError,
    Timeouts,
    UsageError,
)
from cometstream.testing import DONE, Reply, SimulatedServer, chunk, frame

HELLO = Reply.text("Hello")


@pytest.fixture(autouse=True)
def longest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jitter at its end: every wait is as long as it may be."""
    monkeypatch.setattr("random.random", lambda: 1.0)


class Result:
    """How one request went: its text or error, the moments at which the server was asked, and what it was asked."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.error: Any = None
        self.attempts = 0
        self.moments: list[float] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def models(self) -> list[str]:
        return [body["model"] for body in self.bodies]


def play(*replies: Reply, options: dict[str, Any] | None = None, **call: Any) -> Result:
    """Ask once, with these replies scripted; after them the server says 418."""
    result = Result()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        moments: list[float] = []

        def noting(reply: Reply) -> Callable[[object], Reply]:
            def answer(request: object) -> Reply:
                moments.append(loop.time())
                return reply

            return answer

        async with serving(*map(noting, replies), **(options or {})) as (server, session):
            server.always(noting(Reply.error(418, "the script is over")))
            stream = session.stream(**{**CHAT, **call})
            try:
                async with stream:
                    result.text = (await stream.until_done()).content
            except CometError as error:
                result.error = error
            result.attempts = stream.metrics.attempts
            result.moments = [moment - moments[0] for moment in moments]
            result.bodies = [request.json for request in server.requests]

    virtual_clock.run(main())
    return result


# What is tried again


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529])
def test_a_status_that_may_pass_is_tried_again(status: int) -> None:
    result = play(Reply.error(status), HELLO)
    assert (result.text, result.attempts) == ("Hello", 2)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, ""),
        (400, ""),
        (401, ""),
        (402, ""),
        (403, ""),
        (404, ""),
        (413, ""),
        (422, ""),
        (500, "invalid_request"),
        (500, "channel:no_available_key"),
        (403, "insufficient_user_quota"),
        (429, "insufficient_quota"),
        (503, "model_not_found"),
    ],
)
def test_what_waiting_does_not_mend_is_not_tried_again(status: int, code: str) -> None:
    result = play(Reply.error(status, code=code), HELLO)
    assert result.error.status == status
    assert result.attempts == len(result.bodies) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply.raw().cut(),
        Reply.raw().reset(),
        Reply.sse().cut(),
        Reply.sse(b": PING\n\n").reset(),
        Reply.sse(chunk({"role": "assistant", "content": ""})).cut(),
        Reply.sse(),
        Reply.sse(DONE),
        Reply.sse(chunk({"role": "assistant"}), DONE),
        Reply.sse({"error": {"code": 502, "message": "upstream"}}),
        Reply.sse(chunk({"role": "assistant"}), {"error": {"code": "rate_limit_exceeded", "message": "slow"}}, DONE),
        Reply.sse({"error": "upstream"}),
        Reply.sse(b"event: error\n" + frame({"message": "upstream"})),
        Reply.sse(chunk({}, finish_reason="error"), DONE),
        Reply.json({"error": {"code": 503, "message": "busy"}}),
        Reply.json({"choices": []}).cut(8),
    ],
)
def test_an_attempt_that_dies_before_the_first_content_is_repeated_unseen(reply: Reply) -> None:
    result = play(reply, HELLO)
    assert (result.text, result.attempts) == ("Hello", 2)


def test_the_chunks_of_an_attempt_that_was_repeated_are_never_seen() -> None:
    async def main() -> list[str | None]:
        dying = Reply.sse(chunk({"role": "assistant"}, id="first"), {"error": {"code": 502, "message": "upstream"}})
        async with serving(dying, HELLO) as (_, session), session.stream(**CHAT) as stream:
            return [seen.id async for seen in stream]

    assert set(virtual_clock.run(main())) == {"chatcmpl-simulated"}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply.sse(chunk({"content": "Hel"})).cut(), StreamTruncatedError),
        (Reply.sse(chunk({"content": "Hel"}), {"error": {"code": 502, "message": "upstream"}}), StreamServerError),
        (Reply.sse(chunk({"reasoning_content": "Hm"})).reset(), StreamTruncatedError),
        (Reply.sse(b"data: {nonsense\n\n"), ProtocolError),
        (Reply.plain(b"<html>Sign in</html>", content_type="text/html"), ProtocolError),
        (Reply.raw(b"SSH-2.0-OpenSSH\r\n"), ProtocolError),
    ],
)
def test_nothing_is_repeated_after_the_first_content_nor_what_is_no_protocol(
    reply: Reply, expected: type[CometError]
) -> None:
    result = play(reply, HELLO)
    assert type(result.error) is expected
    assert result.attempts == len(result.bodies) == 1


def test_an_error_frame_before_the_first_content_raises_as_its_status_when_the_retries_are_over() -> None:
    result = play(*[Reply.sse({"error": {"code": 429, "message": "slow down"}})] * 3)
    assert type(result.error) is RateLimitError
    assert result.attempts == 3
    result = play(Reply.sse({"error": {"code": "insufficient_user_quota", "message": "no money"}}))
    assert result.error.status == 403
    assert result.attempts == 1


@pytest.mark.parametrize("clock", ["connect", "first_content"])
def test_an_attempt_whose_clock_ran_out_is_repeated(clock: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with serving(timeouts=Timeouts(connect=2, first_content=5)) as (server, session):
            if clock == "connect":
                connect = loop.sock_connect

                async def never_at_first(*args: Any) -> Any:
                    loop.sock_connect = connect
                    await loop.create_future()

                loop.sock_connect = never_at_first
            else:
                server.script(Reply.sse(chunk({"role": "assistant"})).forever(1.0, b": PING\n\n"))
            began = loop.time()
            async with session.stream(**CHAT) as stream:
                assert (await stream.until_done()).content
            assert stream.metrics.attempts == 2
            # The clock, and half a second until the retry.
            assert loop.time() - began == pytest.approx({"connect": 2.5, "first_content": 5.5}[clock], abs=0.3)

    virtual_clock.run(main())


def test_a_refused_connection_is_tried_again() -> None:
    async def main() -> None:
        port = free_port()
        server = SimulatedServer(api_key=KEY, port=port)
        async with CometSession(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1") as session:
            answer = asyncio.create_task(ask(session))
            await asyncio.sleep(1)
            assert not answer.done()
            async with server:
                assert (await answer).content

    virtual_clock.run(main())


def test_a_pooled_connection_that_the_server_has_closed_costs_neither_an_attempt_nor_a_wait() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            # Closed right upon the second request: too late for the pool to have noticed.
            server.script(HELLO, Reply.raw().cut(), HELLO)
            await ask(session)
            async with session.stream(**CHAT) as stream:
                assert (await stream.until_done()).content == "Hello"
            assert stream.metrics.attempts == 1

    virtual_clock.run(main())


# How often, and when


def test_two_retries_are_the_default() -> None:
    result = play(Reply.error(503), Reply.error(502), Reply.error(500, "the last"), HELLO)
    assert type(result.error) is InternalServerError
    assert "the last" in str(result.error)
    assert result.attempts == 3


@pytest.mark.parametrize(
    ("retry", "attempts"), [(None, 1), (0, 1), (1, 2), (4, 5), (RetryPolicy(max_retries=3), 4), (RetryPolicy(0), 1)]
)
def test_the_number_of_retries_is_the_sessions_or_the_calls(retry: Any, attempts: int) -> None:
    failing = [Reply.error(503)] * 6
    assert play(*failing, options={"retry": retry}).attempts == attempts
    assert play(*failing, options={"retry": 5}, retry=retry).attempts == attempts
    assert play(*failing, options={"retry": None}, retry=retry).attempts == attempts


def test_waits_double_up_to_eight_seconds() -> None:
    result = play(*[Reply.error(503)] * 8, options={"retry": 7})
    waits = [after - before for before, after in zip(result.moments, result.moments[1:], strict=False)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 8, 8], abs=0.1)


@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.999])
def test_waits_are_drawn_evenly_from_zero_up(jitter: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: jitter)
    result = play(Reply.error(503), Reply.error(503), Reply.error(503))
    assert result.moments == pytest.approx([0, 0.5 * jitter, 1.5 * jitter], abs=0.05)


def test_waits_follow_the_policy() -> None:
    policy = RetryPolicy(max_retries=3, initial_delay=2, max_delay=3)
    assert play(*[Reply.error(503)] * 4, retry=policy).moments == pytest.approx([0, 2, 5, 8], abs=0.1)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 8.75),
        ({"Retry-After": "60"}, 75),
        ({"Retry-After": "Thu, 01 Jan 1970 00:17:10 GMT"}, 37.5),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.5),
        ({"retry-after-ms": "2500", "Retry-After": "50"}, 3.125),
        ({"Retry-After": "0"}, 0.5),
        ({"Retry-After": "when it suits you"}, 0.5),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 529])
def test_retry_after_is_obeyed(
    status: int, headers: dict[str, str], wait: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    result = play(Reply.error(status).with_headers(headers), HELLO)
    assert result.text == "Hello"
    assert result.moments[1] == pytest.approx(wait, abs=0.1)


def test_a_retry_after_of_more_than_a_minute_raises_at_once() -> None:
    result = play(Reply.error(429, retry_after=61), HELLO)
    assert type(result.error) is RateLimitError
    assert result.error.retry_after == 61
    assert result.attempts == 1
    assert play(Reply.error(429, retry_after=61), HELLO, retry=RetryPolicy(max_retry_after=70)).text == "Hello"


def test_a_wait_past_total_raises_the_failure_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(Reply.error(429, retry_after=20), HELLO, timeouts=Timeouts(total=20)) as (server, session):
            began = loop.time()
            assert type(await failure(session)) is RateLimitError
            assert loop.time() - began < 1
            assert len(server.requests) == 1

    virtual_clock.run(main())


def test_total_covers_the_retries_and_their_waits() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(timeouts=Timeouts(total=30), retry=RetryPolicy(9, 0.0)) as (server, session):
            server.always(Reply.error(429, retry_after=4).after(4))
            began = loop.time()
            error = await failure(session)
            assert isinstance(error, APITimeoutError)
            assert error.clock == "total"
            assert not error.retryable
            assert loop.time() - began == pytest.approx(30, abs=0.2)
            assert len(server.requests) == 4

    virtual_clock.run(main())


def test_a_wait_ends_when_its_task_is_cancelled_and_when_the_stream_is_closed() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(Reply.error(429, retry_after=50))
            waiting = asyncio.create_task(ask(session))
            await asyncio.sleep(10)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            server.script(Reply.sse({"error": {"code": 502, "message": "upstream"}}))
            async with session.stream(**CHAT) as stream:
                reader = asyncio.create_task(stream.until_done())
                await asyncio.sleep(10)
                await stream.aclose()
                await reader
            assert stream.outcome == "cancelled"

    virtual_clock.run(main())


@pytest.mark.parametrize(("status", "attempts"), [(404, 2), (418, 2), (400, 2), (503, 1), (302, 2)])
def test_the_statuses_are_configurable(status: int, attempts: int) -> None:
    policy = RetryPolicy(statuses=frozenset({302, 400, 404, 418}))
    assert play(Reply.error(status), HELLO, retry=policy).attempts == attempts


# Without stream_options


@pytest.mark.parametrize(
    "refusal",
    [
        Reply.error(400, "unknown field: stream_options"),
        Reply.error(400, "unknown field", param="stream_options"),
        Reply.sse({"error": {"code": 400, "message": "stream_options is not supported"}}),
        Reply.error(400, "Extra inputs are not permitted: include_usage"),
        Reply.error(422, "StreamOptions: unknown"),
        Reply.error(500, 'json: unknown field "stream_options"'),
        Reply.error(429, "no quota for stream_options"),
        Reply.error(501, "not implemented", type="stream_options"),
        Reply.json(
            {"object": "error", "message": {"detail": [{"loc": ["body", "stream_options", "include_usage"]}]}},
            status=422,
        ),
        Reply.json({"errors": [{"stream_options": ["not allowed"]}]}, status=400),
        Reply.plain(b"<h1>Bad Request</h1><p>stream_options</p>", content_type="text/html", status=400),
        Reply.json({"error": {"code": 500, "message": "unknown field stream_options"}}),
        Reply.json({"error": {"message": "unknown field stream_options"}}),
        Reply.sse({"error": {"message": "wrong parameter", "param": "stream_options"}}),
        Reply.sse(chunk({"role": "assistant"}), {"error": {"message": "stream_options?"}}),
    ],
)
def test_a_server_that_refuses_our_stream_options_is_asked_once_more_without_and_no_retry_is_spent(
    refusal: Reply,
) -> None:
    result = play(refusal, HELLO, retry=None)
    assert result.text == "Hello"
    assert result.attempts == 2
    assert ["stream_options" in body for body in result.bodies] == [True, False]
    assert result.moments == pytest.approx([0, 0], abs=0.1)
    result = play(refusal, Reply.error(503), HELLO, retry=1)
    assert result.text == "Hello"
    assert ["stream_options" in body for body in result.bodies] == [True, False, False]


def test_a_server_that_goes_on_refusing_them_is_not_asked_a_third_time() -> None:
    result = play(*[Reply.error(400, "stream_options?")] * 2, HELLO)
    assert type(result.error) is BadRequestError
    assert result.attempts == 2


@pytest.mark.parametrize(
    "given",
    [
        {"stream_options": {"include_usage": True}},
        {"stream_options": {"include_obfuscation": False}},
        {"extra_body": {"stream_options": {"include_usage": True}}},
    ],
)
def test_a_callers_own_stream_options_are_not_taken_back(given: dict[str, Any]) -> None:
    result = play(Reply.error(400, "unknown field: stream_options"), HELLO, **given)
    assert type(result.error) is BadRequestError
    assert result.attempts == 1


# Fallbacks


def test_fallback_models_come_after_the_retries_and_each_has_its_own() -> None:
    result = play(*[Reply.error(503)] * 6, HELLO, fallback_models=["b", "c"], retry=2)
    assert result.text == "Hello"
    assert result.models == ["gpt-5.4"] * 3 + ["b"] * 3 + ["c"]
    assert result.attempts == 7
    # No wait before another model, and its own waits begin anew.
    assert result.moments == pytest.approx([0, 0.5, 1.5, 1.5, 2, 3, 3], abs=0.1)


def test_the_last_models_failure_is_raised() -> None:
    result = play(Reply.error(503), Reply.error(502, "b's own"), fallback_models=["b"], retry=None)
    assert result.error.status == 502
    assert "b's own" in str(result.error)
    assert result.attempts == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(404),
        Reply.error(400, code="model_not_found"),
        Reply.error(503, code="model_not_found"),
        Reply.sse({"error": {"code": "model_not_found", "message": "gone"}}),
    ],
)
def test_an_unknown_model_turns_to_the_next_at_once(reply: Reply) -> None:
    result = play(reply, HELLO, fallback_models=["b"])
    assert result.text == "Hello"
    assert result.models == ["gpt-5.4", "b"]
    assert play(reply, HELLO).attempts == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(400),
        Reply.error(400, code="context_length_exceeded"),
        Reply.error(500, code="invalid_request"),
        Reply.error(401),
        Reply.error(403),
        Reply.error(422),
        Reply.error(302),
        Reply.sse(b"data: {nonsense\n\n"),
    ],
)
def test_a_request_at_fault_and_a_refused_key_turn_to_no_other_model(reply: Reply) -> None:
    assert play(reply, HELLO, fallback_models=["b"]).attempts == 1


def test_a_400_and_a_401_turn_to_no_other_model_even_where_the_policy_repeats_them() -> None:
    policy = RetryPolicy(max_retries=1, statuses=frozenset({400, 401}))
    for status, expected in ((400, BadRequestError), (401, AuthenticationError)):
        result = play(*[Reply.error(status)] * 2, HELLO, fallback_models=["b"], retry=policy)
        assert type(result.error) is expected
        assert result.models == ["gpt-5.4"] * 2


def test_a_retry_after_that_is_too_long_turns_to_the_next_model_at_once() -> None:
    result = play(Reply.error(429, retry_after=600), HELLO, fallback_models=["b"])
    assert result.text == "Hello"
    assert result.models == ["gpt-5.4", "b"]
    assert result.moments == pytest.approx([0, 0], abs=0.1)


def test_a_stream_that_dies_before_its_content_turns_to_the_next_model() -> None:
    result = play(Reply.sse(DONE), Reply.sse().cut(), HELLO, fallback_models=["b", "c"], retry=0)
    assert result.text == "Hello"
    assert result.models == ["gpt-5.4", "b", "c"]


def test_stream_options_stay_away_from_the_models_that_follow() -> None:
    result = play(Reply.error(400, "stream_options?"), Reply.error(404), HELLO, fallback_models=["b"])
    assert ["stream_options" in body for body in result.bodies] == [True, False, False]
    assert result.models == ["gpt-5.4", "gpt-5.4", "b"]


def test_the_models_that_follow_get_all_that_the_first_one_got() -> None:
    result = play(Reply.error(404), HELLO, fallback_models=["b"], temperature=0.5, extra_body={"top_k": 3})
    first, second = result.bodies
    assert second == {**first, "model": "b"}


def test_no_fallback_begins_when_total_has_run_out() -> None:
    result = play(Reply.error(503).after(20), HELLO, fallback_models=["b"], timeouts=Timeouts(total=10))
    assert isinstance(result.error, APITimeoutError)
    assert result.error.clock == "total"
    assert result.models == ["gpt-5.4"]


# Beside streams


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(Reply.error(503), InternalServerError), (Reply.raw().cut(), APIConnectionError)],
)
def test_complete_and_models_are_tried_again_too(reply: Reply, expected: type[CometError]) -> None:
    async def main() -> None:
        async with serving(reply, reply) as (server, session):
            assert (await session.complete(**CHAT)).content
            assert len(server.requests) == 3
            server.script(reply, reply)
            assert await session.models()  # aiohttp itself repeats a GET on a connection that was closed
        async with serving(retry=None) as (server, session):
            server.always(reply)
            with pytest.raises(expected):
                await session.complete(**CHAT)
            with pytest.raises(expected):
                await session.models()

    virtual_clock.run(main())


def test_complete_turns_to_a_fallback_and_models_has_none() -> None:
    async def main() -> None:
        async with serving(Reply.error(404)) as (server, session):
            assert (await session.complete(**CHAT, fallback_models=["gpt-4.1"])).model == "gpt-4.1"
            server.script(Reply.error(404))
            with pytest.raises(NotFoundError):
                await session.complete(**CHAT)
            server.script(Reply.error(404))
            with pytest.raises(APIStatusError):
                await session.models()

    virtual_clock.run(main())


def test_a_wait_that_is_cancelled_uses_up_no_retry() -> None:
    async def main() -> None:
        stop = Reply.sse(DONE)  # an attempt without content, to be repeated
        async with serving(stop, stop, Reply.text("Hello"), retry=RetryPolicy(max_retries=2)) as (_, session):
            async with session.stream(**CHAT) as stream:
                for _ in range(5):
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(stream.__anext__(), 0.05)
                assert (await stream.until_done()).content == "Hello"
            assert stream.metrics.attempts == 3

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "random", lambda: 1.0)
        virtual_clock.run(main())


def test_closing_the_session_ends_the_wait_for_a_retry() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(Reply.error(429, retry_after=50)) as (server, session):
            asking = asyncio.ensure_future(ask(session))
            await asyncio.sleep(5)
            began = loop.time()
            await session.aclose()
            with pytest.raises(UsageError, match="closed"):
                await asking
            assert loop.time() - began < 1
            assert len(server.requests) == 1

    virtual_clock.run(main())


def test_an_answer_that_had_begun_is_not_asked_for_again() -> None:
    async def main() -> None:
        timeouts = Timeouts(content_idle=5)
        async with serving(timeouts=timeouts) as (server, session):
            server.always(Reply.json({"choices": [], "data": []}).stall(5))
            for call in (session.complete(**CHAT, fallback_models=["b"]), session.models()):
                before = len(server.requests)
                with pytest.raises(APITimeoutError) as caught:
                    await call
                assert caught.value.clock == "content_idle"
                assert caught.value.retryable
                assert len(server.requests) == before + 1

    virtual_clock.run(main())


# The budget


def asked_during_an_outage(requests: int, **options: Any) -> tuple[int, list[CometError]]:
    """How often a server that is down is asked by so many requests at the same time, and what they end with."""

    async def main() -> tuple[int, list[CometError]]:
        async with serving(**options) as (server, session):
            server.always(Reply.error(503))
            errors = await asyncio.gather(*(failure(session) for _ in range(requests)))
            return len(server.requests), errors

    return virtual_clock.run(main())


def test_an_outage_is_not_multiplied() -> None:
    asked, errors = asked_during_an_outage(300)
    assert asked < 300 + 50
    assert {type(error) for error in errors} == {InternalServerError}


def test_few_requests_have_all_their_retries() -> None:
    assert asked_during_an_outage(10)[0] == 30


def test_the_budget_can_be_set_and_turned_off() -> None:
    assert asked_during_an_outage(100, retry=RetryPolicy(budget=None))[0] == 300
    assert asked_during_an_outage(100, retry=RetryPolicy(budget=5))[0] == 104


def test_the_budget_is_the_sessions_and_answers_fill_it_again() -> None:
    async def main() -> None:
        async with serving(retry=RetryPolicy(max_retries=1, budget=4)) as (server, session):
            server.always(Reply.error(503))
            counts = []
            for _ in range(4):
                await failure(session)
                counts.append(len(server.requests))
            assert counts == [2, 4, 5, 6]  # no retry from the fourth failure on
            with pytest.raises(InternalServerError):
                await session.models()
            assert len(server.requests) == 7
            await failure(session, retry=RetryPolicy(max_retries=1, budget=None))
            assert len(server.requests) == 9
            server.always(HELLO)
            for _ in range(9):
                assert (await ask(session)).content == "Hello"
            server.always(Reply.error(503))
            before = len(server.requests)
            await failure(session)
            assert len(server.requests) == before + 2

    virtual_clock.run(main())


def test_refusals_that_no_retry_mends_do_not_use_the_budget_up() -> None:
    async def main() -> None:
        async with serving(retry=RetryPolicy(max_retries=1, budget=2)) as (server, session):
            server.always(Reply.error(400))
            for _ in range(20):
                await failure(session)
            server.always(Reply.error(503))
            before = len(server.requests)
            await failure(session)
            assert len(server.requests) == before + 2

    virtual_clock.run(main())


def test_requests_without_retries_neither_use_the_budget_up_nor_fill_it() -> None:
    async def main() -> None:
        async with serving(retry=RetryPolicy(max_retries=1, budget=2)) as (server, session):
            server.always(Reply.error(503))
            for _ in range(20):
                await failure(session, retry=None)
            before = len(server.requests)
            await failure(session)
            assert len(server.requests) == before + 2
            server.always(HELLO)
            for _ in range(20):
                await ask(session, retry=None)
            server.always(Reply.error(503))
            before = len(server.requests)
            await failure(session)
            assert len(server.requests) == before + 1

    virtual_clock.run(main())


def test_a_fallback_needs_no_budget() -> None:
    async def main() -> None:
        async with serving(retry=RetryPolicy(max_retries=2, budget=1)) as (server, session):
            server.script(Reply.error(503), HELLO)
            assert (await ask(session, fallback_models=["b"])).content == "Hello"
            assert [request.json["model"] for request in server.requests] == ["gpt-5.4", "b"]

    virtual_clock.run(main())


def test_a_number_of_retries_for_a_call_leaves_the_rest_of_the_sessions_policy() -> None:
    result = play(
        *[Reply.error(418)] * 3,
        HELLO,
        options={"retry": RetryPolicy(max_retries=0, initial_delay=3.0, statuses=frozenset({418}))},
        retry=3,
    )
    assert result.text == "Hello"
    assert result.moments == pytest.approx([0, 3, 9, 17], abs=0.1)
