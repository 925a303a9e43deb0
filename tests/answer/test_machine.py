"""Each transition of the table of states with real bytes; and what only the whole machine can tell."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from answer import wire_streams
from conformance import GROUPS, load
from support.wire_reading import CONTEXT, Wire, read_wire

from cometstream.answer.body import Backlog
from cometstream.answer.budget import Budget
from cometstream.answer.events import ContentDeltaEvent, EventFold
from cometstream.answer.machine import Answer
from cometstream.answer.sse import Comment
from cometstream.answer.states import HAPPENINGS, OUTCOMES, TABLE, Happening, State
from cometstream.errors import APITimeoutError, ProtocolError, StreamServerError, StreamUnterminatedError
from cometstream.policy import Clocks
from cometstream.views.chunks import ChatCompletionChunk

DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"no","code":429}}\n\n'
BAD = b"data: nonsense\n\n"
CUT = ConnectionResetError("reset by peer")


def event(text: str = "", finish: str | None = None, index: int = 0) -> bytes:
    delta = {"content": text} if text else {}
    return b"data: " + orjson.dumps({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}) + b"\n\n"


def usage(total: int, pad: str = "") -> bytes:
    return b"data: " + orjson.dumps({"choices": [], "usage": {"total_tokens": total}, "obfuscation": pad}) + b"\n\n"


TEXT = event("a")
STOP = event(finish="stop")

# Bytes that bring an answer to each state, where two choices were asked for, and where one was.
PREFIXES: dict[State, bytes] = {
    "waiting": event(finish="stop", index=0),
    "flowing": TEXT + STOP,
    "finished": STOP + event(finish="stop", index=1),
    "reopened": TEXT + STOP + TEXT,
    "refinished": TEXT + STOP + TEXT + STOP + event(finish="stop", index=1),
    "failed": TEXT + ERROR,
}


def answer_of(*, now: float = 0.0, clocks: Clocks | None = None, **options: Any) -> Answer:
    answer = Answer(CONTEXT, Budget(clocks or Clocks()), **options)
    answer.budget.wait_begins(now)
    return answer


def give(answer: Answer, *pieces: bytes, now: float = 0.0) -> list[Any]:
    items = []
    for piece in pieces:
        answer.receive(piece, now)
        while (item := answer.next()) is not None:
            items.append(item)
    return items


def happen(answer: Answer, happening: Happening, state: State) -> None:
    """Let something happen by real bytes, an end, a clock or a close."""
    third = 2 if state in ("finished", "refinished", "reopened") else 1
    suffixes: dict[str, bytes] = {
        "content": event("b", index=third),
        "finish": event(finish="stop", index=1) + (event(finish="stop") if state in ("flowing", "reopened") else b""),
        "goes_on": event(finish="stop", index=1) + event("b", index=1) if state == "reopened" else event("b"),
        "done": DONE,
        "bad_frame": BAD,
        "error_frame": ERROR,
    }
    if happening in suffixes:
        give(answer, suffixes[happening])
    elif happening == "close":
        answer.close()
    elif happening == "clock":
        answer.budget.wait_begins(0.0)
        give(answer, b"", now=1000.0)
    else:
        answer.ended(CUT if happening == "cut" else None, 0.0)
        give(answer, b"")


def test_no_state_is_forgotten() -> None:
    assert set(PREFIXES) == set(TABLE)


@pytest.mark.parametrize("state", TABLE)
def test_bytes_bring_an_answer_to_each_state(state: State) -> None:
    answer = answer_of(choices=2)
    give(answer, PREFIXES[state])
    assert answer.state == state
    assert answer.outcome is None
    assert not answer.over


@pytest.mark.parametrize(("state", "happening"), [(state, happening) for state in TABLE for happening in TABLE[state]])
def test_each_transition_of_the_table_is_what_happens(
    state: State, happening: Happening, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[tuple[State, Happening]] = []
    happens = Answer._happens

    def recorded(self: Answer, name: Happening, failure: Any = None) -> None:
        happened.append((self.state, name))
        happens(self, name, failure)

    monkeypatch.setattr(Answer, "_happens", recorded)
    answer = answer_of(choices=2)
    give(answer, PREFIXES[state])
    happen(answer, happening, state)
    assert (state, happening) in happened
    if TABLE[state][happening] in OUTCOMES:
        assert answer.outcome == answer.state == TABLE[state][happening]
        assert answer.over
        assert (answer.failure is None) == (answer.outcome in ("complete", "cancelled"))


@pytest.mark.parametrize(
    ("state", "happening"), [(state, name) for state in TABLE for name in HAPPENINGS if name not in TABLE[state]]
)
def test_a_transition_that_is_not_in_the_table_raises(state: State, happening: Happening) -> None:
    answer = answer_of(choices=2)
    give(answer, PREFIXES[state])
    with pytest.raises(KeyError):
        answer._happens(happening)


# -- endings ---------------------------------------------------------------------------------------------------------------


def both(*pieces: bytes, **options: Any) -> Wire:
    """Read pieces as one write, as several and without the fast lane: it is the same."""
    whole = read_wire([b"".join(pieces)], **options)
    assert wire_streams.seen(read_wire(pieces, **options)) == wire_streams.seen(whole)
    assert wire_streams.seen(read_wire(pieces, fast=False, **options)) == wire_streams.seen(whole)
    return whole


TOKENS = [event(f"t{number}") for number in range(20)]


@pytest.mark.parametrize("before", [[TEXT], TOKENS])
def test_content_after_a_finish_reopens_the_answer(before: list[bytes]) -> None:
    wire = both(*before, STOP, TEXT, DONE)
    assert wire.outcome == "unterminated"
    assert isinstance(wire.error, StreamUnterminatedError)
    assert wire.normalizations == {"content_after_finish": 1}


@pytest.mark.parametrize(
    ("end", "was_cut", "outcome"),
    [(DONE, False, "complete"), (DONE, True, "complete"), (b"", False, "complete"), (b"", True, "truncated")],
)
def test_who_went_on_is_believed_only_with_done_or_a_clean_end(end: bytes, was_cut: bool, outcome: str) -> None:
    assert both(TEXT, STOP, TEXT, STOP, end, was_cut=was_cut).outcome == outcome
    assert both(TEXT, STOP, end, was_cut=was_cut).outcome == "complete"


def test_each_choice_that_was_asked_for_must_finish() -> None:
    assert both(TEXT, STOP, DONE).outcome == "complete"
    wire = both(TEXT, STOP, DONE, choices=2)
    assert wire.outcome == "unterminated"
    assert "after 1 of the 2 choices" in wire.message
    assert both(TEXT, STOP, event("b", "stop", 1), DONE, choices=2).outcome == "complete"


@pytest.mark.parametrize("before", [[TEXT], TOKENS])
def test_a_finish_reason_of_error_is_an_end_whatever_follows(before: list[bytes]) -> None:
    wire = both(*before, event(finish="error"), event(" world"), DONE)
    assert wire.outcome == "error"
    assert isinstance(wire.error, StreamServerError)
    assert not (wire.completion.content or "").endswith("world")


def test_an_event_that_is_named_error_is_one_though_its_data_repeats_the_tokens_before() -> None:
    assert both(*TOKENS, b"event: error\n" + event("t"), DONE).outcome == "error"


def test_a_line_over_the_cap_is_refused_however_it_came() -> None:
    wire = both(*TOKENS, event("t" * 200), DONE, max_event_size=200)
    assert wire.outcome == "error"
    assert isinstance(wire.error, ProtocolError)


# -- behind an error frame ---------------------------------------------------------------------------------------------------


def test_the_usage_behind_an_error_frame_counts_and_nothing_else_does() -> None:
    wire = both(TEXT, ERROR, event("b"), usage(3), DONE)
    assert wire.completion.content == "a"
    assert wire.completion.usage is not None
    assert wire.completion.usage.total_tokens == 3
    assert wire.outcome == "error"


def test_what_follows_an_error_frame_has_a_quarter_of_a_second() -> None:
    answer = answer_of()
    give(answer, TEXT + ERROR, now=10.0)
    assert answer.budget.wait_begins(10.0) == 10.25
    give(answer, usage(3), now=10.2)
    assert answer.outcome is None
    answer.budget.wait_begins(10.2)
    # A large event that is not whole yet gains no time.
    give(answer, b"data: " + b" " * 100_000, now=10.25)
    give(answer, b"", now=10.26)
    assert answer.outcome == "error"
    assert isinstance(answer.failure, StreamServerError)


def test_behind_an_error_frame_64_kib_are_searched() -> None:
    near = both(TEXT, ERROR, *[usage(1, "x" * 1000)] * 60, usage(3), DONE)
    far = both(TEXT, ERROR, *[usage(1, "x" * 1000)] * 70, usage(3), DONE)
    for wire, total in ((near, 3), (far, 1)):
        assert wire.completion.usage is not None
        assert wire.completion.usage.total_tokens == total


# -- a JSON document ---------------------------------------------------------------------------------------------------------

DOCUMENT = b'{"id":"1","choices":[{"index":0,"message":{"content":"<think>b</think>a"},"finish_reason":"stop"}]}'


def test_a_json_document_is_one_chunk_and_the_completion_as_it_came() -> None:
    wire = both(DOCUMENT[:30], DOCUMENT[30:])
    assert len(wire.items) == 1
    assert wire.completion.to_dict() == orjson.loads(DOCUMENT)
    assert wire.normalizations == {"json_body": 1}
    assert both(DOCUMENT, streamed=False).normalizations == {}


def test_the_thinking_of_a_json_document_is_split_too() -> None:
    wire = both(DOCUMENT, split_think=True)
    assert wire.completion.content == "a"
    assert wire.completion.choices[0].message.reasoning == "b"


def test_a_chunk_as_a_json_document_is_that_chunk() -> None:
    assert both(event("Hello", "stop")[6:-2]).completion.content == "Hello"


@pytest.mark.parametrize(("body", "outcome"), [(DOCUMENT, "complete"), (DOCUMENT[:-1], "error")])
def test_a_clock_takes_nothing_from_a_json_document_that_is_whole(body: bytes, outcome: str) -> None:
    answer = answer_of()
    give(answer, body)
    answer.budget.wait_begins(0.0)
    give(answer, b"", now=1000.0)
    assert answer.outcome == outcome
    assert isinstance(answer.failure, APITimeoutError) == (outcome == "error")


def test_a_document_that_is_neither_completion_nor_error_is_told_when_a_clock_runs_out() -> None:
    answer = answer_of()
    give(answer, b'{"x":1}')
    answer.budget.wait_begins(0.0)
    give(answer, b"", now=1000.0)
    assert isinstance(answer.failure, ProtocolError)


# -- what the caller does ------------------------------------------------------------------------------------------------------


def test_giving_up_hands_over_what_was_held() -> None:
    answer = answer_of()
    assert give(answer, event() + DONE) == []
    assert answer.outcome == "unterminated"
    assert answer.over
    answer.give_up()
    assert not answer.over
    assert len(give(answer, b"")) == 1
    assert answer.over
    assert answer.chunks == 1


def test_closing_drops_what_was_not_handed_over_and_never_changes_an_outcome() -> None:
    answer = answer_of()
    answer.receive(TEXT + TEXT, 0.0)
    assert answer.next() is not None
    answer.close()
    assert answer.next() is None
    assert answer.completion.content == "a"
    answer.ended(None, 0.0)
    answer.close()
    assert answer.outcome == "cancelled"


def test_bytes_of_two_reads_may_wait() -> None:
    answer = answer_of()
    answer.receive(TEXT, 0.0)
    answer.receive(TEXT + b": ping\n\n", 0.0)
    answer.receive(STOP, 0.0)
    assert [isinstance(item, Comment) for item in give(answer, b"")] == [False, False, True, False]
    assert answer.completion.content == "aa"


def test_comments_are_passed_over_where_nobody_wants_them() -> None:
    answer = answer_of()
    answer.receive(b": ping\n\n" + TEXT, 0.0)
    answer.skim()
    assert (answer.chunks, answer.completion.content) == (1, "a")


@pytest.mark.parametrize("end", [DONE, BAD, ERROR, b"", event(finish="error")])
def test_text_that_was_kept_back_as_a_tag_is_handed_over_before_any_end(end: bytes) -> None:
    wire = both(event("<think>abc</th"), end, usage(3), DONE, split_think=True)
    assert wire.completion.choices[0].message.reasoning == "abc</th"


def test_kept_back_text_is_handed_over_before_a_clock_too() -> None:
    answer = answer_of(split_think=True)
    give(answer, event("<think>abc</th"))
    answer.budget.wait_begins(0.0)
    give(answer, b"", now=1000.0)
    assert answer.outcome == "error"
    assert answer.completion.choices[0].message.reasoning == "abc</th"


def test_a_large_unfinished_event_is_progress_and_a_trickle_is_not() -> None:
    for size, outcome in ((5000, None), (50, "error")):
        answer = answer_of(clocks=Clocks(content_idle=10.0))
        give(answer, TEXT)
        answer.budget.wait_begins(0.0)
        give(answer, b"data: " + b" " * size, now=11.0)
        give(answer, b"", now=11.0)
        assert answer.outcome == outcome


def test_what_came_while_a_caller_was_slow_is_handed_over_before_a_clock_counts() -> None:
    answer = answer_of(clocks=Clocks(content_idle=3.0))
    answer.budget.wait_begins(0.0)
    assert len(give(answer, TEXT, now=1.0)) == 1
    answer.budget.wait_begins(1.0)
    assert give(answer, b": PING\n\n", now=4.5) != []  # the clock has run out, and the caller takes its time
    assert answer.outcome is None
    answer.budget.wait_begins(20.0)
    assert len(give(answer, TEXT, STOP, now=20.0)) == 2
    assert answer.outcome is None


def test_a_clock_that_has_run_out_is_given_one_more_read_and_no_second() -> None:
    answer = answer_of(clocks=Clocks(content_idle=3.0))
    give(answer, TEXT, now=1.0)
    for began, now in ((1.0, 4.5), (4.5, 4.6)):
        assert answer.outcome is None
        answer.budget.wait_begins(began)
        give(answer, b": PING\n\n", now=now)
    assert answer.outcome == "error"
    assert isinstance(answer.failure, APITimeoutError)


def test_a_clock_that_is_due_counts_after_another_read_however_often_the_machine_is_asked_before() -> None:
    answer = answer_of(clocks=Clocks(content_idle=3.0))
    give(answer, TEXT, now=1.0)
    answer.budget.wait_begins(1.0)
    give(answer, b": PING\n\n", now=4.5)
    assert [answer.next(), answer.next(), answer.outcome] == [None, None, None]
    answer.budget.wait_begins(4.5)
    give(answer, TEXT, now=4.6)
    answer.budget.wait_begins(4.6)
    give(answer, b": PING\n\n", now=7.7)
    assert answer.outcome is None, "content came meanwhile: this is the first read that finds the clock due"


TOGETHER = [event("a"), event("b\n"), event("c"), event("d"), event("e")]


def read_first(*pieces: bytes) -> Answer:
    """An answer that has learnt what its chunks repeat."""
    answer = answer_of()
    give(answer, *TOGETHER, *pieces)
    return answer


def test_chunks_that_came_together_and_are_alike_are_passed_on_as_they_came() -> None:
    answer, burst = read_first(), b"".join(TOGETHER)
    answer.receive(burst, 0.0)
    passed = answer.pass_on(False)
    assert passed is burst
    assert answer.pass_on(False) is None
    assert answer.completion.content == "ab\ncde" * 2
    assert answer.chunks == 10


def test_what_came_before_is_passed_on_before_what_came_together() -> None:
    answer, burst = read_first(), b"".join(TOGETHER)
    answer.receive(event("first") + b": PING\n\n", 0.0)
    answer.receive(burst, 0.0)
    assert answer.pass_on(False) == event("first") + b": PING\n\n" + burst
    assert answer.completion.content == "ab\ncde" + "first" + "ab\ncde"


@pytest.mark.parametrize("how", ["complete", "cancelled"])
def test_nothing_is_passed_on_behind_the_end(how: str) -> None:
    answer = read_first(STOP, DONE) if how == "complete" else read_first()
    answer.close()
    assert answer.outcome == how
    answer.receive(b"".join(TOGETHER), 0.0)
    assert answer.pass_on(False) is None
    assert answer.completion.content == "ab\ncde"


@pytest.mark.parametrize(
    "other",
    [
        b": PING\n\n",
        b"id: 1\n" + TEXT,
        event("x", index=1),
        TEXT.replace(b'"a"', b'""'),
        TEXT.replace(b'"a"', b'"a" '),
        TEXT.replace(b'"a"', b'"a"\n'),
        TEXT.replace(b'"a"', b'"a"\n\n'),
        TEXT.replace(b'"a"', b'"a\\ud800"'),
    ],
)
def test_what_comes_between_others_and_is_not_like_them_keeps_its_place(other: bytes) -> None:
    for at in range(4):
        wires = [*TOGETHER[:at], other, *TOGETHER[at:3]]
        wire_streams.check_other_ways([*TOGETHER, b"".join(wires), STOP, DONE], told="")


def test_alike_chunks_that_came_together_are_told_as_one() -> None:
    answer = read_first()
    fold = EventFold(answer.accumulator, chunks=False)
    answer.receive(b"".join(TOGETHER), 0.0)
    chunk = answer.leap()
    assert isinstance(chunk, ChatCompletionChunk)
    (told,) = fold.add(chunk)
    assert isinstance(told, ContentDeltaEvent)
    assert (told.delta, told.snapshot) == ("ab\ncde", "ab\ncde" * 2)
    assert answer.leap() is None


# -- any cut -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_any_cutting_of_generated_streams_gives_the_same(start: int) -> None:
    for seed in range(start, start + 100):
        wire_streams.check(seed)


@pytest.mark.parametrize("group", GROUPS)
def test_any_cutting_of_the_catalogues_bodies_gives_the_same(group: str) -> None:
    for case in load(group):
        wire_streams.check_case(case)


def test_the_unfinished_events_of_all_answers_together_are_bounded() -> None:
    backlog = Backlog(300_000)
    answers = [Answer(CONTEXT, Budget(Clocks()), backlog=backlog) for _ in range(4)]
    for answer in answers:
        answer.receive(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', 0.0)
        while answer.next() is not None:
            pass
        for _ in range(10):
            answer.receive(b"data: " + b"x" * 10_000, 0.0)
            assert answer.next() is None
    given_up = [answer for answer in answers if answer.over]
    assert 1 <= len(given_up) < 4
    assert isinstance(given_up[0].failure, ProtocolError)
    assert "max_event_size" in str(given_up[0].failure)
    assert backlog.held <= backlog.limit
    for answer in answers:
        answer.close()
    assert backlog.held == 0


def test_what_has_become_whole_is_no_backlog() -> None:
    backlog = Backlog(100_000)
    answer = Answer(CONTEXT, Budget(Clocks()), backlog=backlog)
    for _ in range(50):
        wire = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"a" * 60_000 + b'"}}]}\n\n'
        answer.receive(wire[:50_000], 0.0)
        assert answer.next() is None
        assert backlog.held > 40_000
        answer.receive(wire[50_000:], 0.0)
        assert answer.next() is not None
        assert answer.next() is None
        assert backlog.held == 0
