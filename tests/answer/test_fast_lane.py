"""The fast lane is not to be seen: what is read and added with it is, at every moment, what is read and added without."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from conformance import GROUPS, load
from hypothesis import given, settings
from hypothesis import strategies as st
from support import json_shapes

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.fast_lane import FastLane, cut_plain, texts_of
from cometstream.answer.frames import read_frame
from cometstream.answer.sse import Comment, Event, SSEParser
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk


def frame(
    delta: str, *, index: int = 0, finish: str = "null", top: str = '"id":"1","model":"m",', end: str = ""
) -> str:
    """A chunk with a hole, ``@``, as it stands on the wire."""
    choice = f'{{"index":{index},"delta":{{{delta}}},"logprobs":null,"finish_reason":{finish}}}'
    return f'{{{top}"choices":[{choice}]{end}}}'


def call(fragment: str, index: int = 0) -> str:
    return f'"tool_calls":[{{"index":{index},{fragment}}}]'


ARGUMENTS = '"function":{"arguments":@}'
CONTENT = frame('"content":@')

# What a lane is for; the piece is the only text that changes.
REPEATING = {
    "content": CONTENT,
    "another choice": frame('"content":@', index=1),
    "another model": frame('"content":@', top='"id":"1","model":"n",'),
    "a tier comes in": frame('"content":@', end=',"service_tier":"flex"'),
    "nulls and a role": frame('"role":"assistant","content":@,"tool_calls":null,"refusal":null', end=',"usage":null'),
    "reasoning_content": frame('"content":null,"reasoning_content":@'),
    "reasoning": frame('"reasoning":@,"reasoning_content":null'),
    "refusal": frame('"refusal":@'),
    "arguments": frame(call(ARGUMENTS)),
    "arguments of the second": frame(call(ARGUMENTS, 1)),
    "arguments among nulls": frame(
        call('"id":null,"type":null,"function":{"name":null,"arguments":@}') + ',"role":null'
    ),
    "white space": ' { "choices" : [ { "delta" : { "content" : @ } , "index" : 0 } ] } ',
    "two deltas, the last counts": '{"choices":[{"index":0,"delta":{"content":"x"},"delta":{"content":@}}]}',
    "twice content, the last counts": frame('"content":"x","content":@'),
    "its own words around it": frame('"content":@', top='"content":"a","a":"content",'),
    "another field of the choice": '{"choices":[{"index":0,"native":"x","delta":{"content":@}}],"object":"error"}',
}

# All else is parsed whole each time.
UNFIT = {
    "two choices": '{"choices":[{"index":0,"delta":{"content":@}},{"index":1,"delta":{"content":"x"}}]}',
    "no list of choices": '{"choices":{"index":0,"delta":{"content":@}}}',
    "a choice that is a text": '{"choices":[@]}',
    "no choice": '{"choices":[],"x":@}',
    "no index": '{"choices":[{"delta":{"content":@}}]}',
    "an index that is no number": '{"choices":[{"index":true,"delta":{"content":@}}]}',
    "a delta that is a text": '{"choices":[{"index":0,"delta":@}]}',
    "a message": '{"choices":[{"index":0,"delta":{"content":@},"message":{"content":"x"}}]}',
    "a message that is a text": '{"choices":[{"index":0,"delta":{"content":@},"message":"x"}]}',
    "a finish reason": frame('"content":@', finish='"stop"'),
    "an empty finish reason": frame('"content":@', finish='""'),
    "another finish reason": '{"choices":[{"index":0,"delta":{"content":@},"finishReason":"stop"}]}',
    "log probabilities": '{"choices":[{"index":0,"delta":{"content":@},"logprobs":{"content":[]}}]}',
    "a usage": frame('"content":@', end=',"usage":{"total_tokens":1}'),
    "a list at the top": frame('"content":@', end=',"citations":["x"]'),
    "an error": frame('"content":@', end=',"error":null'),
    "an object in the choice": '{"choices":[{"index":0,"delta":{"content":@},"filter":{}}]}',
    "a role that is a list": frame('"content":@,"role":["assistant"]'),
    "two texts": frame('"content":@,"reasoning":"x"'),
    "a text and an unknown field": frame('"content":@,"mood":"x"'),
    "an unknown text": frame('"mood":@'),
    "a role alone": frame('"role":@'),
    "parts": frame('"content":[{"type":"text","text":@}]'),
    "a list of calls that is a text": frame('"tool_calls":@'),
    "two fragments": frame(f'"tool_calls":[{{"index":0,{ARGUMENTS}}},{{"index":1,"function":{{"arguments":"x"}}}}]'),
    "a fragment that is a text": frame('"tool_calls":[@]'),
    "a fragment without an index": frame(f'"tool_calls":[{{{ARGUMENTS}}}]'),
    "a fragment with an index that is a text": frame(f'"tool_calls":[{{"index":"0",{ARGUMENTS}}}]'),
    "a call's id": frame(call('"id":"call_a",' + ARGUMENTS)),
    "a call's name": frame(call('"function":{"name":"f","arguments":@}')),
    "a call's type": frame(call('"type":"function",' + ARGUMENTS)),
    "a function that is a text": frame(call('"function":@')),
    "twice content, the last is null": frame('"content":@,"content":null'),
    "twice content, both the same": frame('"content":@', end=',"choices":[{"index":0,"delta":{"content":@},"x":[]}]'),
}

# Where the text that counts is not the one that changes.
ODD = {
    "twice content, the first does not count": frame('"content":@,"content":"x"'),
    "twice a delta, the first does not count": '{"choices":[{"index":0,"delta":{"content":@},"delta":{"refusal":"x"}}]}',
    "a text that others repeat": frame('"content":"x"', end=',"obfuscation":@'),
    "the text once more behind it": frame('"content":@', end=',"obfuscation":@'),
    "the text as a key behind it": frame('"content":@', end=",@:1"),
}

FRAMES = {**REPEATING, **UNFIT, **ODD}


def filled(template: str, piece: str) -> bytes:
    """The frame with `piece`, which is JSON or nearly so, in its hole."""
    return template.replace("@", piece).encode()


def whole(data: bytes) -> ChatCompletionChunk:
    return ChatCompletionChunk(orjson.loads(data))


def lane_of(patience: int | None = 8) -> FastLane:
    return FastLane(Accumulator(), patience=patience)


def cut_from(data: bytes) -> FastLane:
    lane = lane_of(1)
    lane.add(data, orjson.loads(data))
    return lane


def same(read: ChatCompletionChunk, parsed: ChatCompletionChunk) -> bool:
    """Whether nobody can tell two chunks apart; the JSON shows the order of the keys and tells 1 from 1.0 and from true."""
    return (
        read == parsed
        and read.to_json() == parsed.to_json()
        and read.has_content() is parsed.has_content()
        and pickle.loads(pickle.dumps(read)).to_json() == parsed.to_json()
    )


# -- which chunks are read by their piece -----------------------------------------------------------------------------------

PIECES = [
    "a",
    " the",
    "é",
    "\U0001f680",
    '"',
    "\\",
    "\\u0000",
    "\0",
    "\0probe",
    ",",
    ":",
    "{",
    "@",
    "\n",
    "\u2028",
    "content",
]


@pytest.mark.parametrize("template", REPEATING.values(), ids=REPEATING)
def test_a_chunk_that_repeats_another_is_read_as_if_it_were_parsed(template: str) -> None:
    for first in ("first", '{"a":', "\\"):
        lane = cut_from(filled(template, json.dumps(first)))
        for piece in PIECES:
            for spelling in (json.dumps(piece), json.dumps(piece, ensure_ascii=False)):
                data = filled(template, spelling)
                chunk = lane.read(data)
                assert chunk is not None
                assert same(chunk, whole(data))


@pytest.mark.parametrize("template", UNFIT.values(), ids=UNFIT)
def test_a_chunk_that_holds_more_than_a_piece_is_parsed(template: str) -> None:
    for first in ("a", "first"):
        data = filled(template, json.dumps(first))
        assert cut_from(data).read(data) is None


@pytest.mark.parametrize(
    "data",
    [
        filled(CONTENT, '""'),
        filled(CONTENT, "null"),
        filled(CONTENT, "1"),
        filled(CONTENT, r'"\u0061\u0062"'),
        filled(frame('"content": @', end=',"x":"y","z":1'), '","'),
        filled(frame('"content": @', end=',"x":"y"'), '":"'),
        filled(frame('"content":@', end=r',"x":"\"a"'), '"a"'),
        filled(frame('"content":@', end=r',"\u0000probe":"\u0000probe"'), r'"\u0000probe"'),
    ],
)
def test_no_frame_is_cut_where_the_hole_is_in_doubt(data: bytes) -> None:
    assert cut_from(data).read(data) is None


@pytest.mark.parametrize("end", [',"x":"y","z":1', ',"x":"y"', ',"obfuscation":"a"', ',"a":1'])
@pytest.mark.parametrize("first", ["a", ",", ":"])
def test_a_text_that_stands_behind_its_own_name_is_not_in_doubt(first: str, end: str) -> None:
    template = frame('"content":@', end=end)
    chunk = cut_from(filled(template, json.dumps(first))).read(filled(template, '"b"'))
    assert chunk is not None
    assert same(chunk, whole(filled(template, '"b"')))


def test_any_piece_can_be_the_first() -> None:
    for piece in PIECES:
        for template in (CONTENT, frame('"content":@', end=',"x":1')):
            lane = cut_from(filled(template, orjson.dumps(piece).decode()))
            chunk = lane.read(filled(template, '"b"'))
            assert chunk is None or same(chunk, whole(filled(template, '"b"')))
            assert chunk is not None or piece in (",", ":", "content")


@pytest.mark.parametrize(
    "piece",
    [
        *("null", "1", "true", "{}", '["a"]', '""', "", '"', '"a', 'a"', '"a""b"', '"a","b"', '"a","x":"b"'),
        *(' "a"', '"a" ', r'"\ud800"', "'a'", '"a"//', '"a"\0', '"\n"', '"a"}', '"a"}}],"x":[{"y":{"z":"b"'),
    ],
)
def test_what_is_not_one_text_is_left_to_the_parser(piece: str) -> None:
    assert cut_from(filled(CONTENT, '"a"')).read(filled(CONTENT, piece)) is None


@pytest.mark.parametrize("template", REPEATING.values(), ids=REPEATING)
def test_an_event_that_arrives_alone_is_read_as_its_data_is(template: str) -> None:
    lane = cut_from(filled(template, '"a"'))
    for piece in PIECES:
        data = filled(template, json.dumps(piece))
        chunk = lane.read_alone(b"data: " + data + b"\n\n")
        assert chunk is not None
        assert same(chunk, whole(data))


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"data: [DONE]\n\n",
        *(
            before + filled(CONTENT, '"b"') + behind
            for before, behind in (
                (b"", b""),
                (b"", b"\n\n"),
                (b"data:", b"\n\n"),
                (b"data: ", b""),
                (b"data: ", b"\n"),
                (b"data: ", b"\n\r\n"),
                (b"data: ", b"\n\n\n"),
                (b": \ndata: ", b"\n\n"),
                (b"id: 1\ndata: ", b"\n\n"),
                (b"event: error\ndata: ", b"\n\n"),
                (b"data: ", b"\nid: 1\n\n"),
                (b"data: ", b"\n\n" + b"data: " + filled(CONTENT, '"c"') + b"\n\n"),
            )
        ),
        *(
            b"data: " + filled(CONTENT, piece) + b"\n\n"
            for piece in ('\n"b"', '"b"\r', '\n\n"b"', '"b"\n\n', ' "b"', '"b" ', '"b\n"', '""', "", '"')
        ),
    ],
)
def test_other_bytes_that_arrive_alone_are_left_to_the_parser(event: bytes) -> None:
    assert cut_from(filled(CONTENT, '"a"')).read_alone(event) is None
    assert lane_of().read_alone(event) is None


def test_bytes_that_are_no_utf_8_are_left_to_the_parser() -> None:
    first, other = filled(CONTENT, '"a"'), filled(CONTENT, '"b"')
    assert cut_from(first).read(other.replace(b"b", b"\xff")) is None
    assert cut_from(first).read(other.replace(b"b", b"\xed\xa0\x80")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[DONE]",
        filled(frame('"content":@', index=1), '"a"'),
        filled(frame('"content":@', end=',"x":1'), '"a"'),
        filled(frame('"content":@', top='"id":"2","model":"m",'), '"a"'),
        filled(frame('"content":@', finish='"stop"'), '"a"'),
        filled(CONTENT, '"a"') + b" ",
        b" " + filled(CONTENT, '"a"'),
        filled(CONTENT, '"a"')[:-1],
    ],
)
def test_another_frame_is_left_to_the_parser(data: bytes) -> None:
    assert cut_from(filled(CONTENT, '"a"')).read(data) is None


def test_bytes_that_are_the_frames_beginning_and_its_end_at_once_are_no_chunk() -> None:
    template = '{"choices":[{"index":0,"delta":{"content":@},"x":{"content":"a"},"index":0}]}'
    before, after = (part.encode() for part in CONTENT.split("@"))
    lane = cut_from(filled(CONTENT, '"a"'))
    for size in range(len(before) + 1):
        assert lane.read(before[:size] + after) is None
        assert lane.read(before + after[len(after) - size :]) is None
    assert cut_from(filled(template, '"b"')).read(filled(template, '"b"')) is None


# -- a second hole: padding that differs in every chunk -----------------------------------------------------------------------

PADDING = ',"usage":null,"obfuscation":#'

PADDED = {
    "content": frame('"content":@', end=PADDING),
    "reasoning": frame('"reasoning_content":@', end=PADDING),
    "arguments": frame(call(ARGUMENTS), end=PADDING),
    "more behind it": frame('"content":@', end=',"obfuscation":#,"service_tier":"flex"'),
    "white space before it": frame('"content":@', end=',"obfuscation" : #'),
    "white space": '{ "choices" : [ { "delta" : { "content" : @ } , "index" : 0 } ] , "obfuscation" : # }',
}

# Where other padding is another frame, or the padding is not the field that changes.
PADDED_ODDLY = {
    "before the text": '{"obfuscation":#,"choices":[{"index":0,"delta":{"content":@}}]}',
    "in the choice": '{"choices":[{"index":0,"delta":{"content":@},"obfuscation":#}]}',
    "in the choice too": '{"choices":[{"index":0,"delta":{"content":@},"obfuscation":"x"}],"obfuscation":#}',
    "in the choice, another before it": '{"obfuscation":"x","choices":[{"index":0,"delta":{"content":@},"obfuscation":#}]}',
    "twice": frame('"content":@', end=',"obfuscation":"x","obfuscation":#'),
    "twice, the first does not count": frame('"content":@', end=',"obfuscation":#,"obfuscation":"x"'),
    "in an object": frame('"content":@', end=',"x":{"obfuscation":#},"obfuscation":"x"'),
    "the text once more": frame('"content":@', end=',"a":@,"obfuscation":#'),
    "another field": frame('"content":@', end=',"padding":#'),
    "its name in a text": frame('"content":@', end=',"a":"obfuscation","obfuscation":#'),
}


def padded(template: str, piece: str, padding: str) -> bytes:
    return filled(template.replace("#", padding), piece)


@pytest.mark.parametrize("template", PADDED.values(), ids=PADDED)
@pytest.mark.parametrize("first", ['"aB3"', '""', '"a b"', '"é"'])
def test_a_chunk_with_other_padding_is_read_as_if_it_were_parsed(template: str, first: str) -> None:
    lane = cut_from(padded(template, '"x"', first))
    for piece in PIECES:
        for padding in ('"Zz09"', '""', '"a b"', r'"\""', r'"\u0041"', '"é"', '"}],"', json.dumps(piece)):
            data = padded(template, json.dumps(piece), padding)
            chunk = lane.read(data)
            alone = lane.read_alone(b"data: " + data + b"\n\n")
            try:
                parsed = whole(data)
            except orjson.JSONDecodeError:
                assert chunk is None
                assert alone is None
                continue
            assert chunk is not None
            assert alone is not None
            assert same(chunk, parsed)
            assert same(alone, parsed)
            assert chunk.obfuscation == parsed.raw["obfuscation"]


@pytest.mark.parametrize("template", PADDED.values(), ids=PADDED)
@pytest.mark.parametrize(
    "padding",
    [
        "null",
        "1",
        "aB3",
        '"aB3',
        'aB3"',
        "",
        '"',
        '""""',
        '"a","b":"c"',
        ' "a"',
        '"a" ',
        '"a"\n',
        '\n"a"',
        '"\n"',
        "[]",
        "\xff",
    ],
)
def test_padding_that_is_not_one_text_is_left_to_the_parser(template: str, padding: str) -> None:
    lane = cut_from(padded(template, '"x"', '"aB3"'))
    data = padded(template, '"a"', padding)
    assert lane.read(data) is None
    assert lane.read_alone(b"data: " + data + b"\n\n") is None
    good = padded(template, '"a"', '"aB3"')
    assert [lane.read_all(together(good, data, good)), lane.read_all(together(data))] == [0, 0]
    assert skimmed(lane, good, good, data, good) == 2


