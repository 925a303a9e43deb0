from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cometstream.answer.json_text import MAX_DEPTH
from cometstream.answer.partial_json import PartialJSON, PartialJSONError, Path

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner),
    max_leaves=20,
)


def pieces(text: str, sizes: list[int]) -> Iterator[str]:
    """Cut a text into pieces of these sizes, again and again; a piece may be empty."""
    at, turn = 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)] if turn < 4 * len(text) else 1
        yield text[at : at + size]
        at += size
        turn += 1


def read(text: str, sizes: list[int] | None = None, **options: Any) -> PartialJSON:
    """Read a text in pieces, and look at the value after each."""
    parser = PartialJSON(**options)
    for piece in pieces(text, sizes or [len(text) or 1]):
        parser.feed(piece)
        _ = parser.value
    parser.close()
    return parser


sizes = st.lists(st.integers(0, 7), min_size=1, max_size=5)


@given(JSON, sizes, st.booleans(), st.sampled_from([None, 0, 2]))
def test_a_text_cut_anywhere_gives_what_orjson_reads(
    value: Any, cuts: list[int], ascii_: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_, indent=indent)
    parser = read(text, cuts)
    assert parser.complete
    assert parser.value == orjson.loads(text)
    assert (parser.start, parser.end) == (0, len(text))


@given(JSON.filter(lambda value: isinstance(value, (dict, list))), st.data())
def test_what_came_is_always_the_beginning_of_the_whole(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    stop = data.draw(st.integers(0, len(text)))
    parser = PartialJSON()
    parser.feed(text[:stop])
    assert is_beginning(parser.value, value, parser.start is None)


def is_beginning(partial: Any, whole: Any, nothing: bool = False) -> bool:
    if nothing:
        return partial is None
    if isinstance(whole, dict):
        keys = list(whole)[: len(partial)]
        return list(partial) == keys and all(is_beginning(partial[key], whole[key]) for key in keys)
    if isinstance(whole, list):
        return len(partial) <= len(whole) and all(map(is_beginning, partial, whole))
    if isinstance(whole, str):
        return isinstance(partial, str) and whole.encode("utf-16", "surrogatepass").startswith(
            partial.encode("utf-16", "surrogatepass")
        )
    return bool(partial == whole)


@given(st.text('{}[]":,\\ut0dD8c1-+.eE \n', max_size=30), sizes)
@example('{"a":1}', [1])
@example("[1,]", [1])
@example("-", [1])
@example("01", [1])
@example('"\\ud83d"', [2])
@example("[1 2]", [1])
def test_any_text_is_read_or_refused_as_pythons_reader_does(text: str, cuts: list[int]) -> None:
    try:
        expected = json.loads(text, parse_int=float)
    except ValueError:
        with contextlib.suppress(PartialJSONError):
            assert not read(text, cuts).complete
    else:
        parser = read(text, cuts)
        assert parser.complete
        assert same(parser.value, expected)


def same(value: Any, expected: Any) -> bool:
    """Whether two values are the same but for halves of surrogate pairs, which are unknown here."""
    return bool(
        json.dumps(value, default=float, ensure_ascii=False).encode("utf-8", "replace")
        == json.dumps(json.loads(json.dumps(as_floats(expected))), ensure_ascii=False).encode("utf-8", "replace")
        or as_floats(mended(value)) == as_floats(mended(expected))
    )


def as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    return float(value) if type(value) is int else value


def mended(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in value)
    if isinstance(value, dict):
        return {mended(key): mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [mended(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("  ", None),
        ("{", {}),
        ('{"a', {}),
        ('{"a"', {}),
        ('{"a":', {}),
        ('{"a": "', {"a": ""}),
        ('{"a": "b', {"a": "b"}),
        ('{"a": "b\\', {"a": "b"}),
        ('{"a": "b\\u00', {"a": "b"}),
        ('{"a": "b\\ud83d', {"a": "b"}),
        ('{"a": "b\\ud83d\\ude0', {"a": "b"}),
        ('{"a": "b\\ud83d\\ude00', {"a": "b\U0001f600"}),
        ('{"a": 1', {}),
        ('{"a": 12,', {"a": 12}),
        ('{"a": tru', {}),
        ('{"a": true ', {"a": True}),
        ('{"a": [', {"a": []}),
        ('{"a": [1', {"a": []}),
        ('{"a": [1,', {"a": [1]}),
        ('{"a": ["x", "y', {"a": ["x", "y"]}),
        ('{"a": 1, "a": "tw', {"a": "tw"}),
        ('{"a": {"b": {"c": null}', {"a": {"b": {"c": None}}}),
        ('"text', "text"),
        ("42", None),
    ],
)
def test_the_value_is_there_as_far_as_it_came(text: str, value: Any) -> None:
    for cuts in ([1], [len(text) or 1]):
        parser = PartialJSON()
        for piece in pieces(text, cuts):
            parser.feed(piece)
        assert parser.value == value


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", None),
        ("{", ()),
        ('{"a', ()),
        ('{"a": ', ()),
        ('{"a": "b', ("a",)),
        ('{"a": "b"', ()),
        ('{"a": [1, 2', ("a", 1)),
        ('{"a": [1, 2,', ("a",)),
        ('{"a": [{"b": t', ("a", 0, "b")),
        ('{"a": [{"b": {}', ("a", 0)),
        ('"a', ()),
        ("{}", None),
    ],
)
def test_the_open_path_leads_to_what_grows(text: str, path: Path | None) -> None:
    parser = PartialJSON()
    parser.feed(text)
    assert parser.open_path == path


