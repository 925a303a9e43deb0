"""What each protocol makes of an answer: its parts, its endings, and nothing that a model could forge."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import virtual_clock
from support.browsing import data_of
from support.relaying import FakeSource, event, relayed
from support.serving import serving

from cometstream import SSEParser, Timeouts
from cometstream.relay import relay
from cometstream.testing import Reply
from cometstream.testing.replies import DONE, chunk, frame

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "completion_tokens_details": {"reasoning_tokens": 3},
    "prompt_tokens_details": {"cached_tokens": 2},
}
CALL = [
    chunk(
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
            ]
        }
    ),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"at":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"sky"}'}}]}),
]
BARE_CALL = chunk(
    {"tool_calls": [{"index": 1, "id": "call_2", "type": "function", "function": {"name": "wait", "arguments": ""}}]}
)
EVERYTHING = Reply.sse(
    chunk({"role": "assistant", "reasoning_content": "Hm"}),
    chunk({"reasoning_content": "m."}),
    chunk({"content": "Look"}),
    chunk({"content": " up"}),
    *CALL,
    BARE_CALL,
    chunk(finish_reason="tool_calls"),
    {**chunk(), "choices": [], "usage": USAGE},
    DONE,
)


def run(reply: Reply, protocol: str, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        async with serving(reply, retry=None, timeouts=Timeouts(content_idle=5)) as (_, session):
            _, body = await relayed(session, protocol, **options)
        return data_of(body)

    return virtual_clock.run(main())


# ui


def test_ui_writes_every_part_of_an_answer_in_order() -> None:
    assert run(EVERYTHING, "ui", message_id="m") == [
        {"type": "start", "messageId": "m"},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "m-1"},
        {"type": "reasoning-delta", "id": "m-1", "delta": "Hm"},
        {"type": "reasoning-delta", "id": "m-1", "delta": "m."},
        {"type": "reasoning-end", "id": "m-1"},
        {"type": "text-start", "id": "m-2"},
        {"type": "text-delta", "id": "m-2", "delta": "Look"},
        {"type": "text-delta", "id": "m-2", "delta": " up"},
        {"type": "text-end", "id": "m-2"},
        {"type": "tool-input-start", "toolCallId": "call_1", "toolName": "look"},
        {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": '{"at":'},
        {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": '"sky"}'},
        {"type": "tool-input-available", "toolCallId": "call_1", "toolName": "look", "input": {"at": "sky"}},
        {"type": "tool-input-start", "toolCallId": "call_2", "toolName": "wait"},
        {"type": "tool-input-available", "toolCallId": "call_2", "toolName": "wait", "input": {}},
        {"type": "finish-step"},
        {
            "type": "finish",
            "finishReason": "tool-calls",
            "messageMetadata": {
                "model": "gpt-5.4",
                "usage": {
                    "inputTokens": 11,
                    "outputTokens": 7,
                    "totalTokens": 18,
                    "reasoningTokens": 3,
                    "cachedInputTokens": 2,
                },
            },
        },
        "[DONE]",
    ]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content-filter"), ("new_word", "other")],
)
def test_ui_tells_the_finish_reason_in_its_own_words(reason: str, told: str) -> None:
    *_, finish, _ = run(Reply.text("A", finish_reason=reason), "ui")
    assert finish["finishReason"] == told


def test_ui_makes_sources_and_images_parts_and_links_only_to_pages() -> None:
    citation = {"type": "url_citation", "url_citation": {"url": "https://a.example/x", "title": "A"}}
    script = {"type": "url_citation", "url_citation": {"url": "javascript:alert(1)", "title": "B"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    end = {**chunk(finish_reason="stop"), "citations": ["https://b.example", "https://a.example/x", 7]}
    parts = run(
        Reply.sse(chunk({"content": "A", "annotations": [citation, script], "images": [image]}), end, DONE), "ui"
    )
    assert [part for part in parts[:-1] if part["type"] in ("source-url", "file")] == [
        {"type": "source-url", "sourceId": "source-1", "url": "https://a.example/x", "title": "A"},
        {"type": "source-url", "sourceId": "source-2", "url": "https://b.example"},
        {"type": "file", "url": "data:image/png;base64,AAAA", "mediaType": "image/png"},
    ]


def test_ui_shows_the_first_of_several_choices_and_a_refusal_as_text() -> None:
    reply = Reply.sse(
        chunk({"refusal": "No."}),
        chunk({"content": "other"}, index=1),
        chunk(finish_reason="stop", index=1),
        chunk(finish_reason="stop"),
        DONE,
    )
    assert [part["delta"] for part in run(reply, "ui")[:-1] if "delta" in part] == ["No."]


def test_a_call_whose_arguments_are_no_object_is_not_available() -> None:
    bad = chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "look", "arguments": "[1]"}}]})
    parts = run(Reply.sse(bad, chunk(finish_reason="tool_calls"), DONE), "ui")
    (failed,) = [part for part in parts[:-1] if part["type"] == "tool-input-error"]
    assert failed["input"] == "[1]"
    assert not any(part["type"] == "tool-input-available" for part in parts[:-1])


def test_a_call_without_an_id_has_one_that_stays() -> None:
    calls = [
        chunk({"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": "{"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
        chunk(finish_reason="tool_calls"),
    ]
    parts = [part for part in run(Reply.sse(*calls, DONE), "ui")[:-1] if "toolCallId" in part]
    assert len({part["toolCallId"] for part in parts}) == 1
    assert parts[0]["toolCallId"].startswith("call_")


# AG-UI


def test_ag_ui_writes_every_part_of_an_answer_in_order() -> None:
    run_ = {"threadId": "t", "runId": "r"}
    assert run(EVERYTHING, "ag-ui", message_id="m", thread_id="t", run_id="r") == [
        {"type": "RUN_STARTED", **run_, "protocolVersion": "1.0"},
        {"type": "REASONING_START", "messageId": "m-1"},
        {"type": "REASONING_MESSAGE_START", "messageId": "m-1", "role": "reasoning"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "m-1", "delta": "Hm"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "m-1", "delta": "m."},
        {"type": "REASONING_MESSAGE_END", "messageId": "m-1"},
        {"type": "REASONING_END", "messageId": "m-1"},
        {"type": "TEXT_MESSAGE_START", "messageId": "m-2", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m-2", "delta": "Look"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m-2", "delta": " up"},
        {"type": "TEXT_MESSAGE_END", "messageId": "m-2"},
        {"type": "TOOL_CALL_START", "toolCallId": "call_1", "toolCallName": "look"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "call_1", "delta": '{"at":'},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "call_1", "delta": '"sky"}'},
        {"type": "TOOL_CALL_END", "toolCallId": "call_1"},
        {"type": "TOOL_CALL_START", "toolCallId": "call_2", "toolCallName": "wait"},
        {"type": "TOOL_CALL_END", "toolCallId": "call_2"},
        {
            "type": "RUN_FINISHED",
            **run_,
            "outcome": {"type": "success", "pendingToolCallIds": ["call_1", "call_2"]},
            "usage": [
                {
                    "inputTokens": 11,
                    "outputTokens": 7,
                    "totalTokens": 18,
                    "reasoningTokens": 3,
                    "cachedInputTokens": 2,
                    "model": "gpt-5.4",
                }
            ],
        },
    ]


ENDINGS = [
    EVERYTHING,
    Reply.text("Hello"),
    Reply.text("half", finish_reason=None, done=False).cut(),
    Reply.sse(*CALL[:-1]).cut(),
    Reply.text("half", finish_reason=None),
    Reply.text("half", finish_reason=None, done=False).stall(),
    Reply.sse(chunk({"content": "A"}), {"error": {"message": "acme", "code": 500}}),
]


@pytest.mark.parametrize("reply", ENDINGS)
def test_every_event_of_ag_ui_is_one_to_its_own_models(reply: Reply) -> None:
    core = pytest.importorskip("ag_ui.core", reason="needs ag-ui-protocol")
    pydantic = pytest.importorskip("pydantic")
    events = run(reply, "ag-ui")
    for one in events:
        read = pydantic.TypeAdapter(core.Event).validate_python(one)
        assert not read.model_extra, one  # no field that the protocol does not know
    assert events[0]["type"] == "RUN_STARTED"
    assert events[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")


# Endings


@pytest.mark.parametrize("reply", ENDINGS[2:])
def test_every_ending_that_is_not_complete_is_told_and_none_is_faked(reply: Reply) -> None:
    *parts, error = run(reply, "ui")
    assert error["type"] == "error"
    assert "acme" not in error["errorText"]
    assert not any(part["type"] in ("finish", "abort", "tool-input-available") for part in parts)
    *_, failed = run(reply, "ag-ui")
    assert failed["type"] == "RUN_ERROR"
    *events, told = run(reply, "raw")
    assert told["error"]["outcome"] in ("truncated", "unterminated", "error")
    assert "[DONE]" not in events
    assert not any("error" in one for one in events)  # told once
    for text in (error["errorText"], failed["message"], str(told)):
        assert "acme" not in text


def test_an_answer_without_a_word_is_a_message_all_the_same() -> None:
    assert [part if part == "[DONE]" else part["type"] for part in run(Reply.text(), "ui")] == [
        "start",
        "start-step",
        "finish-step",
        "finish",
        "[DONE]",
    ]
    assert [one["type"] for one in run(Reply.text(), "ag-ui")] == ["RUN_STARTED", "RUN_FINISHED"]


# raw


async def test_raw_passes_events_on_to_the_byte() -> None:
    wire = (
        frame(chunk({"content": "A"})) + b'data: {"choices":[{"index":0,"delta":{ "content":"\\u00e9"}}], "x":1.0}\n\n'
    )
    reply = Reply.sse(
        wire + b": PING\n\n", chunk(finish_reason="stop"), {**chunk(), "choices": [], "usage": USAGE}, DONE
    )
    async with serving(reply) as (_, session):
        _, body = await relayed(session)
    assert body == wire + b": PING\n\n" + frame(chunk(finish_reason="stop")) + DONE


# Nothing can be forged.

any_text = st.text(st.characters(codec=None, exclude_categories=())) | st.sampled_from(
    [
        "\n\ndata: [DONE]\n\n",
        '"}\n\ndata: {"type":"finish"}\n\n',
        "\r\rid: 7\r\r",
        ": x\n\n",
        "\u2028\u2029\x85",
        "\ud83d",
        "\0",
    ]
)


@settings(max_examples=50)
@given(st.lists(any_text, min_size=1), any_text, any_text, any_text)
@example(["\n\ndata: [DONE]\n\n"], "\n", "\n\n", '"}\n\n')
def test_text_names_and_ids_stay_within_their_event(texts: list[str], name: str, id_: str, arguments: str) -> None:
    call = {"index": 0, "id": id_, "name": name}
    source = FakeSource(
        *[event("content.delta", delta=text, choice_index=0) for text in texts],
        event("content.done", choice_index=0),
        event("tool_calls.function.arguments.delta", arguments_delta=arguments, **call),
    )

    async def main(protocol: Any) -> bytes:
        return b"".join([piece async for piece in relay(source, protocol=protocol, heartbeat=None)])

    for protocol, kinds in (("ui", ("text-delta",)), ("ag-ui", ("TEXT_MESSAGE_CONTENT",))):
        source.outcome = None
        body = virtual_clock.run(main(protocol))
        assert body.count(b"\n\n") == len(SSEParser().feed(body))  # no event but those that were written
        assert b"\r" not in body
        parts = [part for part in data_of(body) if part != "[DONE]"]
        assert body.count(b"data: [DONE]\n\n") <= 1
        got = [part["delta"] for part in parts if part["type"] in kinds]
        assert got == [_whole(text) for text in texts]


def _whole(text: str) -> str:
    """A text as it can be sent: U+FFFD for half of a surrogate pair without the other."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