@pytest.mark.parametrize("piece", ["null", '"a', 'a"', ' "a"', '"a"\n', "", '"', '""', '"a","b":"c"'])
def test_a_text_beside_padding_must_be_one_text_too(piece: str) -> None:
    lane = cut_from(padded(PADDED["content"], '"x"', '"aB3"'))
    data, good = (padded(PADDED["content"], text, '"aB3"') for text in (piece, '"a"'))
    assert lane.read(data) is None
    assert [lane.read_all(together(good, data, good)), lane.read_all(together(data))] == [0, 0]
    assert skimmed(lane, good, good, data, good) == 2


def skimmed(lane: FastLane, *datas: bytes) -> int:
    """Skim events; return how many were taken off, and added."""
    events: list[Event | Comment] = [Event(data) for data in reversed(datas)]
    count = lane.skim(events)
    assert [event.data for event in events if isinstance(event, Event)] == list(reversed(datas[count:]))
    return count


@pytest.mark.parametrize("odd", [b'""', b"null", b"1", b'"a'])
def test_chunks_that_do_not_fit_cost_no_look_at_all_that_come_behind_them(
    odd: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    texts_in = FastLane._texts_in

    def counted(self: FastLane, pieces: list[bytes]) -> Any:
        looked_at.append(len(pieces))
        return texts_in(self, pieces)

    monkeypatch.setattr(FastLane, "_texts_in", counted)
    lane = cut_from(filled(CONTENT, '"x"'))
    good, bad = filled(CONTENT, '"a"'), filled(CONTENT, odd.decode())
    events: list[Event | Comment] = [Event(data) for data in (good, bad)] * 500
    while events:
        if not lane.skim(events):
            events.pop()
    assert sum(looked_at) < 20 * 1000


# Texts, what looks like one, and what would be one or two beside others.
LITERALS = [
    *(
        b'"a"',
        b'""',
        b'"\\n"',
        b'"a\\""',
        '"é"'.encode(),
        b'"\xff"',
        b'"\n"',
        b'"\\ud800"',
        b'"a\\"',
        b'\\"a"',
        b'"',
        b"",
    ),
    *(b' "a"', b'"a" ', b'"a"\n', b'" , "x"', b'"a","b"', b'"a",\n"b"', b'["x",\n"y",\n"z"]', b'"]["', b"],[", b","),
    *(b"1", b"null", b'{"a":\n"b"}'),
]


def test_texts_are_parsed_at_once_as_each_would_be_alone() -> None:
    def alone(literal: bytes) -> str | None:
        try:
            text = orjson.loads(literal)
        except orjson.JSONDecodeError:
            return None
        return text if type(text) is str and literal[:1] == b'"' == literal[-1:] else None

    for count in (1, 2, 3):
        for literals in itertools.product(LITERALS, repeat=count):
            texts = [alone(literal) for literal in literals]
            assert texts_of(list(literals)) == (None if None in texts else texts)
    assert texts_of([]) is None


def together(*datas: bytes) -> bytes:
    """Events as they come in one read."""
    return b"".join(b"data: " + data + b"\n\n" for data in datas)


@pytest.mark.parametrize("template", PADDED.values(), ids=PADDED)
def test_padded_chunks_that_came_together_are_added_together(template: str) -> None:
    datas = [padded(template, f'"{text}"', f'"{padding}"') for text, padding in (("a", "x"), ("b", "yZ9"), ("c", ""))]
    lane = cut_from(padded(template, '"x"', '"aB3"'))
    assert lane.read_all(together(*datas)) == 3
    assert lane.read_all(together(*datas)[:-1]) == lane.read_all(together(*datas, b"[DONE]")) == 0
    assert skimmed(lane, *datas, b"[DONE]") == 3
    assert lane.skim([Comment(b""), Event(datas[0])]) == 1
    assert lane.skim([Event(datas[0]), Comment(b"")]) == 0


@pytest.mark.parametrize("template", [*PADDED.values(), *PADDED_ODDLY.values()], ids=[*PADDED, *PADDED_ODDLY])
def test_the_lane_is_not_to_be_seen_where_chunks_are_padded(template: str) -> None:
    pieces = ['"a"', '"b"', '"obfuscation"', '"b"', '"aB3"', '"c"', '""', '"d"']
    paddings = ['"aB3"', '"b"', '"x"', '"obfuscation"', "null", '"y"', '"aB3"', '"a\\"b"']
    datas = [padded(template, piece, padding) for piece in pieces for padding in paddings]
    for patience in (1, 2, 3):
        is_not_seen(datas, patience)
        is_not_seen(datas[::-1], patience, strict=True)


def test_plain_frames_are_cut_of_padded_chunks_too() -> None:
    for template, is_cut in (
        (PADDED["content"], True),
        (PADDED_ODDLY["before the text"], True),
        (PADDED["arguments"], False),
    ):
        data = padded(template, '"x"', '"aB3"')
        assert (cut_plain(data, orjson.loads(data)) is not None) is is_cut
    # All are read by two pieces, from the third chunk on.
    datas = [padded(PADDED["content"], '"x"', f'"pad{number}"') for number in range(20)]
    assert numbers_read(lane_of(), datas) == list(range(3, 21))


@settings(max_examples=150)
@given(
    st.sampled_from([*PADDED.values(), *PADDED_ODDLY.values()]),
    st.lists(
        st.tuples(json_shapes.texts | st.sampled_from(PIECES), json_shapes.texts | st.sampled_from(PIECES)), max_size=8
    ),
    st.booleans(),
)
def test_the_lane_is_not_to_be_seen_with_any_padding(
    template: str, values: list[tuple[str, str]], strict: bool
) -> None:
    is_not_seen([padded(template, json.dumps(a), orjson.dumps(b).decode()) for a, b in values], 1, strict=strict)


# -- when it is cut -----------------------------------------------------------------------------------------------------------


def numbers_read(lane: FastLane, datas: Iterable[bytes]) -> list[int]:
    """Read and add frames; return the numbers of those that were not parsed, the first of which is 1."""
    read = []
    for number, data in enumerate(datas, 1):
        if lane.read(data) is not None:
            read.append(number)
        else:
            lane.add(data, orjson.loads(data))
    return read


def test_the_first_frame_is_cut_when_some_have_not_fit() -> None:
    same_again = [filled(CONTENT, '"a"')] * 20
    assert numbers_read(lane_of(), same_again) == list(range(3, 21))
    assert numbers_read(lane_of(1), same_again) == list(range(2, 21))


def test_a_frame_whose_hole_is_in_doubt_is_cut_when_more_have_not_fit() -> None:
    in_doubt = [filled(frame('"content": @'), '"a"')] * 20
    call_again = [filled(frame(call(ARGUMENTS)), '"a"')] * 20
    for same_again in (in_doubt, call_again):
        assert numbers_read(lane_of(), same_again) == list(range(9, 21))
        assert numbers_read(lane_of(3), same_again) == list(range(4, 21))


def test_the_next_frame_is_cut_when_twice_as_many_have_not_fit() -> None:
    first, second, third = (filled(frame('"content":@', index=index), '"a"') for index in range(3))
    lane = lane_of(2)
    assert numbers_read(lane, [first] * 4) == [3, 4]
    assert numbers_read(lane, [second, first, second, first, second]) == [2, 5]
    assert numbers_read(lane, [first, third, third, third, third]) == [4, 5]


def test_a_frame_that_cannot_be_cut_leaves_the_last_one() -> None:
    lane = cut_from(filled(CONTENT, '"a"'))
    empty = filled(frame(""), "")
    for _ in range(10):
        lane.add(empty, orjson.loads(empty))
        assert lane.read(filled(CONTENT, '"b"')) is not None


def test_a_choice_that_goes_on_after_its_finish_reason_is_left_to_the_slow_way() -> None:
    lane = cut_from(filled(CONTENT, '"a"'))
    finish = filled(frame("", finish='"stop"'), "")
    lane.add(finish, orjson.loads(finish))
    assert lane.read(filled(CONTENT, '"b"')) is None


# -- what is handed over ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", REPEATING.values(), ids=REPEATING)
def test_a_chunk_that_a_caller_changes_changes_no_other(template: str) -> None:
    def change(value: Any) -> None:
        for key, item in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
            if isinstance(item, (dict, list)):
                change(item)
            value[key] = "changed"
        if isinstance(value, dict):
            value["new"] = 1

    data = filled(template, '"b"')
    lane = lane_of(1)
    for _ in range(4):
        chunk = lane.read(data)
        if chunk is None:
            chunk = whole(data)
            lane.add(data, chunk.raw)
        assert same(chunk, whole(data))
        change(chunk.raw)
    assert lane.read(data) is not None


# -- what is added up ---------------------------------------------------------------------------------------------------------


def told(accumulator: Accumulator) -> tuple[Any, ...]:
    completion = accumulator.completion
    return completion.to_json(), repr(completion.normalizations), accumulator.finished, accumulator.errored


def read_all(datas: Iterable[bytes], lane: FastLane, note: Any = str) -> list[ChatCompletionChunk]:
    """Read and add the chunks of one stream."""
    chunks = []
    for data in datas:
        chunk = lane.read(data)
        if chunk is None:
            read = read_frame(Event(data), note)
            if not isinstance(read, ChatCompletionChunk):
                continue
            chunk = read
            lane.add(data, chunk.raw)
        chunks.append(chunk)
    return chunks


def seen(datas: Iterable[bytes], patience: int | None, *, strict: bool = False) -> list[Any]:
    """Read and add a stream; return all that could be seen of it, after each frame."""
    accumulator = Accumulator(strict=strict)
    lane = FastLane(accumulator, patience=patience)
    moments: list[Any] = [told(accumulator)]
    for data in datas:
        moment: list[Any] = []
        try:
            for chunk in read_all([data], lane, accumulator.note):
                moment = [chunk.to_json(), chunk.has_content()]
                assert same(chunk, ChatCompletionChunk(copy.deepcopy(chunk.raw)))
        except ProtocolError as error:
            moment += [str(error), error.raw]
        moments.append((moment, told(accumulator)))
    return moments


def test_the_completion_has_each_piece_as_soon_as_it_was_added() -> None:
    accumulator = Accumulator()
    lane = FastLane(accumulator, patience=1)
    for place, data in enumerate(run("content", *"abcdef"), 1):
        assert len(read_all([data], lane)) == 1
        assert accumulator.completion.content == "abcdef"[:place]
        assert accumulator.completion is accumulator.completion


def test_a_lane_that_is_off_or_closed_reads_nothing() -> None:
    data = filled(CONTENT, '"a"')
    assert numbers_read(lane_of(None), [data] * 20) == []
    lane = cut_from(data)
    lane.close()
    assert numbers_read(lane, [data] * 20) == []
    assert lane.read_alone(b"data: " + data + b"\n\n") is None
    assert skimmed(lane, data) == skimmed(lane_of(None), data) == 0


def is_not_seen(datas: list[bytes], patience: int = 1, *, strict: bool = False) -> None:
    assert seen(datas, patience, strict=strict) == seen(datas, None, strict=strict)


def run(name: str, *pieces: str) -> list[bytes]:
    return [filled(FRAMES[name], json.dumps(piece, ensure_ascii=False)) for piece in pieces or ("a", "b", "c")]


FINISH = filled(frame("", finish='"stop"'), "")
CALL = filled(frame(call('"id":"call_a","type":"function","function":{"name":"f","arguments":""}')), "")
SECOND = filled(frame(call('"id":"call_b","type":"function","function":{"name":"g","arguments":""}', 1)), "")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "datas",
    [
        pytest.param([*run("content"), FINISH, *run("content"), *run("content")], id="a text after the end"),
        pytest.param([FINISH, *run("content"), *run("another choice"), *run("content")], id="each piece is noted"),
        pytest.param([*run("content"), *run("another model"), *run("content")] * 3, id="a model changes and back"),
        pytest.param([*run("content"), *run("a tier comes in"), *run("content")] * 3, id="a tier comes and goes"),
        pytest.param([*run("content", "a"), *run("another choice", "b")] * 9, id="choices take turns"),
        pytest.param([*run("content"), *run("a usage"), *run("content")] * 3, id="a usage comes between"),
        pytest.param([*run("reasoning"), *run("reasoning_content"), *run("content")] * 3, id="reasoning, then a text"),
        pytest.param([*run("content"), *run("refusal"), b"null", *run("refusal"), b"{"], id="a refusal, and a note"),
        pytest.param(
            [*run("content"), CALL, *run("arguments"), SECOND, *run("arguments of the second"), *run("arguments")] * 2,
            id="calls take turns",
        ),
        pytest.param([*run("arguments", '{"a":1}'), *run("arguments of the second")] * 3, id="calls without an id"),
        pytest.param([CALL, *run("arguments", "{"), *run("arguments of the second")] * 3, id="an index for each piece"),
        pytest.param([CALL, *run("arguments among nulls", "{}")] * 4, id="an id again for each piece"),
        pytest.param([CALL, *run("a call's name", "{"), *run("arguments", "1}")] * 4, id="a name again for each piece"),
        pytest.param([*run("nulls and a role"), *run("parts"), *run("nulls and a role")], id="parts come between"),
        pytest.param([filled(frame('"content":@', end=',"x":1e400'), '"a"')] * 20, id="JSON that is read leniently"),
        pytest.param([filled(frame('"content":@', top='"x":NaN,'), '"a"')] * 20, id="not a number"),
    ],
)
def test_the_lane_is_not_to_be_seen(datas: list[bytes], strict: bool) -> None:
    for patience in (1, 2, 3):
        is_not_seen(datas, patience, strict=strict)