def test_everything_beside_the_open_path_is_complete() -> None:
    parser = PartialJSON()
    assert not parser.is_complete(())
    parser.feed('{"a": [1, "tw')
    assert parser.is_complete(("a", 0))
    for path in ((), ("a",), ("a", 1), ("a", 2), ("b",), ("a", 0, "c")):
        assert not parser.is_complete(path)
    parser.feed('o"]}')
    for path in ((), ("a",), ("a", 1)):
        assert parser.is_complete(path)
    assert not parser.is_complete(("b",))


def test_each_finished_part_is_told_the_inner_ones_first() -> None:
    parts: list[tuple[Path, Any]] = []
    parser = PartialJSON(on_part=lambda path, value, problem: parts.append((path, value)))
    for piece in pieces('{"a": [1, "b", {}], "c": {"d": null}}', [3]):
        parser.feed(piece)
    assert parts == [
        (("a", 0), 1),
        (("a", 1), "b"),
        (("a", 2), {}),
        (("a",), [1, "b", {}]),
        (("c", "d"), None),
        (("c",), {"d": None}),
        ((), {"a": [1, "b", {}], "c": {"d": None}}),
    ]


def test_a_number_at_the_root_is_whole_when_the_text_ends() -> None:
    parser = PartialJSON()
    parser.feed(" -1.5e")
    parser.feed("3")
    assert not parser.complete
    parser.close()
    parser.close()
    assert parser.complete
    assert parser.value == -1500.0


def test_a_text_that_ends_within_is_not_complete() -> None:
    for text in ("[1", '"a', "[tru", ""):
        assert not read(text).complete


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", 2.0**64),
        ("1" * 400, float("1" * 400)),
        ("1e999", math.inf),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ("-0", 0),
        ("0.5", 0.5),
        ("1E+2", 100.0),
    ],
)
def test_numbers_are_what_orjson_and_pythons_reader_make_of_them(text: str, value: float) -> None:
    number = read(text, [1]).value
    assert (number, type(number)) == (value, type(value))


def test_nan_is_a_number() -> None:
    assert math.isnan(read("[NaN]", [1]).value[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "neither a number nor a word"),
        ("[truth]", "neither a number nor a word"),
        ("[01]", "neither a number nor a word"),
        ("[-]", "neither a number nor a word"),
        ("[1.]", "neither a number nor a word"),
        ("]", "a value is missing"),
        ("[,]", "a value is missing"),
        ("[1,]", "a value is missing"),
        ('{"a": }', "a value is missing"),
        ("{1: 2}", "a name in quotes is missing"),
        ('{"a": 1,}', "a name in quotes is missing"),
        ('{"a" 1}', "a colon is missing"),
        ("[1 2]", "a comma is missing"),
        ("[1}", "a comma is missing"),
        ('{"a": 1]', "a comma is missing"),
        ('"\\x"', "unknown escape"),
        ('"\\u12g4"', "four digits"),
        ('"a\nb"', "control character"),
        ("{} {}", "more behind the value"),
        ("1 2", "more behind the value"),
    ],
)
def test_what_is_not_json_is_refused_and_stays_refused(text: str, message: str) -> None:
    for cuts in ([1], [len(text)]):
        with pytest.raises(PartialJSONError, match=message) as caught:
            read(text, cuts)
        assert str(caught.value).endswith(f"at character {caught.value.offset}")
        assert caught.value.offset <= len(text)
    parser = PartialJSON()
    with pytest.raises(PartialJSONError) as first:
        read_into(parser, text)
    before = parser.value
    for more in ("x", '"', ""):
        with pytest.raises(PartialJSONError) as later:
            parser.feed(more)
        assert later.value is first.value is parser.failure
    assert parser.value == before
    assert not parser.complete or "more behind" in message


