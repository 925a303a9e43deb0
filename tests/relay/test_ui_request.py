"""The way back: what a chat UI posts, made messages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.odd_values import only_ours

from cometstream import CometSession, InvalidRequestError
from cometstream.relay import Approval, ui_request

PNG = "data:image/png;base64,iVBORw0KGgo="


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"id": "chat", "messages": list(messages), "trigger": "submit-message", **more}


def user(*parts: Any) -> dict[str, Any]:
    return {
        "id": "u",
        "role": "user",
        "parts": [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts],
    }


def assistant(*parts: Any) -> dict[str, Any]:
    return {**user(*parts), "role": "assistant"}


def call(state: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool-look", "toolCallId": "c1", "state": state, "input": {"at": "sky"}, **more}


UNASKED = {"toolCallId": "c3", "input": None}
SENT = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}}


def test_texts_and_files_of_a_user() -> None:
    request = ui_request(
        body(
            user("Hello"),
            user(
                "See",
                {"type": "file", "mediaType": "image/png", "url": PNG},
                {"type": "file", "mediaType": "image/jpeg", "url": "https://x.example/a.jpg"},
                {"type": "file", "mediaType": "text/plain", "filename": "a.txt", "url": "data:text/plain,1%202"},
                {"type": "file", "mediaType": "audio/mpeg", "url": "data:audio/mpeg;base64,AAAA"},
                {
                    "type": "file",
                    "mediaType": "application/pdf",
                    "filename": "a.pdf",
                    "url": "data:application/pdf;base64,AAAA",
                },
                {"type": "data-mine", "data": 1},
            ),
            messageId="m",
            trigger="regenerate-message",
        )
    )
    assert (request.id, request.trigger, request.message_id, request.approvals) == (
        "chat",
        "regenerate-message",
        "m",
        (),
    )
    assert request.messages == [
        {"role": "user", "content": "Hello"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": PNG}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.jpg"}},
                {"type": "text", "text": "a.txt:\n1 2"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            ],
        },
    ]


def test_steps_of_an_assistant_with_calls_and_their_results() -> None:
    request = ui_request(
        body(
            user("Look"),
            assistant(
                {"type": "step-start"},
                {"type": "reasoning", "text": "Hm", "state": "done"},
                "I look.",
                call("output-available", output={"stars": 3}),
                {**call("output-error", errorText="too dark"), "toolCallId": "c2"},
                {
                    "type": "dynamic-tool",
                    "toolName": "other",
                    "toolCallId": "c3",
                    "state": "output-available",
                    "input": None,
                    "output": "x",
                },
                {"type": "step-start"},
                "Three stars.",
                {"type": "source-url", "sourceId": "s", "url": "https://x.example"},
            ),
            user("Thanks"),
        )
    )
    assert request.messages == [
        {"role": "user", "content": "Look"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                SENT,
                {**SENT, "id": "c2"},
                {"id": "c3", "type": "function", "function": {"name": "other", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"stars":3}'},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: too dark"},
        {"role": "tool", "tool_call_id": "c3", "content": "x"},
        {"role": "assistant", "content": "Three stars."},
        {"role": "user", "content": "Thanks"},
    ]


@pytest.mark.parametrize("state", ["input-streaming", "input-available", "approval-requested", "of tomorrow"])
def test_calls_without_a_result_are_left_out(state: str) -> None:
    request = ui_request(body(user("Look"), assistant("Let me", call(state)), user("Never mind")))
    assert request.messages[1] == {"role": "assistant", "content": "Let me"}
    assert len(request.messages) == 3


def test_a_call_that_was_approved_waits_for_its_result() -> None:
    answer = call("approval-responded", approval={"id": "a1", "approved": True})
    request = ui_request(body(user("Look"), assistant("Let me", answer)))
    assert request.messages[1:] == [{"role": "assistant", "content": "Let me", "tool_calls": [SENT]}]
    assert request.approvals == (Approval("a1", "c1", "look", {"at": "sky"}, True, None),)
    # Where the user went on, nobody will run it any more.
    request = ui_request(body(user("Look"), assistant("Let me", answer), user("Well?")))
    assert request.messages[1] == {"role": "assistant", "content": "Let me"}
    assert request.approvals == ()


def test_a_call_that_was_denied_has_a_result_that_says_so() -> None:
    answer = call("approval-responded", approval={"id": "a1", "approved": False, "reason": "Too late."})
    request = ui_request(body(user("Look"), assistant(answer)))
    assert request.messages[1:] == [
        {"role": "assistant", "content": None, "tool_calls": [SENT]},
        {"role": "tool", "tool_call_id": "c1", "content": "The user did not allow this call. Too late."},
    ]
    assert [approval.approved for approval in request.approvals] == [False]
    denied = call("output-denied", approval={"id": "a1", "approved": False})
    request = ui_request(body(user("Look"), assistant(denied), user("Well?")))
    assert request.messages[2]["content"] == "The user did not allow this call."


def test_every_problem_of_a_body_is_listed() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ui_request(
            body(
                {"role": "system", "parts": []},
                7,
                {"role": "user"},
                user(),
                user({"text": "x"}, {"type": "text", "text": 1}),
                user("x", {"type": "file", "mediaType": "image/png", "url": "file:///etc/passwd"}),
                user("x", {"type": "file", "mediaType": "application/pdf", "url": "http://10.0.0.1/a.pdf"}),
                user("x", {"type": "file", "mediaType": "audio/wav", "url": "data:audio/wav;base64,!"}),
                assistant(call("approval-responded", approval={"id": "a"})),
                id=5,
            )
        )
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "messages[0].role",
        "messages[1]",
        "messages[2].parts",
        "messages[3].parts",
        "messages[4].parts[0]",
        "messages[4].parts[1].text",
        "messages[5].parts[1].url",
        "messages[6].parts[1].url",
        "messages[7].parts[1].url",
        "messages[8].parts[0].approval",
        "id",
    ]
    for odd in (None, [], "x", {}, {"messages": []}, {"messages": 1}):
        with pytest.raises(InvalidRequestError):
            ui_request(odd)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "file", "tool-x", "dynamic-tool", "step-start", "reasoning"]) | json_values},
    optional={
        "text": st.text(max_size=5) | json_values,
        "state": st.sampled_from(["output-available", "approval-responded", "output-error"]) | json_values,
        **dict.fromkeys(
            ("url", "mediaType", "filename", "toolCallId", "toolName", "input", "output", "approval"), json_values
        ),
    },
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]) | json_values, "parts": st.lists(parts, max_size=4) | json_values}
)


@given(st.fixed_dictionaries({"messages": st.lists(messages | json_values, max_size=3)}, optional={"id": json_values}))
def test_whatever_a_browser_posts_is_refused_or_makes_a_request_that_can_be_sent(posted: Any) -> None:
    with only_ours():
        request = ui_request(posted)
        if request.messages:
            CometSession(api_key="k").stream(model="gpt-5.4", messages=request.messages)
