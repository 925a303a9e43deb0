"""An answer that was cut goes on where the model takes a prefix, and its seam is seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import virtual_clock
from support.browsing import data_of
from support.serving import serving

from cometstream import ConfigurationError, StreamTruncatedError, Timeouts
from cometstream.relay import RelayEnd, continued, relay
from cometstream.relay.seam import Seam, prefix_fields
from cometstream.testing import Reply
from cometstream.testing.replies import chunk

ASKED = [{"role": "user", "content": "Tell me"}]
CLAUDE: dict[str, Any] = {"model": "claude-sonnet-4-6", "messages": ASKED}
CUT = Reply.text("A comet is a small ", "body of ice", finish_reason=None, done=False).cut()
USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


async def told(*replies: Reply, **options: Any) -> tuple[list[Any], Any, Any]:
    async with serving(*replies, retry=None, timeouts=Timeouts(content_idle=5)) as (server, session):
        ends: list[RelayEnd] = []
        body = b"".join(
            [
                piece
                async for piece in relay(continued(session, **{**CLAUDE, **options}), protocol="ui", on_end=ends.append)
            ]
        )
    return data_of(body), ends[0], server


def text_of(parts: list[Any]) -> str:
    return "".join(part["delta"] for part in parts if part != "[DONE]" and "delta" in part)


async def test_a_cut_text_goes_on_and_the_seam_is_marked() -> None:
    parts, end, server = await told(CUT, Reply.text(" and dust.", usage=USAGE))
    assert text_of(parts) == "A comet is a small body of ice and dust."
    assert parts[-1] == "[DONE]"
    assert (end.outcome, end.error) == ("complete", None)
    assert end.completion.content == "A comet is a small body of ice and dust."
    assert end.completion.normalizations["continued"] == 1
    assert end.completion.usage.total_tokens == 13
    assert server.requests[1].json["messages"] == [
        *ASKED,
        {"role": "assistant", "content": "A comet is a small body of ice"},
    ]


@pytest.mark.parametrize("again", ["small body of ice", "A comet is a small body of ice"])
async def test_what_is_said_again_at_the_seam_is_left_out(again: str) -> None:
    parts, end, _ = await told(CUT, Reply.text(*again, " and", " dust."))
    assert text_of(parts) == "A comet is a small body of ice and dust."
    assert end.completion.content == "A comet is a small body of ice and dust."
    assert end.completion.normalizations["overlap_dropped"] == len(again)


async def test_white_space_at_the_seam_is_said_once() -> None:
    half = Reply.text("A comet \n", finish_reason=None, done=False).cut()
    parts, _, server = await told(half, Reply.text("\n is ice."))
    assert text_of(parts) == "A comet \nis ice."
    assert server.requests[1].json["messages"][1]["content"] == "A comet"


async def test_it_goes_on_more_than_once_and_not_for_ever() -> None:
    pieces = [Reply.text(f" part {number}", finish_reason=None, done=False).cut() for number in range(4)]
    parts, end, server = await told(*pieces, continuations=3)
    assert text_of(parts) == " part 0 part 1 part 2 part 3"
    assert parts[-1]["type"] == "error"
    assert (end.outcome, type(end.error), len(server.requests)) == ("truncated", StreamTruncatedError, 4)
    assert end.completion.content == " part 0 part 1 part 2 part 3"


CALL = chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "look", "arguments": "{"}}]})


@pytest.mark.parametrize(
    ("reply", "options"),
    [
        (Reply.sse(chunk({"content": "A"}), CALL).cut(), {}),
        (Reply.sse(chunk({"refusal": "No"})).cut(), {}),
        (Reply.sse(chunk({"reasoning_content": "Hm"})).cut(), {}),
        (CUT, {"model": "gpt-5.4"}),
        (CUT, {"continuations": 0}),
        (Reply.sse(chunk({"content": "A"}), {"error": {"code": 500, "message": "x"}}), {}),
    ],
)
async def test_nothing_else_is_continued(reply: Reply, options: Any) -> None:
    parts, end, server = await told(reply, **options)
    assert parts[-1]["type"] == "error"
    assert len(server.requests) == 1
    assert end.error is not None


async def test_a_rest_that_cannot_be_had_leaves_the_answer_as_it_was_cut() -> None:
    parts, end, server = await told(CUT, Reply.error(500))
    assert text_of(parts) == "A comet is a small body of ice"
    assert parts[-1]["errorText"].startswith("the answer was cut off")
    assert type(end.error) is StreamTruncatedError
    assert end.completion.content == "A comet is a small body of ice"
    assert len(server.requests) == 2


def test_silence_is_a_cut_too_and_a_smooth_relay_asks_once() -> None:
    async def main() -> None:
        silent = Reply.text("A comet is ice", finish_reason=None, done=False).stall()
        async with serving(silent, Reply.text(" and dust.").after(3.0), timeouts=Timeouts(content_idle=5)) as (
            server,
            session,
        ):
            source = continued(session, **CLAUDE)
            body = b"".join([piece async for piece in relay(source, protocol="ui", smooth=4.0)])
        assert text_of(data_of(body)) == "A comet is ice and dust."
        assert len(server.requests) == 2

    virtual_clock.run(main())


async def test_events_of_a_continued_answer_show_the_seam() -> None:
    async with serving(CUT, Reply.text(" and dust."), retry=None) as (_, session):
        async with continued(session, **CLAUDE) as answer:
            events = [event async for event in answer.events()]
    (seam,) = [event for event in events if event.type == "continued"]
    assert (seam.number, type(seam.error)) == (1, StreamTruncatedError)
    assert answer.seams == 1


async def test_options_that_cannot_be_used_are_refused() -> None:
    async with serving() as (_, session):
        for odd in (-1, "2", True, None):
            with pytest.raises(ConfigurationError, match="continuations"):
                continued(session, **{**CLAUDE, "continuations": odd})


def test_models_that_take_a_prefix_are_known_by_their_names() -> None:
    assert prefix_fields("anthropic/claude-sonnet-4-6") == {}
    assert prefix_fields("deepseek-chat") == {"prefix": True}
    assert prefix_fields("Qwen3-Max") == {"partial": True}
    assert prefix_fields("gpt-5.4") is None


@given(st.text(min_size=10, max_size=60), st.integers(10, 60), st.text(max_size=20), st.integers(1, 7))
def test_a_repetition_is_dropped_however_it_is_cut(old: str, overlap: int, new: str, size: int) -> None:
    seam = Seam(old)
    said = old[-min(overlap, len(old)) :] + new
    got = "".join([seam.add(said[at : at + size]) for at in range(0, len(said), size)]) + seam.rest()
    # A text that repeats itself may be taken for a longer or a shorter repetition; nothing but repetitions is dropped.
    assert (old + said).endswith(got)
    assert said == said[: len(said) - len(got)] + got
    assert old.endswith(said[: len(said) - len(got)])


@given(st.text(st.sampled_from("ab"), max_size=30), st.text(st.sampled_from("cd"), max_size=30))
def test_a_new_text_is_left_as_it_is(old: str, new: str) -> None:
    seam = Seam(old)
    assert "".join([seam.add(one) for one in new]) + seam.rest() == new
