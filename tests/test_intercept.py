"""What stands between a session's requests and the network: it sees all of them, and may answer them itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from support.serving import CHAT, ask, failure, serving

from cometstream import CometSession, ConfigurationError, RateLimitError
from cometstream.testing import Reply
from cometstream.transport.incoming import Incoming
from cometstream.transport.intercept import Outgoing


class Watch:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    async def intercept(self, request: Outgoing, send: Callable[[], Awaitable[Incoming]]) -> Incoming:
        incoming = await send()
        self.seen.append((request.method, request.route, incoming.status))
        return incoming


async def test_every_request_and_every_status_is_seen() -> None:
    watch = Watch()
    async with serving(Reply.error(503, retry_after=0), Reply.text("Hello")) as (_, session):
        forget = session.intercept(watch)
        assert (await ask(session)).content == "Hello"
        await session.models()
        await session.catalog()
        assert (await session.complete(**CHAT, query="a=b")).content
        forget()
        await session.models()
    assert watch.seen == [
        ("POST", "/chat/completions", 503),
        ("POST", "/chat/completions", 200),
        ("GET", "/models", 200),
        ("GET", "/api/models", 200),
        ("POST", "/chat/completions?a=b", 200),
    ]


async def test_a_status_is_judged_after_it() -> None:
    async with serving(Reply.error(429, retry_after=7), retry=None) as (_, session):
        session.intercept(Watch())
        error = await failure(session)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 7


async def test_one_of_all_sessions_gives_way_to_a_sessions_own() -> None:
    all_of_them, own = Watch(), Watch()
    forget_all = CometSession.intercept_all(all_of_them)
    try:
        async with serving() as (_, session):
            await session.models()
            forget = session.intercept(own)
            inner = session.intercept(Watch())
            inner()
            await session.models()
            forget()
            await session.models()
    finally:
        forget_all()
    assert (len(all_of_them.seen), len(own.seen)) == (2, 1)


async def test_interceptors_may_be_taken_back_in_any_order() -> None:
    first, second = Watch(), Watch()
    async with serving() as (_, session):
        forget_first, forget_second = session.intercept(first), session.intercept(second)
        forget_first()
        await session.models()
        forget_second()
        forget_second()
        await session.models()
    assert (len(first.seen), len(second.seen)) == (0, 1)


async def test_no_session_is_intercepted_by_itself() -> None:
    watch = Watch()
    async with serving() as (_, session):
        forget = CometSession.intercept_all(watch)
        forget()
        await session.models()
    assert watch.seen == []


@pytest.mark.parametrize("status", [301, 404])
async def test_an_answer_of_its_own_needs_no_network(status: int) -> None:
    async with serving(Reply.plain(b"<p>moved</p>", content_type="text/html", status=status), retry=None) as (_, other):
        kept: list[Incoming] = []

        class Answers:
            async def intercept(self, request: Outgoing, send: Callable[[], Awaitable[Incoming]]) -> Incoming:
                return kept[0]

        class Keeps:
            async def intercept(self, request: Outgoing, send: Callable[[], Awaitable[Incoming]]) -> Incoming:
                kept.append(await send())
                return kept[0]

        other.intercept(Keeps())
        first = await failure(other)
        async with CometSession(api_key="k" * 20, base_url="https://192.0.2.1/v1", retry=None) as session:
            session.intercept(Answers())
            second = await failure(session)
    assert (type(first), getattr(first, "status", None)) == (type(second), status)


def test_what_is_no_interceptor_is_refused_at_once() -> None:
    session = CometSession(api_key="k" * 20)
    for intercept in (session.intercept, CometSession.intercept_all):
        with pytest.raises(ConfigurationError, match=r"must have a method intercept\(request, send\); got 5"):
            intercept(5)  # type: ignore[arg-type] # that is the point
