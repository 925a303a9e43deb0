"""A tool: what it takes from a function, and which it refuses."""

from __future__ import annotations

import functools
import sys
from typing import Any

import pytest
from support.odd_values import each, only_ours

from cometstream import ConfigurationError
from cometstream.policy import NOT_GIVEN
from cometstream.tools import Tool, tool
from cometstream.tools.arguments import ArgumentsError
from cometstream.views.completion import ToolCall

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def made(name: str, arguments: str) -> ToolCall:
    return ToolCall({"id": "c", "function": {"name": name, "arguments": arguments}})


def test_a_schema_written_by_hand_needs_nothing_else_and_goes_out_as_written() -> None:
    @tool(parameters=SCHEMA, description="Get the weather.")
    def get_weather(city: str) -> str:
        return city

    assert get_weather.to_dict() == {
        "type": "function",
        "function": {"name": "get_weather", "description": "Get the weather.", "parameters": SCHEMA},
    }
    assert not get_weather.strict
    assert get_weather("Rome") == "Rome"


def test_a_schema_is_sent_in_strict_form_where_that_is_asked_for() -> None:
    assert Tool("f", parameters=SCHEMA, strict=True).to_dict()["function"] == {
        "name": "f",
        "parameters": {**SCHEMA, "additionalProperties": False},
        "strict": True,
    }
    assert "strict" not in Tool("f", parameters=SCHEMA, strict=False).to_dict()["function"]
    assert Tool("f").to_dict()["function"]["strict"] is True


def test_a_decorated_function_stays_what_it_was() -> None:
    def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    decorated = tool(parameters=SCHEMA)(add)
    assert decorated.__name__ == "add"
    assert decorated.__doc__ == "Add two numbers."
    assert decorated.__wrapped__ is add  # type: ignore[attr-defined]
    assert decorated.description == "Add two numbers."
    assert decorated(1) == 3
    assert repr(decorated) == "<Tool add>"


def test_the_name_is_the_functions_unless_it_is_given() -> None:
    class Caller:
        def __call__(self) -> None: ...

    def f() -> None: ...

    assert tool(parameters=SCHEMA)(Caller()).name == "Caller"
    assert tool(parameters=SCHEMA)(functools.partial(f)).name == "f"
    assert tool(name="g", parameters=SCHEMA)(f).name == "g"
    with pytest.raises(ConfigurationError, match="give name="):
        tool(parameters=SCHEMA)(lambda: None)


@pytest.mark.parametrize("name", ["", "get weather", "wetter-für-alle", "a.b", "x" * 65, None, 3, b"f", "f\n"])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a tool's name"):
        Tool(name, print)


def test_what_waits_for_a_decision_is_not_eager() -> None:
    async def ask(_: object) -> bool:
        return True

    assert Tool("f", print).eager
    assert not Tool("f", print, approve=True).eager
    assert not Tool("f", print, approve=ask).eager
    assert Tool("f", print, approve=ask, eager=True).eager
    for options in ({"function": print, "approve": True}, {"function": None}):
        with pytest.raises(ConfigurationError, match="eager=True is not possible"):
            Tool("f", eager=True, **options)  # type: ignore[arg-type]


def test_a_custom_tool_has_a_format_and_no_parameters() -> None:
    assert Tool("sql", custom=True).to_dict() == {"type": "custom", "custom": {"name": "sql"}}
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[a-z]+"}}
    assert Tool("sql", custom=grammar).to_dict()["custom"]["format"] == grammar
    with pytest.raises(ConfigurationError, match="it has no parameters"):
        Tool("sql", custom=True, parameters=SCHEMA)
    with pytest.raises(ConfigurationError, match="custom must be"):
        Tool("sql", custom="text")  # type: ignore[arg-type]
    # Where a gateway leaves out the type, the text is what stands as arguments.
    assert Tool("sql", custom=True).read(made("sql", "select 1")) == (("select 1",), {})


def test_a_tool_without_a_function_cannot_be_called() -> None:
    with pytest.raises(ConfigurationError, match="no function"):
        Tool("f")()


def test_a_tool_takes_or_refuses_each_odd_value() -> None:
    options = ("description", "parameters", "strict", "custom", "eager", "approve", "timeout")
    for given in each("name", "function", *options):
        with only_ours():
            Tool(**{"name": "f", **given})
    for given in each("name", *options):
        with only_ours():
            tool(**{"parameters": SCHEMA, **given})(print)
    for given in each("function"):
        with only_ours():
            tool(given["function"])


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_timeout_is_a_time(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be seconds, more than 0"):
        Tool("f", timeout=timeout)
    assert Tool("f").timeout is NOT_GIVEN
    assert Tool("f", timeout=None).timeout is None


def test_a_tool_is_not_decorated_twice() -> None:
    with pytest.raises(ConfigurationError, match="@tool takes a function"):
        tool(Tool("f", print))


def test_a_generator_is_refused() -> None:
    async def grow() -> Any:
        yield 1

    def shrink() -> Any:
        yield 1

    for function in (grow, shrink):
        with pytest.raises(ConfigurationError, match="a generator has no result"):
            tool(parameters=SCHEMA)(function)


def test_without_jsonschema_arguments_are_not_validated_and_nothing_starts_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    made_without = Tool("f", print, parameters=SCHEMA)
    assert not made_without.validates
    assert made_without.read(made("f", '{"city":7}')) == ((), {"city": 7})
    with pytest.raises(ArgumentsError, match="not a JSON object"):
        made_without.read(made("f", "7"))


def test_what_is_no_json_schema_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"parameters\.properties\.city\.type: is not a JSON Schema"):
        Tool("f", parameters={"type": "object", "properties": {"city": {"type": "town"}}})


def test_arguments_nested_too_deep_are_refused_and_not_followed() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False}
    deep = '{"a":' * 900 + "{}" + "}" * 900
    with pytest.raises(ArgumentsError, match="nested too deep"):
        Tool("f", parameters=schema).read(made("f", deep))


@pytest.mark.parametrize("schema", [{"$schema": 5}, {"$schema": ["x"]}, {"$id": 7}])
def test_a_schema_that_cannot_be_checked_is_refused_or_read(schema: dict[str, Any]) -> None:
    with only_ours():
        odd = Tool("f", parameters={"type": "object", **schema})
        assert odd.read(made("f", "{}")) == ((), {})
