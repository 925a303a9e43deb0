"""What the gateway serves besides answers: its list and catalogue of models, and the balance of an account."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import unquote

from cometstream.testing.replies import CREATED, Reply

__all__ = ["account_reply", "catalog_reply"]

_PROVIDERS = {"gpt": "OpenAI", "claude": "Anthropic", "gemini": "Google"}

# What a million input and output tokens cost in dollars before the gateway's discount; models of other names cost the least.
_PRICES = {
    "gpt-5.4": (2.5, 15.0),
    "gpt-5.4-mini": (0.75, 4.5),
    "gpt-5.4-nano": (0.2, 1.25),
    "gpt-4.1": (2.0, 8.0),
    "claude-sonnet-4-6": (3.0, 15.0),
    "gemini-2.5-flash": (0.3, 2.5),
}
_DISCOUNT = 0.8

# The catalogue has models that are not priced by tokens, and do not chat.
_OTHERS: tuple[dict[str, Any], ...] = (
    {
        "id": "comet-image-1",
        "provider": "CometAPI",
        "model_type": "image",
        "features": ["text-to-image"],
        "endpoints": ["/v1/images/generations"],
        "context_length": None,
        "pricing": {
            "currency": "USD / Request",
            "input": None,
            "output": None,
            "per_request": 0.04,
            "per_second": None,
        },
    },
)

_LIMIT = 10.0  # dollars
_SPENT = 125  # cents


def account_reply(method: str, path: str, models: Collection[str], request_id: str) -> Reply | None:
    """Return the reply to a route that needs no model; None for all other routes.

    Args:
        method: The HTTP method.
        path: The path without its query.
        models: The ids of the models that are served.
        request_id: The id to name in an error's message.
    Source:
        GET /v1/models, and as users of the gateway report GET /v1/models/{id} and /v1/dashboard/billing/...
    """
    if method != "GET":
        return None
    if path == "/v1/models":
        return Reply.json({"object": "list", "data": [_listed(model) for model in models]})
    if path.startswith("/v1/models/"):
        model = unquote(path.removeprefix("/v1/models/"))
        if model in models:
            return Reply.json(_listed(model))
        return Reply.error(404, f"no such model: {model}", code="model_not_found", request_id=request_id)
    if path == "/v1/dashboard/billing/subscription":
        limits = dict.fromkeys(("soft_limit_usd", "hard_limit_usd", "system_hard_limit_usd"), _LIMIT)
        return Reply.json({"object": "billing_subscription", "has_payment_method": True, **limits, "access_until": 0})
    if path == "/v1/dashboard/billing/usage":
        return Reply.json({"object": "list", "total_usage": _SPENT})
    return None


def catalog_reply(models: Collection[str]) -> Reply:
    """Return the public catalogue, which needs no key.

    Source:
        GET /api/models on the gateway's host, "List available CometAPI models"; the discount as users report it.
    """
    listed = [*map(_described, models), *_OTHERS]
    return Reply.json({"success": True, "page": 0, "page_size": 0, "total": len(listed), "data": listed})


def _listed(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": CREATED, "owned_by": "cometapi"}


def _described(model: str) -> dict[str, Any]:
    price = _PRICES.get(model, min(_PRICES.values()))
    return {
        "id": model,
        "code": model.replace(".", "-"),
        "provider": _PROVIDERS.get(model.partition("-")[0], "CometAPI"),
        "model_type": "text",
        "features": ["text-to-text", "image-to-text"],
        "endpoints": ["/v1/chat/completions"],
        "context_length": 400_000,
        "max_completion_tokens": 128_000,
        "pricing": {
            "currency": "USD / M Tokens",
            "input": price[0],
            "output": price[1],
            "ratio": _DISCOUNT,
            "per_request": None,
            "per_second": None,
        },
    }
