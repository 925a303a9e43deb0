"""``@tool`` reads a function: its hints, its defaults, its docstring."""

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from cometstream import ConfigurationError
from cometstream.tools import Tool, tool
from cometstream.tools.arguments import ArgumentsError
from cometstream.views.completion import ToolCall

pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed: pip install 'cometstream[structured]'")
pytest.importorskip(
    "docstring_parser", reason="docstring_parser is not installed: pip install 'cometstream[structured]'"
)


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Place(pydantic.BaseModel):
    """A place."""

    city: str
    country: str = "IT"


@dataclass
class Box:
    """A box."""

    width: int
    inner: Box | None = None


def read(made: Tool[..., Any], arguments: str) -> dict[str, Any]:
    return made.read(ToolCall({"id": "c", "function": {"name": made.name, "arguments": arguments}}))[1]


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    found = tool(function).parameters
    assert found is not None
    return found


def google(city: str, days: int = 3, unit: Unit = Unit.C) -> str:
    """Get the forecast.

    It is a guess.

    Args:
        city: The city's
            English name.
        days: How many.
        unit: Of the temperature.
    """
    return f"{city} {days} {unit.value}"


def numpy(city: str) -> None:
    """Get the forecast.

    Parameters
    ----------
    city : str
        The city.
    """


def rest(city: str) -> None:
    """Get the forecast.

    :param city: The city.
    """


def test_name_description_and_schema_come_from_the_function() -> None:
    assert tool(google).to_dict() == {
        "type": "function",
        "function": {
            "name": "google",
            "description": "Get the forecast.\n\nIt is a guess.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city's English name."},
                    "days": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "How many."},
                    "unit": {
                        "anyOf": [{"$ref": "#/$defs/Unit"}, {"type": "null"}],
                        "description": "Of the temperature.",
                    },
                },
                "required": ["city", "days", "unit"],
                "additionalProperties": False,
                "$defs": {"Unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            },
            "strict": True,
        },
    }


@pytest.mark.parametrize("function", [numpy, rest])
def test_docstrings_of_other_styles_are_read(function: Callable[..., Any]) -> None:
    assert tool(function).description == "Get the forecast."
    assert parameters(function)["properties"]["city"] == {"type": "string", "description": "The city."}


def test_null_stands_for_what_was_left_out() -> None:
    made = tool(google)
    assert read(made, '{"city":"Rome","days":null,"unit":null}') == {"city": "Rome"}
    assert read(made, '{"city":"Rome","days":1,"unit":"fahrenheit"}') == {"city": "Rome", "days": 1, "unit": Unit.F}

    @tool
    def maybe(city: str | None = "Rome") -> None: ...

    assert read(maybe, '{"city":null}') == {"city": None}


def test_arguments_are_validated_and_become_what_the_hints_say() -> None:
    @tool
    def book(
        day: datetime.date,
        place: Place,
        box: Box,
        count: Annotated[int, pydantic.Field(ge=1, description="How many.")],
        kind: Literal["a", "b"] = "a",
    ) -> None: ...

    text = '{"day":"2026-03-01","place":{"city":"Rome","country":"IT"},"box":{"width":1,"inner":null},"count":2,"kind":null}'
    assert read(book, text) == {
        "day": datetime.date(2026, 3, 1),
        "place": Place(city="Rome"),
        "box": Box(1),
        "count": 2,
    }
    assert not book.strict  # a default deeper down: strict mode would have the model write the country
    with pytest.raises(ArgumentsError, match=r"day: .*; place\.city: .*; count: Input should be greater"):
        read(book, '{"day":"soon","place":{},"box":{"width":1},"count":0}')
    with pytest.raises(ArgumentsError, match="extra: Extra inputs"):
        read(tool(numpy), '{"city":"Rome","extra":1}')


