from __future__ import annotations

import copy
import pickle
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.answer.accumulate import Accumulator, ChoiceState
from cometstream.answer.events import (
    ChunkEvent,
    ContentDeltaEvent,
    ContentDoneEvent,
    EventFold,
    FunctionToolCallArgumentsDeltaEvent,
    FunctionToolCallArgumentsDoneEvent,
    KeepAliveEvent,
    LogprobsContentDeltaEvent,
    RefusalDeltaEvent,
    StreamEvent,
)
from cometstream.answer.fast_lane import FastLane
from cometstream.answer.partial_json import PartialJSON
from cometstream.views.chunks import ChatCompletionChunk


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **choice: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish, **choice}]})


def call(*, index: int | None = 0, arguments: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {key: fields.pop(key) for key in ("name",) if key in fields}
    if arguments is not None:
        function["arguments"] = arguments
    return {**({} if index is None else {"index": index}), **fields, "function": function}


def calls(*fragments: dict[str, Any]) -> ChatCompletionChunk:
    return chunk({"tool_calls": list(fragments)})


def fold(*chunks: ChatCompletionChunk) -> list[StreamEvent]:
    accumulator = Accumulator()
    events = EventFold(accumulator)
    out: list[StreamEvent] = []
    for one in chunks:
        accumulator.add(one)
        out += events.add(one)
    return out


def values(event: StreamEvent) -> tuple[Any, ...]:
    return (event.type, *(raw(getattr(event, name)) for name in event.__match_args__))


def raw(value: Any) -> Any:
    """Tokens as the wire has them."""
    return [token.raw for token in value] if isinstance(value, list) else value


def told(*chunks: ChatCompletionChunk) -> list[tuple[Any, ...]]:
    """What the events say besides the chunks, as (type, fields ...)."""
    return [values(event) for event in fold(*chunks) if not isinstance(event, ChunkEvent)]


CALL = "tool_calls.function.arguments"


def test_every_chunk_comes_first_with_the_completion_so_far() -> None:
    accumulator = Accumulator()
    events = EventFold(accumulator)
    for text, so_far in (("a", "a"), ("b", "ab")):
        one = chunk({"content": text})
        accumulator.add(one)
        first, *_ = events.add(one)
        assert isinstance(first, ChunkEvent)
        assert first.type == "chunk"
        assert first.chunk is one
        assert first.snapshot.content == so_far


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": ["?", None]},
        {"choices": [], "usage": {"total_tokens": 3}},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}}]},
        {"choices": [{"index": 0, "delta": {"function_call": {"name": "f"}, "audio": {"data": "QQ=="}}}]},
    ],
)
def test_a_chunk_without_anything_new_gives_only_itself(raw: dict[str, Any]) -> None:
    one = ChatCompletionChunk(raw)
    assert [event.type for event in fold(one)] == ["chunk"]


def test_text_comes_as_deltas_and_is_done_at_the_finish() -> None:
    assert told(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk(finish="stop"),
        ChatCompletionChunk({"choices": [], "usage": {"total_tokens": 3}}),
    ) == [
        ("content.delta", "Hel", "Hel", 0),
        ("content.delta", "lo", "Hello", 0),
        ("content.done", "Hello", 0),
    ]


def test_text_beside_the_finish_comes_before_its_done() -> None:
    assert told(chunk({"content": "a"}, "stop")) == [("content.delta", "a", "a", 0), ("content.done", "a", 0)]


def test_a_refusal_has_its_own_events() -> None:
    assert told(chunk({"refusal": "I ca"}), chunk({"refusal": "n't"}, "stop")) == [
        ("refusal.delta", "I ca", "I ca", 0),
        ("refusal.delta", "n't", "I can't", 0),
        ("refusal.done", "I can't", 0),
    ]


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        ({"content": "4"}, "content.delta"),
        ({"refusal": "no"}, "refusal.delta"),
        ({"tool_calls": [call(name="f")]}, f"{CALL}.delta"),
    ],
)
def test_reasoning_is_done_when_something_else_begins(answer: dict[str, Any], first: str) -> None:
    out = told(
        chunk({"reasoning_content": "2", "content": ""}), chunk({"reasoning": "+2", "content": ""}), chunk(answer)
    )
    assert out[:3] == [
        ("reasoning.delta", "2", "2", 0),
        ("reasoning.delta", "+2", "2+2", 0),
        ("reasoning.done", "2+2", 0),
    ]
    assert [one[0] for one in out[3:]] == [first]


