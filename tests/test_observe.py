"""What the log says of a call: one line for each thing that happens, with its ids and reason, and without contents."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest
from support import virtual_clock
from support.serving import CHAT, KEY, ask, serving

from cometstream import CometError, CometSession, RetryPolicy, Timeouts
from cometstream.testing import DONE, Reply, chunk

HELLO = Reply.text("Hello").with_headers({"x-request-id": "gw-1"})
CUT = Reply.sse(chunk({"content": "Hi"})).cut()
ONE_RETRY = RetryPolicy(max_retries=1, initial_delay=0.0)
PROMPT = CHAT["messages"][0]["content"]


@pytest.fixture(autouse=True)
def longest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)


def lines(log: pytest.LogCaptureFixture, level: int = logging.DEBUG) -> list[str]:
    """Return what the library's own logger said at one level or above, without the ids that are drawn."""
    said = [record for record in log.records if record.name == "cometstream" and record.levelno >= level]
    return [f"{record.levelname} {record.getMessage()}" for record in said]


def play(main: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await main()

    virtual_clock.run(run())


def asked(*replies: Reply, **call: object) -> None:
    """Ask once on a clock that jumps, under a client request id of our own."""

    async def main() -> None:
        async with serving(*replies, headers={"X-Client-Request-Id": "mine-1"}) as (_, session):
            try:
                await ask(session, **call)
            except CometError:
                pass

    play(main)


def test_a_retry_is_one_line_with_ids_attempt_reason_and_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cometstream")
    refused = Reply.error(429, "you asked: " + PROMPT, retry_after=2).with_headers({"x-request-id": "gw-0"})
    asked(refused, Reply.error(503), HELLO)
    first, second = lines(caplog)
    assert first.startswith("INFO call mine-1 (gateway gw-0): attempt 1 failed after 0.")
    assert ": RateLimitError 429" in first
    assert first.endswith("; attempt 2 follows in 2.500 s")
    assert "attempt 2 failed after" in second
    assert second.endswith("InternalServerError 503; attempt 3 follows in 1.000 s")


def test_each_step_of_a_call_that_ends_well_is_told_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cometstream")
    asked(HELLO)
    begins, head, content, end = lines(caplog)
    assert begins == f"DEBUG call mine-1 begins: model {CHAT['model']}"
    assert head.startswith("DEBUG call mine-1 (gateway gw-1): attempt 1: status 200 after 0.")
    assert content.startswith("DEBUG call mine-1 (gateway gw-1): first content after 0.")
    assert end.startswith("DEBUG call mine-1 (gateway gw-1) ended: complete after 0.")
    assert "; attempts 1; model " in end
    assert "; finish_reason stop; " in end


def test_a_fallback_for_an_unknown_model_asks_somebody_to_act(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cometstream")
    asked(Reply.error(404, code="model_not_found"), HELLO, fallback_models=["other-1"])
    (line,) = lines(caplog)
    assert line.startswith("WARNING call mine-1 (gateway ")
    assert line.endswith("NotFoundError 404 model_not_found; attempt 2 asks the next model, other-1")


def test_a_request_that_is_sent_without_the_librarys_addition_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cometstream")
    asked(Reply.error(400, "stream_options is not known"), HELLO)
    (line,) = lines(caplog)
    assert line.endswith("BadRequestError 400; attempt 2 is sent without stream_options")


@pytest.mark.parametrize(
    ("reply", "level", "reason"),
    [
        (CUT, "INFO", "ended: truncated after 0."),
        (Reply.sse(chunk({"content": "Hi"}), DONE), "INFO", "; StreamUnterminatedError; "),
        (Reply.error(400, "no"), "INFO", "; BadRequestError 400; "),
        (Reply.error(401, "no"), "WARNING", "; AuthenticationError 401; "),
        (Reply.error(402, "no"), "WARNING", "; APIStatusError 402; "),
        (Reply.error(403, "no"), "WARNING", "; PermissionDeniedError 403; "),
        (Reply.error(404, "no", code="model_not_found"), "WARNING", "; NotFoundError 404 model_not_found; "),
        (Reply.error(500, "no"), "INFO", "; InternalServerError 500; "),
    ],
)
def test_an_ending_that_is_not_complete_says_why(
    reply: Reply, level: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cometstream")
    asked(reply, retry=None)
    (line,) = lines(caplog)
    assert line.startswith(f"{level} call mine-1 ")
    assert " ended: " in line
    assert reason in line


def test_a_clock_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cometstream")
    asked(Reply.raw().stall(), HELLO, timeouts=Timeouts(first_content=3), retry=ONE_RETRY)
    (line,) = lines(caplog)
    assert "attempt 1 failed after 3.0" in line
    assert "APITimeoutError (timeouts.first_content); attempt 2 follows" in line


def test_what_was_normalised_is_told_with_the_ending(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cometstream")
    whole = {"id": "a", "model": "m", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    asked(Reply.json(whole))
    assert "; normalized json_body=1" in lines(caplog)[-1]


def test_leaving_early_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cometstream")

    async def main() -> None:
        async with serving(HELLO) as (_, session), session.stream(**CHAT) as stream:
            await stream.__anext__()
            await stream.aclose()

    play(main)
    ends = [line for line in lines(caplog) if " ended: " in line]
    assert len(ends) == 1
    assert "ended: cancelled" in ends[0]


def test_the_retries_of_a_list_of_models_are_told_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cometstream")

    async def main() -> None:
        async with serving(Reply.error(503), Reply.json({"data": []})) as (_, session):
            await session.models()

    play(main)
    assert len(lines(caplog)) == 1


def test_neither_prompt_nor_answer_nor_a_message_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    odd = Reply.error(503, "secret words", code=f"{PROMPT}\nand a line", type=PROMPT).with_headers(
        {"x-request-id": PROMPT}
    )
    foreign = Reply.error(503, "secret words", code="no-w\u00f6rd")
    asked(odd, foreign, Reply.sse(chunk({"content": "an answer"}, finish_reason="because of\nthis")).cut())
    said = "".join(lines(caplog))
    assert "(not a word)" in said
    for text in (PROMPT, "secret words", "no-w", "an answer", "because", "\n"):
        assert text not in said


def test_an_answer_that_names_the_key_as_its_model_is_logged_without_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked(Reply.sse({**chunk({"content": "Hi"}, finish_reason=KEY), "model": KEY}, DONE))
    said = "".join(lines(caplog))
    assert "ended: " in said
    assert KEY not in said


def test_contents_are_logged_only_where_their_own_logger_is_set(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked(Reply.error(503), Reply.text(f"an answer with {KEY}"), retry=ONE_RETRY)
    assert "cometstream.content" not in {record.name for record in caplog.records}
    caplog.set_level(logging.DEBUG, "cometstream.content")
    asked(Reply.error(503), Reply.text(f"an answer with {KEY}"), retry=ONE_RETRY)
    sent, again, received = [record.getMessage() for record in caplog.records if record.name == "cometstream.content"]
    assert sent.startswith('call mine-1 sends {"')
    assert PROMPT in sent
    assert PROMPT in again
    assert " received {" in received
    assert "an answer with " in received
    assert KEY not in "".join(record.getMessage() + repr(record.args) for record in caplog.records)


async def test_nothing_is_written_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("cometstream")
    monkeypatch.setattr(logger, "level", logging.ERROR)
    logger.manager._clear_cache()  # type: ignore[attr-defined] # as setLevel does

    def fail(*args: object) -> None:
        raise AssertionError("a line was made")

    monkeypatch.setattr(logger, "_log", fail)
    monkeypatch.setattr("cometstream.observe.Call._ending", fail)
    async with serving(Reply.error(503), HELLO, retry=ONE_RETRY) as (_, session):
        assert isinstance(session, CometSession)
        await ask(session)
    monkeypatch.undo()
    logger.manager._clear_cache()  # type: ignore[attr-defined]