MIXED = [*run("content", *"abcde"), *run("another model"), FINISH, *run("content"), CALL, *run("arguments")]


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda chunk: pickle.loads(pickle.dumps(chunk))],
    ids=["copy", "deep", "pickle"],
)
def test_chunks_and_their_copies_can_be_added_again_elsewhere(copied: Any) -> None:
    def again(patience: int | None) -> list[Any]:
        accumulator = Accumulator()
        chunks = [copied(chunk) for chunk in read_all(MIXED, lane_of(patience))]
        return [(accumulator.add(chunk), told(accumulator)) for chunk in chunks]

    assert again(1) == again(None)


# -- any stream ---------------------------------------------------------------------------------------------------------------

# JSON in the hole, and what only looks like it.
holes = st.one_of(
    st.sampled_from(PIECES).map(json.dumps),
    json_shapes.texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    json_shapes.values.map(lambda value: orjson.dumps(value).decode()),
    st.sampled_from(['"a","content":"b"', '"a"},"x":{"y":"b"', r'"\ud83d"', '"', "", '"a" ', "NaN", '"\\"', "'a'"]),
)
texts = st.sampled_from([*PIECES, "", "{", "}", '{"a":1}']).map(json.dumps) | holes

# A run repeats one frame, so that a frame is cut from it; several of few frames change back and forth.
runs = st.builds(
    lambda template, pieces: [filled(template, piece) for piece in pieces],
    st.sampled_from([*FRAMES.values()]) | st.sampled_from([*REPEATING.values()]),
    st.lists(texts, min_size=1, max_size=5),
)
others = st.sampled_from([FINISH, CALL, SECOND, b"null", b"[DONE]", b"{", b"{}"])
some_runs = st.lists(runs | others.map(lambda data: [data]), min_size=1, max_size=4)
streams = st.builds(
    lambda parts, order: [data for place in order for data in parts[place % len(parts)]],
    some_runs,
    st.lists(st.integers(0, 3), max_size=6),
)