def test_reasoning_that_stays_alone_is_done_at_the_finish() -> None:
    assert told(chunk({"reasoning": "hm"}), chunk(finish="length")) == [
        ("reasoning.delta", "hm", "hm", 0),
        ("reasoning.done", "hm", 0),
    ]


def test_reasoning_between_texts_is_done_again_with_all_of_it() -> None:
    assert told(
        chunk({"reasoning": "x", "content": "a"}), chunk({"reasoning": "y"}), chunk({"content": "b"}, "stop")
    ) == [
        ("reasoning.delta", "x", "x", 0),
        ("reasoning.done", "x", 0),
        ("content.delta", "a", "a", 0),
        ("reasoning.delta", "y", "xy", 0),
        ("reasoning.done", "xy", 0),
        ("content.delta", "b", "ab", 0),
        ("content.done", "ab", 0),
    ]


def test_thinking_parts_are_reasoning_and_text_parts_text() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]
    assert told(chunk({"content": parts})) == [
        ("reasoning.delta", "t", "t", 0),
        ("reasoning.done", "t", 0),
        ("content.delta", "a", "a", 0),
    ]


def test_text_is_done_once_when_a_call_begins() -> None:
    out = told(
        chunk({"content": "Let me see"}),
        calls(call(id="c0", name="look", arguments="")),
        calls(call(arguments='{"a"')),
        calls(call(arguments=":1}")),
        chunk(finish="tool_calls"),
    )
    assert out == [
        ("content.delta", "Let me see", "Let me see", 0),
        ("content.done", "Let me see", 0),
        (f"{CALL}.delta", "look", 0, "c0", "", "", 0),
        (f"{CALL}.delta", "look", 0, "c0", '{"a"', '{"a"', 0),
        (f"{CALL}.delta", "look", 0, "c0", '{"a":1}', ":1}", 0),
        (f"{CALL}.done", "look", 0, "c0", '{"a":1}', 0),
    ]


def test_a_call_is_done_when_the_next_begins() -> None:
    assert told(
        calls(call(index=0, id="a", name="f", arguments="{")),
        calls(call(index=0, arguments="}"), call(index=1, id="b", name="g", arguments="[")),
        calls(call(index=1, arguments="]")),
        chunk(finish="stop"),
    ) == [
        (f"{CALL}.delta", "f", 0, "a", "{", "{", 0),
        (f"{CALL}.delta", "f", 0, "a", "{}", "}", 0),
        (f"{CALL}.done", "f", 0, "a", "{}", 0),
        (f"{CALL}.delta", "g", 1, "b", "[", "[", 0),
        (f"{CALL}.delta", "g", 1, "b", "[]", "]", 0),
        (f"{CALL}.done", "g", 1, "b", "[]", 0),
    ]


@pytest.mark.parametrize("indexes", [(0, 0), (None, None), (1, 2), (7, 3)])
def test_the_index_is_the_calls_place_whatever_the_wire_says(indexes: tuple[int | None, int | None]) -> None:
    first, second = indexes
    out = told(
        calls(call(index=first, id="a", name="f", arguments="{}")),
        calls(call(index=second, id="b", name="f", arguments="{}")),
        chunk(finish="stop"),
    )
    assert [(one[0], one[2], one[3]) for one in out] == [
        (f"{CALL}.delta", 0, "a"),
        (f"{CALL}.done", 0, "a"),
        (f"{CALL}.delta", 1, "b"),
        (f"{CALL}.done", 1, "b"),
    ]


def test_calls_whose_pieces_alternate_are_done_again_with_all_of_it() -> None:
    out = told(
        calls(call(index=0, id="a", name="f", arguments="1")),
        calls(call(index=1, id="b", name="g", arguments="3")),
        calls(call(index=0, arguments="2")),
        chunk(finish="tool_calls"),
    )
    assert [one for one in out if one[0] == f"{CALL}.done"] == [
        (f"{CALL}.done", "f", 0, "a", "1", 0),
        (f"{CALL}.done", "g", 1, "b", "3", 0),
        (f"{CALL}.done", "f", 0, "a", "12", 0),
    ]


