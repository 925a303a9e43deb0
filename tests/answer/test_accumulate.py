from __future__ import annotations

import copy
import pickle
from typing import Any

import orjson
import pytest
from conformance import Case, load
from hypothesis import given
from hypothesis import strategies as st
from support import json_shapes
from support.wire_reading import read_wire

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.json_text import is_too_deep
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk, CompletionUsage
from cometstream.views.completion import ChatCompletion


def fold(*raws: dict[str, Any], strict: bool = False) -> Accumulator:
    accumulator = Accumulator(strict=strict)
    for raw in raws:
        accumulator.add(ChatCompletionChunk(raw))
    return accumulator


def completion_of(*raws: dict[str, Any]) -> ChatCompletion:
    return fold(*raws).completion


def piece(delta: Any = None, finish: Any = None, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish, **choice}]}


# -- what is added up -------------------------------------------------------------------------------------------------------


def test_the_completion_has_the_documented_shape_and_nothing_else() -> None:
    done = completion_of(
        {"id": "1", "object": "chat.completion.chunk", "created": 7, "model": "m", "obfuscation": "xyz"}
        | piece({"role": "assistant", "content": ""}),
        {"id": "1", "object": "chat.completion.chunk", "created": 7, "model": "m", "obfuscation": "x"}
        | piece({"content": "Hello"}),
        {"id": "1", "object": "chat.completion.chunk", "created": 7, "model": "m", "service_tier": "default"}
        | piece({}, "stop"),
    )
    message = {"role": "assistant", "content": "Hello", "refusal": None}
    assert done.to_dict() == {
        "id": "1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
    }
    assert done.normalizations == {}


def test_each_kind_of_text_is_joined_from_its_pieces() -> None:
    done = completion_of(
        piece(
            {"content": "a", "refusal": "n", "reasoning": "x"}, logprobs={"content": [{"token": "a"}], "refusal": None}
        ),
        piece(
            {"content": "b", "refusal": "o", "reasoning": "y"},
            logprobs={"content": [{"token": "b"}], "refusal": [{"token": "o"}]},
        ),
    )
    assert (done.content, done.refusal, done.reasoning) == ("ab", "no", "xy")
    assert done.logprobs is not None
    assert done.logprobs.to_dict() == {"content": [{"token": "a"}, {"token": "b"}], "refusal": [{"token": "o"}]}


def test_an_empty_text_is_a_text_and_no_text_beside_calls_is_null() -> None:
    assert completion_of(piece({"content": ""}, "stop")).content == ""
    assert completion_of(piece({"content": "", "tool_calls": [{"index": 0, "id": "1"}]}, "stop")).content is None
    assert completion_of(piece({}, "stop")).content is None
    assert completion_of(piece({"content": []}, "stop")).to_dict()["choices"][0]["message"]["content"] is None


@pytest.mark.parametrize(
    ("pieces", "joined"),
    [
        (["YWI", "j"], "YWIj"),
        (["YQ==", "Yg==", "Yw=="], "YWJj"),
        (["YQ==", "!"], "YQ=="),
        (["YQ==", "Y"], "YQ==Y"),
        (["YQ==", "\u00e9"], "YQ==\u00e9"),
    ],
)
def test_audio_is_joined_also_where_each_piece_was_padded(pieces: list[str], joined: str) -> None:
    done = completion_of(
        piece({"audio": {"id": "audio_1", "data": None, "transcript": "ab", "expires_at": None}}),
        *[piece({"audio": {"data": data}}) for data in pieces],
        piece({"audio": {"transcript": "c", "expires_at": 9}}),
    )
    assert done.to_dict()["choices"][0]["message"]["audio"] == {
        "id": "audio_1",
        "data": joined,
        "transcript": "abc",
        "expires_at": 9,
    }


def test_unknown_fields_survive_wherever_they_stand() -> None:
    done = completion_of(
        {"provider": "x", "citations": ["u"], "flag": False}
        | piece({"images": [1], "mood": "ha", "n": 1, "map": {"a": 1}}, native="stop"),
        {"provider": "y"} | piece({"images": [2], "mood": "ppy", "n": 2, "map": {"b": 1, "a": 0}}),
    ).to_dict()
    assert (done["provider"], done["citations"], done["flag"]) == ("y", ["u"], False)
    assert done["choices"][0]["native"] == "stop"
    message = done["choices"][0]["message"]
    assert (message["images"], message["mood"], message["n"], message["map"]) == ([1, 2], "happy", 2, {"a": 1, "b": 1})


