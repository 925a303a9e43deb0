from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
import types
from typing import Annotated, Any, Literal, NewType

import pytest

pytest.importorskip("pydantic", reason="types as response_format need pydantic")

from pydantic import AfterValidator, BaseModel, Field, create_model, field_validator
from typing_extensions import TypedDict

from cometstream import ConfigurationError, InvalidRequestError, Schema
from cometstream.answer.json_output import JSON_OUTPUT
from cometstream.structured import read_response_format
from cometstream.structured.schema import schema_of


class Step(BaseModel):
    """One step."""

    text: str
    minutes: int = Field(gt=0)


class Recipe(BaseModel):
    title: str
    steps: list[Step]
    note: str | None = None


class Comment(BaseModel):
    text: str
    answers: list[Comment]


@dataclasses.dataclass
class Point:
    x: float
    y: float


class Place(TypedDict):
    name: str
    at: Point


Identifier = NewType("Identifier", int)


def sent(type_: Any, **options: Any) -> dict[str, Any]:
    schema = Schema(type_, **options)
    assert schema.problems == []
    assert schema.wire["type"] == "json_schema"
    fields: dict[str, Any] = schema.wire["json_schema"]
    return fields


def test_a_model_is_sent_as_its_strict_schema() -> None:
    step = {
        "title": "Step",
        "description": "One step.",
        "type": "object",
        "properties": {
            "text": {"title": "Text", "type": "string"},
            "minutes": {"title": "Minutes", "type": "integer", "exclusiveMinimum": 0},
        },
        "required": ["text", "minutes"],
        "additionalProperties": False,
    }
    assert sent(Recipe) == {
        "name": "Recipe",
        "strict": True,
        "schema": {
            "title": "Recipe",
            "type": "object",
            "properties": {
                "title": {"title": "Title", "type": "string"},
                "steps": {"title": "Steps", "type": "array", "items": {"$ref": "#/$defs/Step"}},
                "note": {"title": "Note", "anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "required": ["title", "steps", "note"],
            "additionalProperties": False,
            "$defs": {"Step": step},
        },
    }


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (Step, '{"text": "mix", "minutes": 3}', Step(text="mix", minutes=3)),
        (Point, '{"x": 1, "y": 2.5}', Point(1.0, 2.5)),
        (Place, '{"name": "a", "at": {"x": 1, "y": 2}}', {"name": "a", "at": Point(1.0, 2.0)}),
        (Comment, '{"text": "a", "answers": []}', Comment(text="a", answers=[])),
        (list[int], '{"response": [1, 2]}', [1, 2]),
        (int, '{"response": 5}', 5),
        (Identifier, '{"response": 5}', 5),
        (Literal["a", "b"], '{"response": "b"}', "b"),
        (Step | Point, '{"response": {"x": 1, "y": 2}}', Point(1.0, 2.0)),
        (Step | None, '{"response": null}', None),
        (Annotated[int, Field(gt=3)], '{"response": 4}', 4),
        (list[Comment], '{"response": [{"text": "a", "answers": []}]}', [Comment(text="a", answers=[])]),
    ],
)
def test_any_type_is_sent_and_read(type_: Any, text: str, value: Any) -> None:
    fields = sent(type_)
    assert fields["schema"]["type"] == "object"
    assert fields["schema"]["additionalProperties"] is False
    schema = Schema(type_)
    assert schema.read(text) == value
    assert schema.read(f"```json\n{text}\n```") == value
    assert schema.read_partial(text) == value


def test_a_schema_has_a_name_that_the_api_takes() -> None:
    assert sent(list[int])["name"] == "list"
    assert sent(int | None)["name"].isidentifier()
    assert sent(Step, name="my-step")["name"] == "my-step"
    assert sent(Step, description="mine")["description"] == "mine"
    long = dataclasses.make_dataclass("X" * 100, [("a", int)])
    assert sent(long)["name"] == "X" * 64


class Loose(BaseModel):
    anything: Any
    names: dict[str, int]
    pair: tuple[int, str]
    size: int = 5


def test_what_strict_mode_does_not_take_is_told_at_once_and_may_be_sent_without_it() -> None:
    assert [problem.partition(":")[0] for problem in Schema(Loose).problems] == [
        "response_format.anything",
        "response_format.names",
        "response_format.pair",
        "response_format.size",
    ]
    fields = sent(Loose, strict=False)
    assert fields["strict"] is False
    assert fields["schema"] == Loose.model_json_schema()


@pytest.mark.parametrize("type_", [type("Own", (), {}), 5, "no name", list[types.CodeType], Recipe.__init__])
def test_a_type_without_a_schema_is_refused(type_: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"response_format: .* has no JSON Schema"):
        Schema(type_)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": 5}, "name must be a string"),
        ({"name": ""}, "name must be 1 to 64 letters"),
        ({"name": "a b"}, "name must be 1 to 64 letters"),
        ({"name": "a" * 65}, "name must be 1 to 64 letters"),
        ({"description": 5}, "description must be a string"),
        ({"strict": 1}, "strict must be True or False"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Schema(Step, **options)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('{"text": "mix", "minutes": 0}', ["minutes: Input should be greater than 0"]),
        ('{"minutes": "x"}', ["text: Field required", "minutes: Input should be a valid integer, unable to parse"]),
    ],
)
def test_an_answer_that_does_not_match_has_all_its_problems(text: str, problems: list[str]) -> None:
    with pytest.raises(ValueError, match="minutes") as caught:
        Schema(Step).read(text)
    told: list[str] = caught.value.problems  # type: ignore[attr-defined]
    assert [problem.startswith(expected) for problem, expected in zip(told, problems, strict=True)] == [True] * len(
        told
    )


