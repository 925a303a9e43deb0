from __future__ import annotations

from typing import Any

import orjson
import pytest

from cometstream.catalog import read_catalog
from cometstream.testing.account import account_reply, catalog_reply
from cometstream.testing.replies import Reply

MODELS = ("gpt-5.4", "meta/llama 4", "a-new-one")


def body(reply: Reply | None) -> Any:
    assert reply is not None
    return orjson.loads(reply.content)


def test_one_model_can_be_asked_for_by_its_quoted_id() -> None:
    listed = body(account_reply("GET", "/v1/models", MODELS, "r1"))["data"]
    assert [model["id"] for model in listed] == list(MODELS)
    assert body(account_reply("GET", "/v1/models/meta%2Fllama%204", MODELS, "r1")) == listed[1]
    unknown = account_reply("GET", "/v1/models/gpt-9", MODELS, "r1")
    assert unknown is not None
    assert (unknown.status, body(unknown)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/models"), ("GET", "/v1/chat/completions")])
def test_other_routes_are_not_answered_here(method: str, path: str) -> None:
    assert account_reply(method, path, MODELS, "r1") is None


def test_every_model_is_in_the_catalogue_with_a_price() -> None:
    catalog = read_catalog(body(catalog_reply(MODELS)), "here")
    assert [*catalog] == [*MODELS, "comet-image-1"]
    assert all(catalog[model].price for model in MODELS)
    assert catalog["gpt-5.4"].provider == "OpenAI"
    assert catalog["a-new-one"].price == (0.16, 1.0)