def test_an_unknown_text_that_is_repeated_is_a_label_and_kept_once() -> None:
    done = completion_of(
        piece({"kind": "text", "list": "x"}), piece({"kind": "text", "list": ["y"]}), piece({"list": ["z"]})
    )
    message = done.to_dict()["choices"][0]["message"]
    assert (message["kind"], message["list"]) == ("text", ["y", "z"])


def test_the_first_id_time_and_model_stay_and_of_all_else_the_last_that_says_something() -> None:
    done = completion_of(
        {"id": "", "model": None, "created": 0, "system_fingerprint": "a", "citations": ["u"], "choices": []},
        {"id": 5, "model": {}, "created": "7", "system_fingerprint": "b", "citations": [], "choices": []},
        {"id": "1", "model": "m", "created": 7, "system_fingerprint": "", "tier": {"a": 1}, "choices": []},
        {"id": "stub", "model": "m-2025", "created": 8, "system_fingerprint": None, "tier": {}, "choices": []},
    )
    assert (done.id, done.model, done.created, done.system_fingerprint) == ("1", "m", 7, "b")
    assert (done.to_dict()["citations"], done.to_dict()["tier"]) == (["u"], {"a": 1})
    assert completion_of({"id": 5, "created": "7", "choices": []}).to_dict() == {
        "id": 5,
        "created": "7",
        "object": "chat.completion",
        "choices": [],
    }


def test_a_chunk_that_says_the_same_is_told_from_one_that_only_looks_so() -> None:
    done = completion_of(
        {"id": "1", "model": "m", "choices": []},
        {"id": "1", "model": "m", "choices": []},
        {"id": "1", "obfuscation": "m", "choices": []},
        {"id": "1", "seed": "m", "choices": []},
        {"id": "2", "seed": "m", "choices": []},
        {"choices": []},
        {"usage": {"total_tokens": 1}},
    ).to_dict()
    assert done == {
        "id": "1",
        "model": "m",
        "seed": "m",
        "object": "chat.completion",
        "choices": [],
        "usage": {"total_tokens": 1},
    }


def test_a_word_from_the_wire_never_stands_for_what_was_added_up() -> None:
    top = {"object": "x", "usage": "x", "normalizations": 1}
    choice = {"message": "x", "logprobs": "x"}
    delta = {"content": "Hello", "function_call": "x", "audio": "x", "tool_calls": "x"}
    done = completion_of(top | piece(delta, "stop", **choice))
    assert (done.object, done.content, done.usage, done.logprobs, done.message and done.message.audio) == (
        "chat.completion", "Hello", None, None, None
    )  # fmt: skip
    assert done.message is not None
    assert (done.message.function_call, done.message.tool_calls) == (None, None)


# -- what add() and the attributes say --------------------------------------------------------------------------------------


@given(json_shapes.chunks)
def test_add_says_content_just_where_the_chunk_does(raw: dict[str, Any]) -> None:
    chunk = ChatCompletionChunk(raw)
    assert Accumulator().add(chunk) is chunk.has_content()