def read_into(parser: PartialJSON, text: str) -> None:
    parser.feed(text)
    parser.close()


def test_a_bad_piece_within_a_string_ends_the_quick_way_too() -> None:
    parser = PartialJSON()
    parser.feed('["abc')
    with pytest.raises(PartialJSONError):
        parser.feed("\x00")
    with pytest.raises(PartialJSONError):
        parser.feed("abc")
    assert parser.value == ["abc"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\ud83d"', "\ufffd"),
        ('"\\ude00"', "\ufffd"),
        ('"\\ud83d\\ud83d\\ude00"', "\ufffd\U0001f600"),
        ('"\\ud83dx"', "\ufffdx"),
        ('"\\ud83d\\n"', "\ufffd\n"),
        ('"\\ud83d\\u0041"', "\ufffdA"),
        ('"\ud83d\ude00"', "\U0001f600"),
        ('"\ud83d\\ude00"', "\U0001f600"),
        ('"\ude00a"', "\ufffda"),
        ('"\\u00e9\\"\\\\\\/\\b\\f\\n\\r\\t"', 'é"\\/\b\f\n\r\t'),
        ('{"\\ud83d\\ude00": "\\ud83d"}', {"\U0001f600": "\ufffd"}),
    ],
)
def test_escapes_and_halves_of_pairs_are_joined_wherever_they_are_cut(text: str, value: Any) -> None:
    for size in range(1, len(text) + 1):
        assert read(text, [size]).value == value


def test_the_deepest_is_as_deep_as_everywhere_and_one_more_is_refused() -> None:
    parser = read("[" * MAX_DEPTH + "]" * MAX_DEPTH, [3])
    assert parser.complete
    with pytest.raises(PartialJSONError, match=f"deeper than {MAX_DEPTH} levels"):
        read("[" * 100_000)
    with pytest.raises(PartialJSONError, match="deeper"):
        read('{"a":' * 100_000, [7])


@pytest.mark.parametrize(
    ("text", "value", "span"),
    [
        ('{"a": 1}', {"a": 1}, '{"a": 1}'),
        ('```json\n{"a": 1}\n```', {"a": 1}, '{"a": 1}'),
        ('Here it is: {"a": "}"} I hope it helps {"b": 2}', {"a": "}"}, '{"a": "}"}'),
        ('\ufeff {"a": 1}', {"a": 1}, '{"a": 1}'),
        ('{}{"a": 1}', {"a": 1}, '{"a": 1}'),
        ('{ } \n {"a": 1}', {"a": 1}, '{"a": 1}'),
        ('{}{}{"a": 1} {"b": 2}', {"a": 1}, '{"a": 1}'),
        ('{} and {"a": 1}', {}, "{}"),
        (' [1, {"a": 1}] ', [1, {"a": 1}], '[1, {"a": 1}]'),
        ('Sure [1]: {"a": 1}', {"a": 1}, '{"a": 1}'),
        ('"{" is {"a": 1}', None, None),
    ],
)
def test_prose_around_an_object_is_passed_over(text: str, value: Any, span: str | None) -> None:
    for size in (1, 2, len(text)):
        parser = PartialJSON(prose=True)
        try:
            for piece in pieces(text, [size]):
                parser.feed(piece)
        except PartialJSONError:
            assert span is None
        else:
            assert parser.complete
            assert parser.value == value
            assert text[parser.start : parser.end] == span


def test_prose_without_an_object_never_begins() -> None:
    parser = read("I cannot do that. ```json", [4], prose=True)
    assert (parser.start, parser.value, parser.complete) == (None, None, False)


def test_the_value_is_alive_and_only_what_grows_changes() -> None:
    parser = PartialJSON()
    parser.feed('{"done": [1, {"x": "y"}], "text": "a')
    value = parser.value
    done, inner = value["done"], value["done"][1]
    parser.feed("b")
    assert parser.value is value
    assert value["done"] is done
    assert done[1] is inner
    assert value["text"] == "ab"