def test_the_paths_of_problems_are_the_callers() -> None:
    with pytest.raises(ValueError, match=r"^\[0\]\.minutes: ") as caught:
        Schema(list[Step]).read('{"response": [{"text": "mix", "minutes": 0}]}')
    assert len(caught.value.problems) == 1  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"^the answer: Input should be a valid integer"):
        Schema(int).read('{"response": "x"}')


def test_the_type_of_a_call_is_looked_at_once() -> None:
    assert schema_of(Recipe) is schema_of(Recipe)
    assert read_response_format(Recipe)[1] is schema_of(Recipe)


def test_what_is_given_decides_how_answers_are_read() -> None:
    own = Schema(Step, name="own")
    assert read_response_format(own) == (own.wire, own, [])
    wire = {"type": "json_object"}
    assert read_response_format(wire) == (wire, JSON_OUTPUT, ())
    text = {"type": "text"}
    assert read_response_format(text) == (text, None, ())
    assert read_response_format(5) == (5, None, ())
    unhashable = Annotated[int, Field(json_schema_extra={"x": []}), []]
    assert read_response_format(unhashable)[1] is not None


@pytest.mark.parametrize(
    ("schema", "problems"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": []}, []),
        ({"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}, ["response_format.a"]),
        ({"type": "object", "properties": {"a": {"$ref": "#/properties"}}}, ["response_format.a"]),
        ({"type": "array", "items": {"type": "string"}}, ["response_format"]),
        (5, []),
    ],
)
def test_a_strict_schema_by_hand_is_looked_at_and_sent_as_it_is(schema: Any, problems: list[str]) -> None:
    wire = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    sent, output, told = read_response_format(wire)
    assert sent is wire
    assert output is JSON_OUTPUT
    assert [problem.partition(":")[0] for problem in told] == problems
    wire["json_schema"]["strict"] = False  # type: ignore[index]
    assert read_response_format(wire)[2] == ()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("mine")


class Hostile(type):
    def __hash__(cls) -> int:
        raise Unprintable

    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise Unprintable


def test_a_type_that_raises_is_refused_like_any_other() -> None:
    hostile = Hostile("Own", (), {})
    with pytest.raises(InvalidRequestError, match=r"has no JSON Schema \(Unprintable\)"):
        read_response_format(hostile)
    with pytest.raises(InvalidRequestError, match=r"has no JSON Schema"):
        read_response_format(type("Own", (), {}))


class Broken(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise RuntimeError("mine")


def test_a_mapping_that_cannot_be_read_is_left_to_the_checks() -> None:
    broken = Broken()
    assert read_response_format(broken) == (broken, None, ())
    assert read_response_format({"type": "json_schema"}) == ({"type": "json_schema"}, JSON_OUTPUT, ())


def test_copies_are_of_the_same_type() -> None:
    schema = Schema(Step, name="mine", description="d", strict=False)
    assert repr(schema) == f"Schema({Step!r})"
    for twin in (copy.copy(schema), copy.deepcopy(schema), pickle.loads(pickle.dumps(schema))):
        assert twin.wire == schema.wire
        assert twin.read('{"text": "mix", "minutes": 1}') == Step(text="mix", minutes=1)


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_pydantic_is_imported_for_types_alone() -> None:
    program = """
import sys, cometstream
session = cometstream.CometSession(api_key="k")
chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
session.stream(**chat)
assert "cometstream.structured" not in sys.modules
session.stream(**chat, response_format={"type": "json_object"})
print("pydantic" in sys.modules)
"""
    assert run(program) == "False"


def test_without_pydantic_the_error_names_the_extra() -> None:
    program = """
import sys, cometstream
sys.modules["pydantic"] = None
try:
    cometstream.Schema(int)
except cometstream.ConfigurationError as error:
    print(error)
"""
    assert run(program) == "a type as response_format needs pydantic 2: pip install 'cometstream[structured]'"


class Surprised(BaseModel):
    kind: str

    @field_validator("kind")
    @classmethod
    def known(cls, kind: str) -> str:
        return {"a": "A"}[kind]


def test_a_validator_that_breaks_is_a_problem_of_the_answer_and_its_cause_is_told() -> None:
    schema = Schema(Surprised)
    assert schema.read('{"kind": "a"}').kind == "A"
    with pytest.raises(ValueError, match="the answer: a validator raised KeyError") as caught:
        schema.read('{"kind": "b"}')
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_problem_is_one_line_that_is_not_long() -> None:
    def refuse(kind: str) -> str:
        raise ValueError("first\nsecond " + "x" * 5000)

    with pytest.raises(ValueError, match="kind: Value error, first second") as caught:
        Schema(create_model("Kind", kind=(Annotated[str, AfterValidator(refuse)], ...))).read('{"kind": "a"}')
    (problem,) = caught.value.problems  # type: ignore[attr-defined]
    assert len(problem) < 400


@pytest.mark.parametrize("type_", [Any, list[Any], dict[str, int] | None])
def test_the_paths_of_what_strict_mode_refuses_are_the_callers(type_: Any) -> None:
    (problem,) = Schema(type_).problems
    assert problem.startswith(("response_format: ", "response_format[]: "))