def test_the_answer_is_finished_when_every_choice_that_came_is() -> None:
    accumulator = Accumulator()
    assert not accumulator.finished
    for raw, finished in (
        (piece({"content": "a"}), False),
        (piece({}, "stop"), True),
        ({"choices": [{"index": 1, "delta": {"content": "b"}}]}, False),
        ({"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]}, True),
    ):
        accumulator.add(ChatCompletionChunk(raw))
        assert accumulator.finished is finished


def test_a_finish_reason_of_error_is_no_end() -> None:
    accumulator = fold(piece({"content": "a"}, "error"))
    assert accumulator.errored
    assert not accumulator.finished


def test_the_completion_is_the_same_object_until_something_changes() -> None:
    accumulator = fold(piece({"content": "a", "images": [1]}, logprobs={"content": [{"token": "a"}]}))
    first = accumulator.completion
    then = copy.deepcopy(first)
    assert accumulator.completion is first
    accumulator.note("data_null")
    assert accumulator.completion.normalizations == {"data_null": 1}
    accumulator.add(ChatCompletionChunk(piece({"content": "b", "images": [2]}, logprobs={"content": [{"token": "b"}]})))
    assert first == then
    assert accumulator.completion.content == "ab"


@given(st.lists(json_shapes.chunks, max_size=6))
def test_a_completion_once_read_never_changes(raws: list[dict[str, Any]]) -> None:
    accumulator = Accumulator()
    read: list[tuple[ChatCompletion, ChatCompletion]] = []
    for raw in raws:
        accumulator.add(ChatCompletionChunk(raw))
        read.append((accumulator.completion, copy.deepcopy(accumulator.completion)))
    for completion, then in read:
        assert completion == then


# -- nothing raises, nothing is lost ----------------------------------------------------------------------------------------


@given(st.lists(json_shapes.chunks, max_size=6))
def test_chunks_of_any_shape_add_up_without_an_error(raws: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(raws)
    accumulator = fold(*raws)
    completion = accumulator.completion
    assert raws == before
    assert pickle.loads(pickle.dumps(completion)) == completion
    assert orjson.loads(completion.to_json()) == completion.to_dict()
    assert not is_too_deep(completion.to_dict())
    assert [choice.index for choice in completion.choices] == sorted(accumulator.choices)
    for state, choice in zip(
        map(accumulator.choices.get, sorted(accumulator.choices)), completion.choices, strict=True
    ):
        assert state is not None
        assert "".join(state.content) == (choice.message.content or "")
        assert "".join(state.reasoning) == (choice.message.reasoning or "")
        assert len(state.tool_calls.calls) == len(choice.message.tool_calls or [])


@given(st.lists(json_shapes.chunks, max_size=6))
def test_the_completions_texts_are_the_deltas_texts(raws: list[dict[str, Any]]) -> None:
    texts: dict[int, list[str]] = {}
    for raw in raws:
        for choice in ChatCompletionChunk(raw).choices:
            delta = choice.delta
            texts.setdefault(choice.index, ["", "", ""])
            for place, text in enumerate((delta.content, delta.reasoning, delta.refusal)):
                texts[choice.index][place] += text or ""
    messages = {choice.index: choice.message for choice in completion_of(*raws).choices}
    assert {
        index: [message.content or "", message.reasoning or "", message.refusal or ""]
        for index, message in messages.items()
    } == texts


@given(st.lists(json_shapes.chunks, max_size=4), st.lists(st.integers(0, 2000), max_size=6))
def test_however_the_bytes_are_cut_the_completion_is_the_fold_of_the_chunks(
    raws: list[dict[str, Any]], cuts: list[int]
) -> None:
    raws = [raw for raw in raws if not raw.get("error") and raw.get("object") != "error"]
    wire = b"".join(b"data: " + orjson.dumps(raw) + b"\n\n" for raw in raws) + b"data: [DONE]\n\n"
    ends = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    pieces = [wire[start:end] for start, end in zip(ends, ends[1:])]  # noqa: B905, RUF007 - one is longer by design
    folded = fold()
    for raw in raws:
        folded.add(ChatCompletionChunk(raw))
        if folded.errored:
            break
    completion = read_wire(pieces).completion
    assert completion == folded.completion
    assert completion.normalizations == folded.completion.normalizations


# -- strict -----------------------------------------------------------------------------------------------------------------

CASES = [case for case in load() if case.is_plain]


def notes_of(case: Case) -> dict[str, int]:
    notes: dict[str, int] = case.cometstream.get("normalizations", {})
    return notes


BENT = [case for case in CASES if notes_of(case) and case.body.startswith(b"data: {")]
FRAMES_OWN = {
    *("data_null", "data_empty", "done_spelling", "comment_as_data", "json_lenient", "event_unterminated"),
    "message_restated",
}


def chunks_of(case: Case) -> list[ChatCompletionChunk]:
    data = [line[6:] for line in case.body.split(b"\n") if line.startswith(b"data: {")]
    return [ChatCompletionChunk(orjson.loads(one)) for one in data]


@pytest.mark.parametrize(
    "case", [case for case in BENT if not FRAMES_OWN & set(notes_of(case))], ids=lambda case: case.id
)
def test_strict_raises_where_a_shape_would_be_bent(case: Case) -> None:
    strict, lenient = Accumulator(strict=True), Accumulator()
    chunks = chunks_of(case)
    # What a lenient one takes without a word, and the chunk at which it has its first.
    bend = next(chunk for chunk in chunks if lenient.add(chunk) is None or lenient.completion.normalizations)
    for chunk in chunks[: chunks.index(bend)]:
        strict.add(chunk)
    with pytest.raises(ProtocolError, match="departs from the documented shape: ") as caught:
        strict.add(bend)
    assert str(caught.value).rsplit(" ", 1)[1] in notes_of(case)
    assert strict.normalizations == {}


@pytest.mark.parametrize("case", [case for case in CASES if case.row[1:] == "0"], ids=lambda case: case.id)
def test_strict_takes_the_documented_shape(case: Case) -> None:
    strict = Accumulator(strict=True)
    for chunk in chunks_of(case):
        strict.add(chunk)
    assert strict.finished


def test_every_kind_of_normalisation_has_a_case_that_shows_it() -> None:
    shown = {kind for case in CASES for kind in notes_of(case)}
    assert shown >= {*FRAMES_OWN, "function_call_malformed", "audio_malformed"}
    for raw, kind in (
        (piece({"function_call": "f"}), "function_call_malformed"),
        (piece({"audio": "x"}), "audio_malformed"),
        (piece({"audio": {"data": 5}}), "audio_malformed"),
    ):
        assert fold(raw).completion.normalizations == {kind: 1}
        with pytest.raises(ProtocolError, match=kind):
            fold(raw, strict=True)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param({"id": "1", "new": 1}, id="another field in the place of padding"),
        pytest.param({"id": "1", "obfuscation": "y", "new": 1}, id="one field more"),
        pytest.param({"new": 1, "obfuscation": "y"}, id="one field in the place of another"),
        pytest.param({"id": "1", "obfuscation": "y", "model": "m", "new": 1}, id="two fields more"),
    ],
)
def test_a_field_that_only_a_later_chunk_has_is_kept(second: dict[str, Any]) -> None:
    first = {"id": "1", "obfuscation": "x"}
    done = completion_of(
        first | piece({"content": "a"}), first | piece({"content": "b"}), second | piece({"content": "c"})
    )
    assert (done.id, done.to_dict()["new"], done.content) == ("1", 1, "abc")


def test_the_last_word_of_a_field_counts() -> None:
    said = [
        {"id": "1", "tier": tier, "nested": {"a": tier}} | piece({"content": tier}) for tier in ("x", "x", "y", "y")
    ]
    assert completion_of(*said).to_dict() | {"choices": []} == {
        "id": "1",
        "object": "chat.completion",
        "choices": [],
        "tier": "y",
        "nested": {"a": "y"},
    }


@pytest.mark.parametrize(
    ("fields", "total"),
    [
        ({"usage": {"total_tokens": 1}, "x_groq": {"usage": {"total_tokens": 2}}}, 1),
        ({"x_groq": {"usage": {"total_tokens": 2}}, "usage": {"total_tokens": 1}}, 1),
        ({"x_groq": {"usage": {"total_tokens": 2}}, "usage": None}, 2),
        ({"x_groq": {"usage": {"total_tokens": 2}}, "usage": "1"}, 2),
        ({"x_groq": {"usage": {"total_tokens": 2}}}, 2),
        ({"usage": {"total_tokens": 1}, "x_groq": {"usage": {}}}, 1),
        ({"usage": {"total_tokens": 1}, "x_groq": {"usage": "2"}}, 1),
        ({"usage": {"total_tokens": 1}, "x_groq": "2"}, 1),
    ],
)
def test_of_two_usages_in_one_chunk_the_documented_one_counts_if_it_says_something(
    fields: dict[str, Any], total: int
) -> None:
    accumulator = Accumulator()
    accumulator.add(ChatCompletionChunk({"choices": [], **fields}))
    usage = accumulator.completion.usage
    assert usage is not None
    assert usage.total_tokens == total


# -- what gateways do to a field ------------------------------------------------------------------------------------------------


def test_audio_has_ended_when_it_says_until_when_it_is_kept() -> None:
    accumulator = fold(piece({"audio": {"id": "audio_1", "data": "AA", "expires_at": None}}))
    assert not accumulator.choices[0].audio_ended
    accumulator.add(ChatCompletionChunk(piece({"audio": {"id": "", "expires_at": 9, "voice": "x"}})))
    accumulator.add(ChatCompletionChunk(piece({"audio": {"id": "audio_2", "expires_at": 0}})))
    assert accumulator.choices[0].audio_ended
    message = accumulator.completion.to_dict()["choices"][0]["message"]
    assert message["audio"] == {"id": "audio_1", "expires_at": 9, "voice": "x", "data": "AA"}


@pytest.mark.parametrize(
    "word", ["", "null", "NULL", "none", "None", " nil ", "undefined", "FINISH_REASON_UNSPECIFIED"]
)
@pytest.mark.parametrize("key", ["finish_reason", "finishReason"])
def test_a_word_for_nothing_is_no_finish_reason(word: str, key: str) -> None:
    accumulator = fold({"choices": [{"index": 0, "delta": {"content": "a"}, key: word}]})
    assert accumulator.choices[0].finish_reason is None
    assert accumulator.completion.finish_reason is None
    assert ChatCompletionChunk({"choices": [{key: word}]}).choices[0].finish_reason is None


def test_the_order_of_keys_changes_nothing() -> None:
    first = piece({"tool_calls": [{"function": {"arguments": "", "name": "f"}, "id": "a", "index": 0}]}, usage={"n": 1})
    second = {"x_groq": {"usage": {"n": 2}}, "usage": {"n": 3}} | piece(finishReason="length", finish="stop")

    def turned(value: Any) -> Any:
        if isinstance(value, list):
            return [turned(item) for item in value]
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    one, other = fold(first, second), fold(turned(first), turned(second))
    assert one.normalizations == other.normalizations == {}
    assert one.completion == other.completion
    assert one.completion.finish_reason == "stop"
    assert one.completion.usage is not None
    assert one.completion.usage.to_dict() == {"n": 3}


def test_usage_inside_a_choice_counts_until_it_comes_in_its_own_place() -> None:
    accumulator = fold(piece(usage={"n": 1, "details": {"a": 1}}), piece(usage={"n": 0, "details": {"a": 0, "b": 2}}))
    assert accumulator.completion.usage == CompletionUsage({"n": 1, "details": {"a": 1, "b": 2}})
    assert ChatCompletionChunk(piece(usage={"n": 1})).usage == CompletionUsage({"n": 1})
    accumulator.add(ChatCompletionChunk({"usage": {"n": 5}, **piece(usage={"n": 4})}))
    accumulator.add(ChatCompletionChunk(piece(usage={"n": 6})))
    assert accumulator.completion.usage == CompletionUsage({"n": 5, "details": {"a": 1, "b": 2}})


def test_reasoning_of_another_shape_is_kept_and_never_shown() -> None:
    accumulator = Accumulator()
    for part in ({"text": "a"}, {"text": "b"}, {}):
        assert accumulator.add(ChatCompletionChunk(piece({"reasoning": part}))) is bool(part)
    done = accumulator.completion
    assert (done.reasoning, done.content, done.normalizations) == (None, None, {"reasoning_malformed": 3})
    assert done.to_dict()["choices"][0]["message"]["reasoning"] == {"text": "ab"}
    named = completion_of(piece({"reasoning": {"text": "a"}}), piece({"reasoning": "b"}))
    assert named.to_dict()["choices"][0]["message"]["reasoning"] == "b"


def test_an_id_or_a_name_that_is_said_again_is_no_content() -> None:
    accumulator = Accumulator()
    fragment = {
        "index": 0,
        "id": "a",
        "type": "function",
        "x": {"y": 1},
        "function": {"name": "f", "arguments": "", "z": 1},
    }
    added = [accumulator.add(ChatCompletionChunk(piece({"tool_calls": [fragment]}))) for _ in range(3)]
    assert added == [True, False, False]
    (call,) = accumulator.completion.tool_calls
    assert call.to_dict() == {
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": "", "z": 1},
        "x": {"y": 1},
    }


def test_padding_is_kept_out_of_the_message() -> None:
    assert (
        "obfuscation"
        not in completion_of(piece({"content": "a", "obfuscation": "x"})).to_dict()["choices"][0]["message"]
    )


def test_a_choice_may_say_something_in_a_field_that_nobody_knows() -> None:
    for fields, says in (
        ({"x": "y"}, True),
        ({"logprobs": {"content": [{"token": "a"}]}}, True),
        ({"logprobs": {"content": []}}, False),
        ({"logprobs": "x"}, False),
        ({"content_filter_results": {"hate": {"severity": "safe"}}}, False),
        ({"x": ""}, False),
    ):
        chunk = ChatCompletionChunk(piece(**fields))
        assert chunk.has_content() is says
        assert Accumulator().add(chunk) is says


def test_parts_and_texts_in_turns_keep_their_places() -> None:
    accumulator = fold(
        piece({"content": ""}),
        piece({"content": [{"type": "image", "url": "u"}]}),
        piece({"content": "a"}),
        piece({"content": "b"}),
        piece({"content": ["c"]}),
        piece({"content": [{"type": "thinking", "thinking": "t"}], "reasoning": "t"}),
        piece({"content": "d"}),
    )
    message = accumulator.completion.to_dict()["choices"][0]["message"]
    assert message["content"] == [
        {"type": "image", "url": "u"},
        {"type": "text", "text": "abc"},
        {"type": "thinking", "thinking": "t"},
        {"type": "text", "text": "d"},
    ]
    assert (message["reasoning"], accumulator.completion.content) == ("t", "abcd")