@settings(max_examples=150)
@given(streams, st.sampled_from([1, 1, 2, 5]), st.booleans())
def test_the_lane_is_not_to_be_seen_in_any_stream(datas: list[bytes], patience: int, strict: bool) -> None:
    is_not_seen(datas, patience, strict=strict)


@settings(max_examples=150)
@given(st.sampled_from([*FRAMES.values()]), json_shapes.texts | st.sampled_from(PIECES), st.lists(holes, max_size=8))
def test_no_bytes_in_the_hole_are_read_otherwise_than_by_the_parser(template: str, first: str, hole: list[str]) -> None:
    data = filled(template, orjson.dumps(first).decode())
    try:
        lane = cut_from(data)
    except orjson.JSONDecodeError:  # a text that may not stand twice
        return
    for piece in hole:
        chunk = lane.read(filled(template, piece))
        assert chunk is None or same(chunk, whole(filled(template, piece)))


@settings(max_examples=100)
@given(st.lists(json_shapes.chunks, min_size=1, max_size=2), st.lists(st.integers(0, 1), max_size=8))
def test_the_lane_is_not_to_be_seen_in_chunks_of_any_shape(raws: list[dict[str, Any]], order: list[int]) -> None:
    is_not_seen([orjson.dumps(raws[place % len(raws)]) for place in order])


