"""Prompts and answers are told where the conventions' own switch says so, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the SDK of OpenTelemetry")

from support import virtual_clock
from support.serving import CHAT, KEY, ask, serving
from support.telemetry import Recorded

from cometstream import CometError, CometSession
from cometstream.testing import DONE, Reply, chunk

SWITCH, EVENTS = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"
DETAILS = "gen_ai.client.inference.operation.details"
PROMPT = CHAT["messages"][0]["content"]
ASKED = [{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}]
ANSWERED = [{"role": "assistant", "parts": [{"type": "text", "content": "Hello"}], "finish_reason": "stop"}]


def told(*replies: Reply, **call: Any) -> Recorded:
    async def main() -> Recorded:
        recorded = Recorded()
        async with serving(*replies, retry=None) as (_, session):
            recorded.instrument(session)
            try:
                await ask(session, **call)
            except CometError:
                pass
        return recorded

    return virtual_clock.run(main())


def plain(value: Any) -> Any:
    """The SDK keeps lists as tuples."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return {name: plain(item) for name, item in value.items()} if hasattr(value, "items") else value


def test_without_the_switch_neither_prompt_nor_answer_is_told() -> None:
    recorded = told(Reply.text("an answer"))
    said = recorded.chat.to_json() + repr(recorded.events) + repr(recorded.metrics)
    assert PROMPT not in said
    assert "an answer" not in said
    assert not recorded.events


@pytest.mark.parametrize(
    ("mode", "on_span", "on_event"),
    [
        ("no_content", False, None),
        ("SPAN_ONLY", True, None),
        ("event_only", False, True),
        (" span_and_event ", True, True),
    ],
)
def test_each_mode_tells_where_it_says(
    mode: str, on_span: bool, on_event: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, mode)
    recorded = told(Reply.text("Hello"))
    if on_span:
        assert json.loads(recorded.about["gen_ai.input.messages"]) == ASKED
        assert json.loads(recorded.about["gen_ai.output.messages"]) == ANSWERED
    else:
        assert PROMPT not in recorded.chat.to_json()
    if on_event is None:
        assert not recorded.events
    else:
        ((name, about),) = recorded.events
        assert name == DETAILS
        assert plain(about["gen_ai.input.messages"]) == ASKED
        assert plain(about["gen_ai.output.messages"]) == ANSWERED
        assert about["gen_ai.response.finish_reasons"] == ("stop",)


def test_events_have_a_switch_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EVENTS, "true")
    ((name, about),) = told(Reply.text("Hello")).events
    assert (name, about["cometstream.outcome"]) == (DETAILS, "complete")
    assert "gen_ai.input.messages" not in about
    monkeypatch.setenv(SWITCH, "SPAN_AND_EVENT")
    monkeypatch.setenv(EVENTS, "False")
    assert not told(Reply.text("Hello")).events


def test_an_event_belongs_to_the_calls_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EVENTS, "true")
    recorded = told(Reply.sse(chunk({"content": "Hi"})).cut())
    ((_, about),) = recorded.events
    assert about["error.type"] == "StreamTruncatedError"
    assert recorded.chat.context is not None
    assert [log.log_record.span_id for log in recorded.logs] == [recorded.chat.context.span_id]


def test_every_kind_of_message_is_written_as_the_conventions_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "SPAN_ONLY")
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city":"Rome"}'}}
    custom = {"id": "c2", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    broken = {"id": "c3", "type": "function", "function": {"name": "look", "arguments": "{"}}
    messages = [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "name": "jane",
            "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f1"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [call, custom, broken], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": "fine"},
        {"role": "tool", "tool_call_id": "c2", "content": "1"},
        {"role": "tool", "tool_call_id": "c3", "content": "no"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "user", "content": [{"type": "new"}]},
    ]
    tools = [{"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}]
    recorded = told(Reply.text("Hello"), extra_body={"messages": messages, "tools": tools})
    assert json.loads(recorded.about["gen_ai.tool.definitions"]) == [{"type": "function", "name": "look"}]
    assert json.loads(recorded.about["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "what is this?"},
                {"type": "uri", "modality": "image", "uri": "https://example.org/a.png"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": ""},
                {"type": "blob", "modality": "audio", "mime_type": None, "content": ""},
                {"type": "file", "modality": "document", "file_id": "f1"},
            ],
            "name": "jane",
        },
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"city": "Rome"}},
                {"type": "tool_call", "id": "c2", "name": "sql", "arguments": "select 1"},
                {"type": "tool_call", "id": "c3", "name": "look", "arguments": "{"},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "fine"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c2", "response": "1"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c3", "response": "no"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "no"}]},
        {"role": "user", "parts": [{"type": "new"}]},
    ]


def test_what_came_of_a_cut_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "SPAN_ONLY")
    recorded = told(Reply.sse(chunk({"content": "Hel"})).cut())
    parts = [{"type": "text", "content": "Hel"}]
    assert json.loads(recorded.about["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": parts, "finish_reason": "error"}
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","stream":true}',
        b'{"model":5,"stream":true,"messages":"hi","tools":5}',
        b'{"stream":true,"messages":[5,{"role":5,"content":7,"tool_calls":[{"function":5}]}],"tools":[{"type":5}]}',
        b'{"stream":true,"messages":[{"role":"user","content":NaN}]}',
        b'{"stream":true,"messages":[{"content":[{"type":"image_url","image_url":5},{"type":[]}]}],"tools":[{}]}',
    ],
)
async def test_any_request_is_told_of(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "SPAN_AND_EVENT")
    recorded = Recorded()
    async with serving(Reply.sse(chunk({"content": KEY}, finish_reason="stop"), DONE)) as (_, session):
        assert isinstance(session, CometSession)
        recorded.instrument(session)
        async with session.forward(body) as stream:
            await stream.until_done()
    assert recorded.about["cometstream.outcome"] == "complete"
    assert len(recorded.events) == 1
    assert KEY not in recorded.chat.to_json() + repr(recorded.events)