def test_a_call_without_arguments_begins_and_is_done() -> None:
    assert told(calls(call(name="now")), calls(call(id="late", arguments="")), chunk(finish="stop")) == [
        (f"{CALL}.delta", "now", 0, None, "", "", 0),
        (f"{CALL}.done", "now", 0, "late", "", 0),
    ]


def test_a_name_in_pieces_is_told_as_far_as_it_came() -> None:
    assert told(
        calls(call(id="a", name="get_", arguments=" ")),
        calls(call(id="a", name="time", arguments=" ")),
        chunk(finish="stop"),
    ) == [
        (f"{CALL}.delta", "get_", 0, "a", " ", " ", 0),
        (f"{CALL}.delta", "get_time", 0, "a", "  ", " ", 0),
        (f"{CALL}.done", "get_time", 0, "a", "  ", 0),
    ]


def test_a_custom_tools_input_comes_as_arguments() -> None:
    fragment = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    assert told(chunk({"tool_calls": [fragment]})) == [(f"{CALL}.delta", "sh", 0, "c", "ls", "ls", 0)]


def test_log_probabilities_come_with_their_texts() -> None:
    a, b, c = ({"token": token, "logprob": -1.0} for token in "abc")
    assert told(
        chunk({"content": "a"}, logprobs={"content": [a], "refusal": None, "other": [a]}),
        chunk({"content": "b"}, logprobs={"content": [b]}),
        chunk({"refusal": "c"}, logprobs={"refusal": [c], "content": []}),
        chunk(finish="stop"),
    ) == [
        ("content.delta", "a", "a", 0),
        ("logprobs.content.delta", [a], [a], 0),
        ("content.delta", "b", "ab", 0),
        ("logprobs.content.delta", [b], [a, b], 0),
        ("refusal.delta", "c", "c", 0),
        ("logprobs.refusal.delta", [c], [c], 0),
        ("content.done", "ab", 0),
        ("refusal.done", "c", 0),
        ("logprobs.content.done", [a, b], 0),
        ("logprobs.refusal.done", [c], 0),
    ]


def test_each_choice_has_its_own_events() -> None:
    both = ChatCompletionChunk(
        {
            "choices": [
                {"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"},
                {"delta": {"content": "b", "tool_calls": [call(name="f")]}},
            ]
        }
    )
    assert told(chunk({"content": "a"}), both) == [
        ("content.delta", "a", "a", 0),
        ("content.delta", "x", "x", 1),
        ("content.done", "x", 1),
        ("content.delta", "b", "ab", 0),
        ("content.done", "ab", 0),
        (f"{CALL}.delta", "f", 0, None, "", "", 0),
    ]


@pytest.mark.parametrize(
    ("index", "read"),
    [(1, 1), ("1", 1), (1.0, 1), (-1.0, -1), (True, 0), (None, 0), ("one", 0), ([1], 0), (1e40, 0), (float("inf"), 0)],
)
def test_a_choices_index_is_read_alike_by_view_accumulator_and_events(index: object, read: int) -> None:
    one = ChatCompletionChunk({"choices": [{"index": index, "delta": {"content": "x"}}]})
    accumulator = Accumulator()
    events = EventFold(accumulator)
    accumulator.add(one)
    assert [values(event) for event in events.add(one)[1:]] == [("content.delta", "x", "x", read)]
    assert one.choices[0].index == read
    assert accumulator.completion.choices[0].index == read
    accumulator.completion.to_json()


def test_a_choice_named_twice_in_a_chunk_is_told_once() -> None:
    twice = ChatCompletionChunk({"choices": [{"delta": {"content": "a"}}, {"index": True, "delta": {"content": "b"}}]})
    assert told(twice) == [("content.delta", "ab", "ab", 0)]


def test_content_after_the_finish_gives_deltas_and_a_done_with_all_of_it() -> None:
    out = told(
        chunk({"content": "a"}, "stop"),
        chunk(finish="stop"),
        chunk({"content": "b"}),
        calls(call(name="f")),
        chunk(finish="stop"),
    )
    assert out == [
        ("content.delta", "a", "a", 0),
        ("content.done", "a", 0),
        ("content.delta", "b", "ab", 0),
        ("content.done", "ab", 0),
        (f"{CALL}.delta", "f", 0, None, "", "", 0),
        (f"{CALL}.done", "f", 0, None, "", 0),
    ]


