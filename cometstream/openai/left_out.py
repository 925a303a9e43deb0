"""What OpenAI's client has and the light one does not, by name. Using it raises an error of one line that says where to find it."""

from __future__ import annotations

import sys
from typing import Any, Final, NoReturn

from cometstream.errors import ConfigurationError

__all__ = [
    "ARGUMENTS",
    "NAMES",
    "RESOURCES",
    "DefaultAsyncHttpxClient",
    "DefaultHttpxClient",
    "LeftOutCompletions",
    "missing",
    "openais_class",
    "table",
    "where",
]

_WHERE: Final = (
    "is not in this light client: use OpenAI's own client over cometstream.openai.transport.CometTransport (http_client="
    "httpx.AsyncClient(transport=CometTransport()))"
)

RESOURCES: Final = frozenset(
    {
        "admin",
        "audio",
        "batches",
        "containers",
        "content_provenance_checks",
        "conversations",
        "decisions",
        "embeddings",
        "evals",
        "files",
        "fine_tuning",
        "images",
        "live",
        "moderations",
        "realtime",
        "responses",
        "safety",
        "skills",
        "uploads",
        "vector_stores",
        "videos",
        "webhooks",
    }
)
"""Attributes of the client: all routes but chat completions and models."""

ARGUMENTS: Final = frozenset(
    {
        "admin_api_key",
        "data_residency",
        "http_client",
        "provider",
        "webhook_secret",
        "websocket_base_url",
        "workload_identity",
    }
)
"""Arguments of the client's constructor and of ``with_options``."""

NAMES: Final = frozenset(
    {
        "custom_auth",
        "delete",
        "get",
        "list",
        "messages",
        "patch",
        "post",
        "put",
        "request",
        "retrieve",
        "update",
        "with_raw_response",
        "with_streaming_response",
    }
)
"""Other attributes of the client and of its resources: raw responses, bare requests, stored completions."""


def table() -> str:
    """Return the README's table of what is left out."""
    rows = (
        ("arguments of the client", [f"{name}=" for name in ARGUMENTS]),
        ("routes", [f"client.{name}" for name in RESOURCES]),
        ("methods and properties", [*NAMES, "client.completions.create"]),
        ("objects", ["answers that can be changed in place", "DefaultAsyncHttpxClient()", "DefaultHttpxClient()"]),
    )
    lines = [
        f"| {what} | {', '.join(name if ' ' in name else f'`{name}`' for name in sorted(names))} |"
        for what, names in rows
    ]
    return "\n".join(["| left out | |", "|---|---|", *lines]) + "\n"


def where(name: str) -> str:
    """Return the line that says where something is."""
    return f"{name} {_WHERE}"


def missing(owner: str, name: str) -> AttributeError:
    """Return the error for an attribute that is not there."""
    if name in RESOURCES or name in NAMES:
        return AttributeError(where(f"{owner}.{name}"))
    return AttributeError(f"{owner} has no attribute {name!r}")


class LeftOutCompletions:
    """``client.completions``: libraries that wrap OpenAI's client read it. Calling it raises an error."""

    def create(self, **_params: object) -> NoReturn:
        """Raise ``AttributeError``: the route is not in this client."""
        raise AttributeError(where("client.completions.create"))


def openais_class(name: str) -> Any:
    """Return a class of OpenAI's package, if the program has imported it."""
    return getattr(sys.modules.get("openai"), name, None)


class DefaultAsyncHttpxClient:
    """Importable, as in OpenAI's package. Making one raises an error: the light client does not use httpx."""

    def __init__(self, **_options: object) -> None:
        _refuse(type(self).__name__)


class DefaultHttpxClient(DefaultAsyncHttpxClient):
    """As ``DefaultAsyncHttpxClient``."""


def _refuse(name: str) -> NoReturn:
    raise ConfigurationError(where(name))
