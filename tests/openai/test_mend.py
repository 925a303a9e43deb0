"""What other clients get of bent chunks: as they add them up, by ``index`` and by joining texts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk as TheirChunk

from cometstream.answer.sse import Comment, Event
from cometstream.openai.mend import ChunkMender, event_bytes, mended_completion
from cometstream.views.chunks import ChatCompletionChunk

TOP: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: Any = None, finish_reason: Any = None, **choice: Any) -> dict[str, Any]:
    return {**TOP, "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason, **choice}]}


def calls(*fragments: dict[str, Any]) -> dict[str, Any]:
    return chunk({"tool_calls": list(fragments)})


def call(arguments: Any = None, *, index: Any = 0, id_: Any = None, name: Any = None) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    fragment = {
        "index": index,
        "id": id_,
        "function": {key: value for key, value in function.items() if value is not None},
    }
    return {key: value for key, value in fragment.items() if value is not None}


def mended(*raws: dict[str, Any]) -> list[dict[str, Any]]:
    mender = ChunkMender("asked-for")
    written = [mender.write(Event(orjson.dumps(raw)), ChatCompletionChunk(raw)) for raw in raws]
    return [orjson.loads(each.removeprefix(b"data: ")) for each in written]


def added_up(*raws: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What a loop makes of the calls that joins by index, as everyone writes it."""
    found: dict[int, list[str]] = {}
    for each in mended(*raws):
        for choice in each["choices"]:
            for fragment in choice["delta"].get("tool_calls") or ():
                made = found.setdefault(fragment["index"], ["", "", ""])
                function = fragment.get("function") or {}
                for place, text in enumerate((fragment.get("id"), function.get("name"), function.get("arguments"))):
                    made[place] += text or ""
    return [(id_, name, arguments) for id_, name, arguments in found.values()]


END = chunk(finish_reason="tool_calls")

BENT = {
    "as documented": [calls(call("", id_="a", name="f")), calls(call('{"x":')), calls(call("1}")), END],
    "no index": [calls(call("", id_="a", name="f", index=None)), calls(call('{"x":1}', index=None)), END],
    "id in every fragment": [calls(call("", id_="a", name="f")), calls(call('{"x":1}', id_="a")), END],
    "id and name in every fragment": [
        calls(call('{"x":', id_="a", name="f")),
        calls(call("1}", id_="a", name="f")),
        END,
    ],
    "another id for every fragment": [calls(call('{"x":', id_="a", name="f")), calls(call("1}", id_="b")), END],
    "id late": [calls(call('{"x":', name="f")), calls(call("1}", id_="a")), END],
    "an object": [calls(call({"x": 1}, id_="a", name="f")), END],
    "a placeholder first": [calls(call("{}", id_="a", name="f")), calls(call('{"x":')), calls(call("1}")), END],
    "said twice": [calls(call('{"x":', id_="a", name="f")), calls(call("1}")), calls(call('{"x":1}')), END],
    "beside the end": [{**chunk({"tool_calls": [call('{"x":1}', id_="a", name="f")]}, "tool_calls")}],
    "a name in pieces": [calls(call("", id_="a", name="f")), calls(call('{"x":1}')), END],
}


@pytest.mark.parametrize("shape", BENT)
def test_a_call_is_added_up_to_what_the_model_meant(shape: str) -> None:
    assert added_up(*BENT[shape]) == [("a", "f", '{"x":1}')]


@pytest.mark.parametrize("shape", BENT)
def test_openais_own_helper_adds_it_up(shape: str) -> None:
    state: Any = ChatCompletionStreamState()
    for raw in mended(*BENT[shape]):
        state.handle_chunk(TheirChunk.model_validate(raw))
    (made,) = state.get_final_completion().choices[0].message.tool_calls
    assert (made.id, made.function.name, made.function.arguments) == ("a", "f", '{"x":1}')


def test_two_calls_under_one_index_become_two() -> None:
    raws = [calls(call('{"x":1}', id_="a", name="f")), calls(call('{"y":2}', id_="b", name="g")), END]
    assert added_up(*raws) == [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]


def test_a_call_without_arguments_keeps_its_empty_object() -> None:
    assert added_up(calls(call("{}", id_="a", name="f")), END) == [("a", "f", "{}")]