@pytest.mark.parametrize("group", GROUPS)
def test_the_lane_is_not_to_be_seen_in_any_case_of_the_catalogue(group: str) -> None:
    for case in load(group):
        parser = SSEParser()
        try:
            items = [*parser.feed(case.body), *parser.end()]
        except ProtocolError:
            continue
        datas = [item.data for item in items if not isinstance(item, Comment)]
        for patience in (1, 3):
            is_not_seen(datas, patience)
            is_not_seen([*datas, *datas], patience, strict=True)


@pytest.mark.parametrize(
    "doubtful",
    [
        frame('"content":@', top='"usage":{"total_tokens":1},'),  # objects and lists would be shared by all chunks
        frame('"content":@', top='"citations":["x"],'),
        frame('"content":@', end=',"usage":{"total_tokens":1}'),
        frame('"content":@', end=',"citations":["x"]'),
        frame('"content":@,"content":@'),  # the last counts, and it need not change with the first
        frame('"content":@', top='"id":"a\\b",'),
        frame('"content":@', end=',"id":"a\\b"'),
        frame('"content":@,"\\u0063ontent":@'),
    ],
)
def test_a_plain_frame_is_cut_where_there_is_no_doubt(doubtful: str) -> None:
    for template, is_cut in ((CONTENT, True), (doubtful, False)):
        data = filled(template, '"x"')
        assert (cut_plain(data, orjson.loads(data)) is not None) is is_cut
