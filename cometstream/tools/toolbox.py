"""A caller's tools: by their names, and as a request has them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from cometstream.errors import ConfigurationError, InvalidRequestError
from cometstream.request.describe import kind, shown
from cometstream.request.encode import is_json_list
from cometstream.tools.definition import Tool, tool
from cometstream.tools.schema import plain_schema

__all__ = ["as_tools"]


def as_tools(tools: object) -> tuple[dict[str, Tool[..., Any]], list[dict[str, Any]]]:
    """Return a caller's tools by name, and all of them as a request has them.

    Args:
        tools: Tools, functions, pydantic models, and dicts as a request has them. Models and dicts of functions have nothing to
            run: a call of one pauses the run. Dicts of any other type are the provider's own, and go out unread.

    Raises:
        ConfigurationError: They are not tools, or two have one name.
        InvalidRequestError: The API would refuse a schema.
    """
    try:
        given = list(tools) if is_json_list(tools) else None
    except Exception:  # of a sequence of the caller's own
        given = None
    if given is None:
        raise ConfigurationError(f"tools must be a list of tools; got {shown(tools)}")
    by_name: dict[str, Tool[..., Any]] = {}
    wire: list[dict[str, Any]] = []
    for place, item in enumerate(given):
        made = _as_tool(item, place)
        if not isinstance(made, Tool):
            wire.append(made)
            continue
        if made.name in by_name:
            raise ConfigurationError(f"tools: two are named {made.name!r}; each needs a name of its own")
        by_name[made.name] = made
        wire.append(made.to_dict())
    return by_name, wire


def _as_tool(item: Any, place: int) -> Tool[..., Any] | dict[str, Any]:
    if isinstance(item, Tool):
        return item
    if isinstance(item, type) and hasattr(item, "model_json_schema"):
        return Tool(item.__name__, description=inspect.getdoc(item) or "", parameters=item)
    if isinstance(item, Mapping):
        return _from_dict(plain_schema({"tool": item})["tool"], place)
    if callable(item):
        return tool(item)
    raise ConfigurationError(
        f"tools[{place}] must be a Tool, a function, a pydantic model or a dict; got {shown(item)}"
    )


def _from_dict(raw: Any, place: int) -> Tool[..., Any] | dict[str, Any]:
    type_ = raw.get("type") if isinstance(raw, dict) else None
    if not isinstance(type_, str) or not type_:
        raise InvalidRequestError([f"tools[{place}].type: is {kind(type_)}; it must be a text, such as 'function'"])
    if type_ not in ("function", "custom"):
        return dict(raw)
    about = raw.get(type_)
    if not isinstance(about, dict):
        raise InvalidRequestError([f"tools[{place}].{type_}: is {kind(about)}; it must be an object"])
    name, description = about.get("name"), about.get("description") or ""
    if type_ == "custom":
        return Tool(name, description=description, custom=about.get("format") or True)  # type: ignore[arg-type] # it checks
    return Tool(
        name,  # type: ignore[arg-type] # it checks
        description=description,
        parameters=about.get("parameters"),
        strict=bool(about.get("strict")),
    )