def test_a_fold_made_late_begins_where_another_reader_stopped() -> None:
    accumulator = Accumulator()
    accumulator.add(chunk({"content": "a"}))
    late = EventFold(accumulator)
    last = chunk({"content": "b"})
    accumulator.add(last)
    assert [values(event) for event in late.add(last)[1:]] == [("content.delta", "b", "ab", 0)]


def test_what_an_event_says_does_not_change_when_more_comes() -> None:
    one, two = {"token": "1"}, {"token": "2"}
    events = fold(
        chunk({"content": "a"}, logprobs={"content": [one]}),
        calls(call(name="f", arguments="{")),
        chunk({"content": "b", "tool_calls": [call(arguments="}")]}, "stop", logprobs={"content": [two]}),
    )
    said = [values(event) for event in events if not isinstance(event, ChunkEvent)]
    assert ("content.delta", "a", "a", 0) in said
    assert ("logprobs.content.delta", [one], [one], 0) in said
    assert ("logprobs.content.done", [one], 0) in said
    assert (f"{CALL}.delta", "f", 0, None, "{", "{", 0) in said


class CountingList(list[Any]):
    """Counts the items that its readers take out."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        self.taken += len(got) if isinstance(key, slice) else 1
        return got

    def __iter__(self) -> Any:
        self.taken += len(self)
        return super().__iter__()


def test_the_cost_of_a_chunk_does_not_grow_with_the_answer() -> None:
    accumulator = Accumulator()
    state = accumulator.choices[0] = ChoiceState(0)
    text, arguments, reasoning = CountingList(), CountingList(), CountingList()
    state.content, state.reasoning = text, reasoning
    events = EventFold(accumulator)
    begin = calls(call(id="a", name="f", arguments=""))
    accumulator.add(begin)
    state.tool_calls.calls[0].arguments = arguments
    kept = events.add(begin)
    for _ in range(1000):
        one = chunk({"content": "x", "reasoning": "y", "tool_calls": [call(arguments="z")]}, "stop")
        accumulator.add(one)
        kept += events.add(one)
    assert max(text.taken, reasoning.taken, arguments.taken) <= 2000
    # Three deltas and three dones a chunk: the gateway repeats its finish_reason.
    assert len(kept) == 2 + 1000 * 7
    last = kept[-1]
    assert isinstance(last, FunctionToolCallArgumentsDoneEvent)
    assert last.arguments == "z" * 1000


def test_the_cost_of_a_chunk_does_not_grow_with_the_calls_before_it() -> None:
    accumulator = Accumulator()
    state = accumulator.choices[0] = ChoiceState(0)
    counted = state.tool_calls.calls = CountingList()
    events = EventFold(accumulator)
    kept = []
    for place in range(500):
        for piece in ("{", "}"):
            one = calls(call(index=place, id=str(place), name="f", arguments=piece))
            accumulator.add(one)
            kept += [event for event in events.add(one) if not isinstance(event, ChunkEvent)]
    assert counted.taken <= 1000
    assert len(kept) == 500 * 3 - 1
    assert len(state.tool_calls.visits) == 500


def test_calls_that_come_again_while_another_reader_reads_are_told_to_both() -> None:
    accumulator = Accumulator()
    both = [EventFold(accumulator), EventFold(accumulator)]
    chunks = [
        calls(call(index=0, id="a", name="f", arguments="1"), call(index=1, id="b", name="g", arguments="2")),
        calls(call(index=0, arguments="3"), call(index=1, arguments="4"), call(index=0, arguments="5")),
    ]
    told_to = []
    for one in chunks:
        accumulator.add(one)
        told_to.append([[values(event) for event in events.add(one)[1:]] for events in both])
    assert told_to[0][0] == told_to[0][1]
    assert told_to[1][0] == told_to[1][1]
    assert [one[4:6] for one in told_to[1][0]] == [("135", "35"), ("24", "4")]


def test_arguments_that_the_fast_lane_reads_are_told_too() -> None:
    accumulator = Accumulator()
    lane, events = FastLane(accumulator, patience=1), EventFold(accumulator)
    said = []
    for number in range(40):
        data = b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"%d,"}}]}}]}' % number
        one = lane.read(data)
        if one is None:
            one = ChatCompletionChunk(orjson.loads(data))
            lane.add(data, one.raw)
        for event in events.add(one)[1:]:
            assert isinstance(event, FunctionToolCallArgumentsDeltaEvent)
            said.append(event.arguments_delta)
    assert said == [f"{number}," for number in range(40)]


def test_events_are_equal_by_what_they_say() -> None:
    one, other = fold(chunk({"content": "a"}), chunk({"content": "a"})), fold(chunk({"content": "a"}))
    assert one[:2] == other
    assert one[1] != one[3], "the same delta, another snapshot"
    assert one[1] != "a"
    assert told(chunk({"content": "a"})) != told(chunk({"refusal": "a"}))
    assert fold(chunk({"content": "a"}))[1] != fold(chunk({"refusal": "a"}))[1]
    assert KeepAliveEvent("PING") == KeepAliveEvent("PING") != KeepAliveEvent("")


def test_events_are_small_and_read_only() -> None:
    events = fold(
        chunk({"content": "a", "reasoning": "b"}, logprobs={"content": [1], "refusal": [2]}),
        calls(call(name="f", arguments="{}")),
        chunk({"refusal": "c"}, "stop"),
    )
    events.append(KeepAliveEvent("PING"))
    assert len({type(event) for event in events}) == 14, "every kind"
    for event in events:
        assert not hasattr(event, "__dict__")
        for name in ("type", *event.__match_args__, "unknown"):
            # Python 3.10's frozen dataclasses with slots raise TypeError in a subclass.
            with pytest.raises((AttributeError, TypeError)):
                setattr(event, name, "changed")
        with pytest.raises(TypeError):
            hash(event)


def test_events_print_what_they_say_and_cut_long_texts() -> None:
    events = fold(chunk({"content": "hi"}), chunk({"content": "x" * 5000}, "stop"))
    assert repr(events[1]) == "ContentDeltaEvent(delta='hi', snapshot='hi', choice_index=0)"
    assert repr(events[-1]).startswith("ContentDoneEvent(content='hixx")
    assert max(len(repr(event)) for event in events) < 500
    assert repr(KeepAliveEvent("PING")) == "KeepAliveEvent(comment='PING')"
    assert repr(events[0]).startswith("ChunkEvent(chunk=ChatCompletionChunk(")


def test_events_can_be_copied_and_pickled() -> None:
    for event in fold(chunk({"content": "a"}), calls(call(name="f", arguments="{}"))):
        assert pickle.loads(pickle.dumps(event)) == event
        assert copy.deepcopy(event) == event


def test_events_match_by_their_fields() -> None:
    content, tool = fold(chunk({"content": "a"}))[1], fold(calls(call(name="f", arguments="{}")))[1]
    match content:
        case ContentDeltaEvent(delta, snapshot):
            assert (delta, snapshot) == ("a", "a")
        case _:
            pytest.fail("no match")
    match tool:
        case FunctionToolCallArgumentsDeltaEvent(name=name, arguments_delta=piece):
            assert (name, piece) == ("f", "{}")
        case _:
            pytest.fail("no match")


texts = st.text("ab", max_size=3)
deltas = st.fixed_dictionaries(
    {},
    optional={
        "content": texts,
        "refusal": texts,
        "reasoning": texts,
        "tool_calls": st.lists(
            st.builds(call, index=st.integers(0, 2), arguments=st.text("{}1", max_size=2), name=st.just("f")),
            max_size=3,
        ),
    },
)
chunks = st.builds(
    lambda index, delta, finish, tokens: chunk(delta, finish, index=index, logprobs={"content": tokens}),
    st.integers(0, 1),
    deltas,
    st.sampled_from([None, None, None, "stop"]),
    st.lists(st.integers(), max_size=2),
)


@given(st.lists(chunks, max_size=12))
def test_the_deltas_make_the_completion_and_the_last_done_has_it_all(stream: list[ChatCompletionChunk]) -> None:
    # A finish for both, so that everything is done at the end.
    stream = [*stream, chunk(finish="stop", index=0), chunk(finish="stop", index=1)]
    accumulator = Accumulator()
    folding = EventFold(accumulator)
    events: list[StreamEvent] = []
    for one in stream:
        accumulator.add(one)
        events += folding.add(one)
    for choice in accumulator.completion.choices:
        mine = [e for e in events if not isinstance(e, (ChunkEvent, KeepAliveEvent)) and e.choice_index == choice.index]
        message = choice.message
        for name in ("content", "refusal", "reasoning"):
            got = [e for e in mine if e.type == f"{name}.delta"]
            assert "".join(e.delta for e in got) == (getattr(message, name) or "")  # type: ignore[union-attr] # by its type
            done = [getattr(e, name) for e in mine if e.type == f"{name}.done"]
            assert done[-1:] == ([getattr(message, name)] if getattr(message, name) else [])
        for place, made in enumerate(message.tool_calls or []):
            ours = [e for e in mine if isinstance(e, FunctionToolCallArgumentsDeltaEvent) and e.index == place]
            joined = "".join(e.arguments_delta for e in ours)
            twice = {"arguments_placeholder", "arguments_restated"} & accumulator.completion.normalizations.keys()
            assert joined.endswith(made.function.arguments) if twice else joined == made.function.arguments
            dones = [e for e in mine if isinstance(e, FunctionToolCallArgumentsDoneEvent) and e.index == place]
            assert dones[-1].arguments == made.function.arguments
        tokens = [token for e in mine if isinstance(e, LogprobsContentDeltaEvent) for token in e.content]
        assert tokens == ((choice.logprobs.content if choice.logprobs else None) or [])
        assert all(e.content for e in mine if isinstance(e, ContentDoneEvent))
        assert all(e.snapshot.endswith(e.delta) for e in mine if isinstance(e, (ContentDeltaEvent, RefusalDeltaEvent)))


def arguments_deltas(*chunks: ChatCompletionChunk) -> list[FunctionToolCallArgumentsDeltaEvent]:
    return [event for event in fold(*chunks) if isinstance(event, FunctionToolCallArgumentsDeltaEvent)]


def begun(*pieces: str, **fields: Any) -> list[ChatCompletionChunk]:
    """A call in its chunks, one for each piece of its arguments."""
    rest = [calls(call(arguments=piece)) for piece in pieces[1:]]
    return [calls(call(id="c1", name="f", arguments=pieces[0], **fields)), *rest]


def test_a_delta_tells_the_arguments_as_far_as_they_came() -> None:
    accumulator = Accumulator()
    events = EventFold(accumulator)
    seen = []
    for one in begun("", '{"city": "Par', 'is", "days": [1', ", 2]}"):
        accumulator.add(one)
        seen += [
            copy.deepcopy(event.parsed_arguments)
            for event in events.add(one)
            if isinstance(event, FunctionToolCallArgumentsDeltaEvent)
        ]
    assert seen == [
        None,
        {"city": "Par"},
        {"city": "Paris", "days": []},
        {"city": "Paris", "days": [1, 2]},
    ]


def test_arguments_are_parsed_once_and_only_where_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[str] = []
    feed = PartialJSON.feed
    monkeypatch.setattr(PartialJSON, "feed", lambda parser, text: (fed.append(text), feed(parser, text))[1])
    first, second, third = arguments_deltas(*begun('{"a":', " 1,", ' "b": 2}'))
    assert fed == []
    assert second.parsed_arguments == {"a": 1}
    assert third.parsed_arguments == {"a": 1, "b": 2}
    assert first.parsed_arguments is third.parsed_arguments
    assert fed == ['{"a": 1,', ' "b": 2}']


@pytest.mark.parametrize(
    ("pieces", "parsed"),
    [
        (["{}", '{"a": 1}'], {"a": 1}),
        (['{"a": 1, "b": x', "y}"], {"a": 1}),
        (['["a"]'], None),
        (["nothing"], None),
    ],
)
def test_arguments_that_are_bent_are_told_as_far_as_they_can_be_read(pieces: list[str], parsed: Any) -> None:
    assert arguments_deltas(*begun(*pieces))[-1].parsed_arguments == parsed


def test_the_input_of_a_custom_tool_is_a_text() -> None:
    custom = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "f", "input": '{"a": 1}'}}
    (event,) = arguments_deltas(calls(custom))
    assert event.parsed_arguments is None


def test_a_copy_of_a_delta_parses_anew() -> None:
    *_, event = arguments_deltas(*begun('{"a":', " 1}"))
    assert event.parsed_arguments == {"a": 1}
    for twin in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert twin == event
        assert twin.parsed_arguments == {"a": 1}