def test_a_call_without_an_id_gets_one_at_its_end() -> None:
    assert added_up(calls(call('{"x":1}', name="f")), END) == [("call_c1_0_0", "f", '{"x":1}')]


def test_a_custom_tools_call_keeps_its_input() -> None:
    custom = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}
    made = mended(calls(custom), END)
    assert made == [calls(custom), END]


CLEAN: list[dict[str, Any]] = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a"}),
    chunk({"content": None, "refusal": "no"}),
    chunk({"reasoning_content": "hm"}),
    {**TOP, "choices": [], "usage": {"total_tokens": 1}},
    chunk(finish_reason="stop"),
]


@pytest.mark.parametrize("raws", [CLEAN, [{**each, "provider": "x"} for each in CLEAN], BENT["as documented"][:2]])
def test_what_is_not_bent_keeps_its_bytes(raws: list[dict[str, Any]]) -> None:
    mender = ChunkMender("m")
    for raw in raws:
        raw = {**raw, "choices": [*raw["choices"]]}
        for choice in raw["choices"]:
            for fragment in choice["delta"].get("tool_calls", ())[:1]:
                fragment.setdefault("type", "function") if "id" in fragment else None
        data = orjson.dumps(raw, option=orjson.OPT_INDENT_2).replace(b"\n", b" ")
        assert mender.write(Event(data), ChatCompletionChunk(raw)) == b"data: " + data + b"\n\n"


@pytest.mark.parametrize(
    ("bent", "wanted"),
    [
        ({"choices": None}, {**TOP, "id": "", "created": 0, "model": "asked-for", "choices": []}),
        (
            {**TOP, "choices": [{"delta": None, "finishReason": "stop"}]},
            {**TOP, "choices": [{"delta": {}, "index": 0, "finish_reason": "stop"}]},
        ),
        (chunk({"content": "a"}, ""), chunk({"content": "a"})),
        (chunk({"content": "a"}, "null"), chunk({"content": "a"})),
        (
            chunk({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]}),
            chunk({"content": "a", "reasoning_content": "hm"}),
        ),
        (chunk({"tool_calls": "none"}), chunk({})),
        (chunk(finish_reason="tool_calls"), chunk(finish_reason="stop")),
        (
            {**TOP, "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": None}]},
            {**TOP, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]},
        ),
    ],
)
def test_a_bent_chunk_reads_as_documented(bent: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert mended(bent) == [wanted]


def test_labels_that_are_missing_are_those_of_the_chunks_before() -> None:
    first, second = mended(chunk({"content": "a"}), {"choices": chunk({"content": "b"})["choices"]})
    assert second == {**first, "choices": chunk({"content": "b"})["choices"]}


def test_events_and_comments_are_written_as_they_came() -> None:
    mender = ChunkMender("m")
    assert event_bytes(Comment(b" ping")) == mender.write(Comment(b" ping"), None) == b": ping\n\n"
    assert event_bytes(Event(b"a\nb")) == b"data: a\ndata: b\n\n"


MESSAGE: dict[str, Any] = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("bent", "wanted"),
    [
        (
            {"index": "0", "message": {**MESSAGE, "content": [{"type": "text", "text": "a"}]}, "finish_reason": "stop"},
            {"index": 0, "message": MESSAGE, "finish_reason": "stop"},
        ),
        (
            {"index": 0, "message": MESSAGE, "finish_reason": "tool_calls"},
            {"index": 0, "message": MESSAGE, "finish_reason": "stop"},
        ),
        (
            {"index": 0, "message": MESSAGE, "finish_reason": ""},
            {"index": 0, "message": MESSAGE, "finish_reason": None},
        ),
        (
            {"index": 0, "message": {"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}, {"id": "b"}]}},
            {
                "index": 0,
                "message": {
                    "tool_calls": [
                        {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                        {"id": "b", "type": "function"},
                    ]
                },
            },
        ),
    ],
)
def test_a_bent_completion_reads_as_documented(bent: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert mended_completion({"id": "c", "choices": [bent]}) == {"id": "c", "choices": [wanted]}
    assert mended_completion({"id": "c", "choices": [wanted]}) == {"id": "c", "choices": [wanted]}
