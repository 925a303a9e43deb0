"""Views and pydantic know each other."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError

from cometstream import ChatCompletion, ChatCompletionChunk, CompletionUsage

RAW: dict[str, Any] = {
    "id": "c1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.5},
    "provider": "of its own",
}


class Saved(BaseModel):
    prompt: str
    answer: ChatCompletion
    usage: CompletionUsage | None = None


def test_a_view_is_a_field_of_a_model_and_comes_back_from_json() -> None:
    saved = Saved(prompt="p", answer=ChatCompletion(RAW), usage=CompletionUsage(RAW["usage"]))
    assert saved.model_dump()["answer"] == RAW
    again = Saved.model_validate_json(saved.model_dump_json())
    assert again.answer.content == "hi"
    assert again.answer.provider == "of its own"
    assert again == saved
    assert Saved.model_validate({"prompt": "p", "answer": RAW}).answer == saved.answer
    assert Saved.model_json_schema()["properties"]["answer"] == {"title": "ChatCompletion", "type": "object"}


def test_what_is_no_object_is_no_view() -> None:
    with pytest.raises(ValidationError, match="ChatCompletion needs a dict"):
        Saved.model_validate({"prompt": "p", "answer": 3})


def test_a_view_is_made_as_a_model_is() -> None:
    completion = ChatCompletion.model_validate(RAW)
    assert completion.content == "hi"
    assert ChatCompletion.model_validate(completion) is completion
    assert ChatCompletionChunk.model_validate(completion).to_dict() == RAW
    assert dict(completion) == RAW


def test_a_change_in_place_is_refused_with_the_way_out() -> None:
    message: Any = ChatCompletion(RAW).message
    with pytest.raises(AttributeError, match=r"ChatCompletionMessage is read-only: .*to_dict.*CometTransport"):
        message.content = "edited"


async def test_endpoints_return_views_with_and_without_saying_so() -> None:
    app = FastAPI()

    @app.get("/whole")
    async def whole() -> Any:
        return ChatCompletion(RAW)

    @app.get("/inside")
    async def inside() -> Any:
        return {"usage": ChatCompletion(RAW).usage}

    async def typed() -> Any:
        return ChatCompletion(RAW)

    app.get("/typed", response_model=ChatCompletion)(typed)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as browser:
        assert (await browser.get("/whole")).json() == (await browser.get("/typed")).json() == RAW
        assert (await browser.get("/inside")).json() == {"usage": RAW["usage"]}
        assert (await browser.get("/openapi.json")).status_code == 200
