"""Hooks hear of every call from start to end, and can neither break nor hold back its stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from support import virtual_clock
from support.serving import CHAT, ask, serving

import cometstream.hooks
from cometstream import Call, CometError, ConfigurationError, FailedAttempt, Hooks, RetryPolicy, StreamMetrics
from cometstream.batch import fan_out
from cometstream.testing import Reply, chunk

HELLO = Reply.text("Hello")
TEXT = chunk({"content": "Hello"})
ONE_RETRY = RetryPolicy(max_retries=1, initial_delay=0.0)
NAMES = ("on_start", "on_retry", "on_first_content", "on_end")


class Heard:
    """Hooks that note by what they were called, and with what."""

    def __init__(self, *, is_async: bool = False, tag: str = "") -> None:
        self.names: list[str] = []
        self.told: list[Any] = []
        self._tag = tag
        make = self._async if is_async else self._sync
        self.hooks = Hooks(**{name: make(name) for name in NAMES})  # type: ignore[arg-type] # each takes anything

    def _sync(self, name: str) -> Callable[[object], object]:
        def hook(told: object) -> None:
            self.names.append(self._tag + name)
            self.told.append(told)

        return hook

    def _async(self, name: str) -> Callable[[object], object]:
        note = self._sync(name)

        async def hook(told: object) -> None:
            await asyncio.sleep(0.01)
            note(told)

        return hook


@pytest.mark.parametrize("of", ["session", "call"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_hooks_hear_of_start_retry_first_content_and_end_in_turn(is_async: bool, of: str) -> None:
    heard = Heard(is_async=is_async)
    session_hooks, call_hooks = (heard.hooks, None) if of == "session" else (None, heard.hooks)
    async with serving(Reply.error(503), HELLO, hooks=session_hooks, retry=ONE_RETRY) as (_, session):
        async with session.stream(**CHAT, hooks=call_hooks) as stream:
            await stream.until_done()
        assert heard.names == ["on_start", "on_retry", "on_first_content", "on_end"]
    start, failed, first, metrics = heard.told
    assert isinstance(start, Call)
    assert start is first
    assert start.model == CHAT["model"]
    assert isinstance(failed, FailedAttempt)
    assert (failed.number, failed.reason, failed.followed_by) == (1, "InternalServerError 503", "retry")
    assert isinstance(metrics, StreamMetrics)
    assert metrics == stream.metrics
    assert start.client_request_id == failed.client_request_id == metrics.client_request_id


async def test_the_sessions_hooks_come_before_the_calls_own() -> None:
    names: list[str] = []
    session_hooks = Hooks(on_end=lambda metrics: names.append("session"))
    async with serving(HELLO, HELLO, hooks=session_hooks) as (_, session):
        await ask(session, hooks=Hooks(on_end=lambda metrics: names.append("call")))
        assert names == ["session", "call"]
        await ask(session)
        assert names == ["session", "call", "session"]


async def leave(stream: Any) -> None:
    async with stream:
        await stream.__anext__()


async def stop(stream: Any) -> None:
    async with stream:
        await stream.__anext__()
        await stream.aclose()
        await stream.aclose()


async def read(stream: Any) -> None:
    async with stream:
        await stream.until_done()


async def cancel(stream: Any) -> None:
    task = asyncio.create_task(read(stream))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("reply", "use", "outcome"),
    [
        (HELLO, read, "complete"),
        (Reply.error(400), read, "error"),
        (Reply.raw().reset(), read, "error"),
        (Reply.sse(TEXT).cut(), read, "truncated"),
        (Reply.sse(TEXT).stall(), leave, "cancelled"),
        (Reply.sse(TEXT).stall(), stop, "cancelled"),
        (Reply.sse(TEXT).stall(), cancel, "cancelled"),
        (Reply.raw().stall(), cancel, "cancelled"),
    ],
)
async def test_every_ending_is_told_once(reply: Reply, use: Callable[[Any], Any], outcome: str) -> None:
    heard = Heard()
    async with serving(reply, retry=None, hooks=heard.hooks) as (_, session):
        try:
            await use(session.stream(**CHAT))
        except CometError:
            pass
    ends = [told for told in heard.told if isinstance(told, StreamMetrics)]
    assert [metrics.outcome for metrics in ends] == [outcome]


async def test_a_stream_that_is_dropped_is_told_too() -> None:
    heard = Heard()
    async with serving(Reply.sse(TEXT).stall(), hooks=heard.hooks) as (_, session):
        stream = await session.stream(**CHAT).__aenter__()
        await stream.__anext__()
        with pytest.warns(ResourceWarning, match="unclosed"):
            del stream
        await asyncio.sleep(0.01)
        assert heard.names == ["on_start", "on_first_content", "on_end"]


async def test_a_stream_that_is_never_entered_is_not_told() -> None:
    heard = Heard()
    async with serving(hooks=heard.hooks) as (_, session):
        await session.stream(**CHAT).aclose()
    assert heard.names == []


async def test_completions_forwarded_bodies_and_rows_of_a_batch_are_told() -> None:
    heard = Heard()
    async with serving(HELLO, HELLO, HELLO, hooks=heard.hooks) as (_, session):
        await session.complete(**CHAT)
        body = b'{"model":"gpt-5.4","stream":true,"messages":[{"role":"user","content":"x"}]}'
        async with session.forward(body) as stream:
            await stream.until_done()
        async with fan_out(session, [CHAT]) as batch:
            async for result in batch:
                assert result.metrics == heard.told[-1]
    assert heard.names == ["on_start", "on_first_content", "on_end"] * 3
    assert {told.model for told in heard.told} == {CHAT["model"]}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [ValueError("of the hook"), asyncio.CancelledError()])
async def test_an_error_in_a_hook_is_logged_and_the_answer_comes(
    name: str, is_async: bool, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(told: object) -> None:
        raise error

    async def fails_later(told: object) -> None:
        raise error

    hooks = Hooks(**{name: fails_later if is_async else fails})
    async with serving(Reply.error(503), HELLO, hooks=hooks, retry=ONE_RETRY) as (_, session):
        assert (await ask(session)).content == "Hello"
    logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
    if is_async and isinstance(error, asyncio.CancelledError):
        return  # the hook's own way to end
    assert [record.getMessage() for record in logged] == [f"the hook {name} raised {type(error).__name__}"]
    assert logged[0].exc_info is not None


def test_what_a_hook_awaits_holds_neither_chunks_nor_leaving_back(caplog: pytest.LogCaptureFixture) -> None:
    async def forever(told: object) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(Reply.error(503), HELLO, hooks=Hooks(forever, forever, forever, forever)) as (_, session):
            before = loop.time()
            async with session.stream(**CHAT) as stream:
                await stream.until_done()
                read_after = loop.time() - before
            left_after = loop.time() - before
        closed_after = loop.time() - before
        assert read_after < 1.1  # the wait before the retry
        assert 1.0 <= left_after - read_after < 1.1
        assert closed_after - left_after < 1.1
        await asyncio.sleep(41)

    virtual_clock.run(main())
    ended = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert ended == [f"the hook {name} was ended: it awaited something for more than 10 s" for name in NAMES]


async def test_a_hook_may_ask_the_model_itself() -> None:
    answers: list[str | None] = []

    async def asks(metrics: StreamMetrics) -> None:
        if not answers:
            answers.append(None)
            answers.append((await ask(session)).content)

    async with serving(HELLO, Reply.text("Again"), hooks=Hooks(on_end=asks)) as (_, session):
        await ask(session)
    assert answers == [None, "Again"]


def test_a_hook_that_is_cut_off_by_the_loops_end_leaves_no_warning() -> None:
    async def hook(told: object) -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        async with serving(Reply.sse(TEXT).stall()) as (_, session):
            stream = await session.stream(**CHAT, hooks=Hooks(on_start=hook, on_end=hook)).__aenter__()
            await stream.aclose()
            for task in list(session._under_way):
                task.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_that_cannot_be_called_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"hooks.{name} must be a function of one argument, or None; got 3"):
        Hooks(**{name: 3})  # type: ignore[arg-type] # that it is refused is the test


async def test_hooks_that_are_none_are_refused_before_anything_is_sent() -> None:
    async with serving() as (server, session):
        wrong: Any = print
        with pytest.raises(ConfigurationError, match=r"hooks must be Hooks\(\.\.\.\), such as"):
            session.stream(**CHAT, hooks=wrong)
        assert server.requests == []


async def test_a_listener_hears_of_calls_until_it_is_taken_back() -> None:
    heard = Heard()
    async with serving(HELLO, HELLO) as (_, session):
        forget = session.listen(cometstream.hooks.HookRunner(heard.hooks, set()))
        await ask(session)
        forget()
        forget()
        await ask(session)
    assert heard.names == ["on_start", "on_first_content", "on_end"]