def test_the_models_part_of_an_error_message_is_short() -> None:
    @tool
    def many(numbers: list[int]) -> None: ...

    with pytest.raises(ArgumentsError) as raised:
        read(many, '{"numbers":[' + ",".join(['"x"'] * 100) + "]}")
    assert "and 95 more" in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_what_strict_mode_cannot_say_is_not_strict_unless_it_must_be() -> None:
    def store(values: dict[str, int]) -> None: ...

    assert not tool(store).strict
    assert read(tool(store), '{"values":{"a":1}}') == {"values": {"a": 1}}
    with pytest.raises(ValueError, match=r"tool 'store': parameters\.values: is an object of any names"):
        tool(strict=True)(store)


def test_methods_callables_and_partials_are_read() -> None:
    class Weather:
        """The weather."""

        def look(self, city: str) -> str:
            """Look out."""
            return city

        def __call__(self, city: str) -> str:
            return city

    weather = Weather()
    assert tool(weather.look).description == "Look out."
    assert read(tool(weather.look), '{"city":"Rome"}') == {"city": "Rome"}
    assert list(parameters(weather)["properties"]) == ["city"]
    part = functools.partial(google, days=object())  # type: ignore[arg-type]
    assert list(parameters(part)["properties"]) == ["city", "unit"]
    assert tool(part).name == "google"

    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    assert list(parameters(Point)["properties"]) == ["x"]


def test_names_that_pydantic_does_not_take_are_taken() -> None:
    @tool
    def odd(_private: int, model_config: int, schema: int, copy: int = 1) -> None: ...

    assert read(odd, '{"_private":1,"model_config":2,"schema":3,"copy":4}') == {
        "_private": 1,
        "model_config": 2,
        "schema": 3,
        "copy": 4,
    }


OBJECT = object()


def unhinted(city) -> None: ...  # type: ignore[no-untyped-def]
def starred(*cities: str) -> None: ...
def keywords(**cities: str) -> None: ...
def positional(city: str, /) -> None: ...
def default(city: object = OBJECT) -> None: ...
def default_in_list(cities: Any = (OBJECT,)) -> None: ...
def unknown(city: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821
def untold(city: Callable[[], int]) -> None: ...
def no_type(city: threading.Lock) -> None: ...  # type: ignore[name-defined] # noqa: F821


class Method:
    def f(self, city: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (unhinted, "parameter city has no type hint"),
        (Method.f, r"parameter self has no type hint; decorate the bound method"),
        (starred, r"\*cities cannot be described"),
        (keywords, r"\*\*cities cannot be described"),
        (positional, "city is positional-only"),
        (default, "the default of city is <object .*>, which JSON cannot hold"),
        (default_in_list, "the default of cities is"),
        (unknown, "its type hints cannot be read"),
        (untold, "cannot be described in JSON Schema"),
        (no_type, "its type hints cannot be read"),
        (dict.get, "is positional-only|has no type hint|cannot be read"),
        (print, r"\*args cannot be described|has no type hint|cannot be read"),
    ],
)
def test_a_signature_that_cannot_be_described_is_refused_when_decorated(
    function: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        tool(function)


def test_a_pydantic_model_as_parameters_is_what_the_function_gets() -> None:
    @tool(parameters=Place)
    def go(place: Place) -> str:
        """Go there."""
        return place.city

    call = ToolCall({"id": "c", "function": {"name": "go", "arguments": '{"city":"Rome","country":null}'}})
    assert go.read(call) == ((Place(city="Rome"),), {})
    assert go.strict
    assert go.description == "Go there."
    with pytest.raises(ArgumentsError, match="city: Field required"):
        go.read(ToolCall({"id": "c", "function": {"name": "go", "arguments": "{}"}}))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "docstring_parser", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'cometstream\[structured\]'"):
        tool(google)


def test_a_validator_that_breaks_is_told_without_its_words() -> None:
    def sort(kind: str) -> None: ...

    sort.__annotations__["kind"] = Annotated[str, pydantic.AfterValidator({"a": "A"}.__getitem__)]

    with pytest.raises(ArgumentsError, match=r"^the arguments could not be checked$") as raised:
        read(tool(sort), '{"kind":"b"}')
    assert isinstance(raised.value.__cause__, KeyError)
