"""What has ``model_dump()`` stands in a request as what it dumps."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from cometstream import InvalidRequestError
from cometstream.request.chat import chat_request


class Function(BaseModel):
    name: Any
    description: str | None = None


class Tool(BaseModel):
    type: str = "function"
    function: Function


class Message(BaseModel):
    role: str
    content: Any = None


def sent(**params: Any) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(chat_request({"model": "m", **params}).payload)
    return body


def test_messages_tools_and_what_lies_deeper_are_taken() -> None:
    class Part(BaseModel):
        type: str = "text"
        text: str

    body = sent(
        messages=[Message(role="user", content="hi"), {"role": "user", "content": [Part(text="a")]}],
        tools=[Tool(function=Function(name="f")), {"type": "function", "function": Function(name="g")}],
    )
    assert body["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
    ]
    assert body["tools"] == [
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": {"name": "g"}},
    ]


def test_an_answer_without_content_gets_an_empty_one() -> None:
    assert sent(messages=[Message(role="assistant")])["messages"] == [{"role": "assistant", "content": ""}]


def test_a_problem_inside_is_named_by_its_path() -> None:
    with pytest.raises(InvalidRequestError, match=r"tools\[0\]\.function\.name: is 3"):
        sent(messages=[Message(role="user", content="hi")], tools=[Tool(function=Function(name=3))])


def test_a_number_that_json_has_not_is_found_inside() -> None:
    with pytest.raises(InvalidRequestError, match=r"metadata"):
        chat_request(
            {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
            extra_body={"metadata": Odd(), "none": None},
        )


class Odd:
    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"x": float("nan")}


def test_the_class_of_a_model_is_no_object() -> None:
    with pytest.raises(InvalidRequestError, match="response_format: is of type"):
        sent(messages=[Message(role="user", content="hi")], response_format=Message)