def test_a_text_that_somebody_keeps_does_not_change() -> None:
    parser = PartialJSON()
    parser.feed('["a')
    kept = []
    for _ in range(3):
        parser.feed("b")
        kept.append(parser.value[0])
    assert kept == ["ab", "abb", "abbb"]


def lengthen(size: int, keep: bool) -> float:
    """Return the seconds of CPU that some pieces take that lengthen a text of a size."""
    parser = PartialJSON()
    parser.feed('{"text": "' + "x" * size)
    kept = parser.value["text"] if keep else None
    before = time.process_time()
    for _ in range(100):
        parser.feed("abcd")
        text = parser.value["text"]
        kept = text if keep else None
        del text
    took = time.process_time() - before
    assert len(parser.value["text"]) == size + 400
    assert not keep or kept == parser.value["text"]
    return took


@pytest.mark.skipif(sys.gettrace() is not None, reason="CPython copies where every line is traced, as for coverage")
def test_a_long_text_is_lengthened_where_it_lies() -> None:
    """A copy for each piece is what keeping the text costs, and it costs a hundred times as much."""
    size = 4 * 1024 * 1024
    assert min(lengthen(size, False) for _ in range(3)) < lengthen(size, True) / 5


class Molded:
    """A builder that shows no text before its end, makes lengths of texts, refuses numbers, and lets lists be."""

    def __init__(self, value: Any = None) -> None:
        self.value: Any = value

    def grow(self, key: Any) -> None:
        return None

    def put(self, key: Any, value: Any) -> None:
        if key is None:
            self.value = value
        else:
            self.value[key] = value

    def scalar(self, key: Any, value: Any) -> Any:
        self.put(key, value)
        if isinstance(value, int):
            raise ValueError("no numbers")
        self.put(key, len(value))
        return len(value)

    def open(self, key: Any, items: bool) -> Molded | None:
        if items:
            return None
        builder = Molded({})
        self.put(key, builder.value)
        return builder

    def finished(self) -> Any:
        if 1 in self.value.values():
            raise ValueError("no ones")
        return tuple(self.value.items())


def test_a_builder_decides_what_is_made_of_the_parts() -> None:
    told: list[tuple[Path, Any, str]] = []
    parser = PartialJSON(Molded, on_part=lambda path, value, problem: told.append((path, value, str(problem or ""))))
    parser.feed('{"a": {"b": "long')
    assert parser.value == {"a": {}}
    parser.feed('er"}, "c": 2, "d": ["x", "y"]}')
    assert parser.value == (("a", (("b", 6),)), ("c", 2), ("d", ["x", "y"]))
    assert told == [
        (("a", "b"), 6, ""),
        (("a",), (("b", 6),), ""),
        (("c",), 2, "no numbers"),
        (("d", 0), "x", ""),
        (("d", 1), "y", ""),
        (("d",), ["x", "y"], ""),
        ((), parser.value, ""),
    ]


def test_what_a_builder_refuses_stays_as_it_is() -> None:
    problems: list[str] = []
    parser = PartialJSON(Molded, on_part=lambda path, value, problem: problems.append(str(problem)))
    parser.feed('{"a": {"b": 1}}')
    assert parser.value == (("a", {"b": 1}),)
    assert problems == ["no numbers", "no ones", "None"]


@settings(deadline=None, max_examples=3)
@given(st.sampled_from([1, 4096]))
def test_a_hundred_thousand_names_are_read_in_one_go(size: int) -> None:
    value = {f"name {number}": number for number in range(100_000 if size > 1 else 5_000)}
    assert read(json.dumps(value), [size]).value == value


def outcome(text: str, sizes: list[int], prose: bool) -> tuple[str, bool, str, int | None, int | None]:
    """All that is known of a text at its end, whatever it is."""
    parser = PartialJSON(prose=prose)
    try:
        for piece in pieces(text, sizes):
            parser.feed(piece)
            _ = parser.value, parser.open_path
        parser.close()
    except PartialJSONError:
        assert parser.failure is not None
    told = "" if parser.failure is None else parser.failure.message
    return repr(parser.value), parser.complete, told, parser.start, parser.end


@given(st.text('{}[]":,\\ut0dD8c1-+.eEN \n\ud83d\ude00', max_size=40), sizes, st.booleans())
@settings(max_examples=300)
def test_no_cutting_changes_what_is_made_of_any_text(text: str, cuts: list[int], prose: bool) -> None:
    whole = outcome(text, [len(text) or 1], prose)
    assert outcome(text, cuts, prose) == whole
    assert outcome(text, [1], prose) == whole
