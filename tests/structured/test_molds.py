from __future__ import annotations

import copy
import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest

pytest.importorskip("pydantic", reason="types as response_format need pydantic")

from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import NotRequired, Required, Self, TypeAliasType, TypedDict

from cometstream import Part, Schema
from cometstream.answer.partial_json import PartialJSON, Path


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: float
    y: float
    label: str = ""
    derived: int = dataclasses.field(init=False, default=7)


@dataclasses.dataclass(frozen=True)
class Slotted:
    __slots__ = ("name", "when")
    name: str
    when: date


@pydantic_dataclass
class Checked:
    size: int = Field(gt=0, alias="Size")


class Named(TypedDict):
    name: Required[str]
    points: NotRequired[list[Point]]


class Numbers(RootModel[list[int]]):
    pass


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    inside: T


class Tree(BaseModel):
    value: str
    children: list[Tree] = Field(description="below")


Tags = TypeAliasType("Tags", list[str])


class Everything(BaseModel):
    model_config = ConfigDict(strict=True)

    title: str
    when: date
    colour: Colour
    kind: Literal["short", "long"]
    size: Annotated[int, Field(gt=0)]
    ratio: float
    fine: bool
    nothing: None
    point: Point
    slotted: Slotted | None
    named: Named
    either: Point | Box[int]
    numbers: Numbers
    tags: Tags
    unique: set[str]
    pair: tuple[int, str]
    many: tuple[int, ...]
    table: dict[str, list[Colour]]
    mapping: Mapping[str, int]
    sequence: Sequence[Box[str]]
    tree: Tree
    anything: Any
    bare: list  # type: ignore[type-arg]
    bare_dict: dict  # type: ignore[type-arg]
    renamed: str = Field(alias="re-named")
    chosen: str = Field(validation_alias=AliasChoices("first", "second"))


TEXT = (
    '{"title": "a \\"title\\"", "when": "2026-01-02", "colour": "blue", "kind": "long", "size": 3, "ratio": 1,'
    ' "fine": true, "nothing": null, "point": {"x": 1, "y": 2.5, "label": "p"},'
    ' "slotted": {"name": "s", "when": "2026-01-03"}, "named": {"name": "n", "points": [{"x": 1, "y": 2}]},'
    ' "either": {"inside": 5}, "numbers": [1, 2], "tags": ["a", "b"], "unique": ["x", "x"], "pair": [1, "b"],'
    ' "many": [1, 2], "table": {"k": ["red"]}, "mapping": {"m": 1}, "sequence": [{"inside": "i"}],'
    ' "tree": {"value": "t", "children": [{"value": "u", "children": []}]}, "anything": {"a": [1, {"b": "c"}]},'
    ' "bare": [1, "x"], "bare_dict": {"a": [1]}, "re-named": "r", "first": "c"}'
)
CLOSED = Schema(Everything, strict=False)


def pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def read(type_: Any, text: str, size: int = 1) -> tuple[PartialJSON, list[Part]]:
    parts: list[Part] = []

    def told(path: Path, value: Any, problem: ValueError | None) -> None:
        parts.append(Part(path, value, () if problem is None else tuple(getattr(problem, "problems", [str(problem)]))))

    parser = (type_ if isinstance(type_, Schema) else Schema(type_, strict=False)).parser(told)
    for piece in pieces(text, size):
        parser.feed(piece)
        repr(parser.value)
    return parser, parts


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_a_value_of_every_kind_of_type_grows_into_the_validated_one(size: int) -> None:
    parser, parts = read(CLOSED, TEXT, size)
    assert parser.complete
    assert parser.value == Everything.model_validate_json(TEXT)
    assert [part for part in parts if part.problems] == []
    told = {part.path: part.value for part in parts}
    assert told["when",] == date(2026, 1, 2)
    assert told["colour",] is Colour.BLUE
    assert told["point",] == Point(1.0, 2.5, "p")
    assert told["slotted",] == Slotted("s", date(2026, 1, 3))
    assert told["named", "points", 0] == Point(1.0, 2.0)
    assert told["either",] == Box[int](inside=5)
    assert told["numbers",] == Numbers([1, 2])
    assert told["unique",] == {"x"}
    assert told["pair",] == (1, "b")
    assert told["many",] == (1, 2)
    assert told["table", "k", 0] is Colour.RED
    assert told["tree", "children", 0] == Tree(value="u", children=[])
    assert told["re-named",] == "r"
    assert told["first",] == "c"


def test_what_has_not_come_is_none_and_only_texts_are_there_in_part() -> None:
    parser, _ = read(CLOSED, TEXT[: TEXT.index("2026") + 2])
    value = parser.value
    assert isinstance(value, Everything)
    assert value.title == 'a "title"'
    assert value.when is None
    assert value.point is None
    assert value.model_fields_set == {"title"}
    assert value.model_dump(exclude_unset=True) == {"title": 'a "title"'}

    parser, _ = read(CLOSED, TEXT[: TEXT.index('"label"') + 11])
    assert parser.value.point == Point(1.0, 2.5, "p")
    assert parser.value.kind == "long"
    assert parser.value.slotted is None
    parser, _ = read(CLOSED, TEXT[: TEXT.index('"red"') + 3])
    assert parser.value.table == {"k": []}
    assert parser.value.many == (1, 2)
    assert parser.value.unique == {"x"}


def test_objects_are_of_their_type_from_their_first_brace_on() -> None:
    parser, _ = read(list[Point], '{"response": [{')
    (point,) = parser.value
    assert (type(point), point.x, point.label) == (Point, None, None)
    parser, _ = read(Slotted, '{"name": "ha')
    assert (type(parser.value), parser.value.name, parser.value.when) == (Slotted, "ha", None)
    parser, _ = read(Tree, '{"value": "a", "children": [{"value": "b", "chi')
    assert parser.value.children[0].value == "b"
    parser, _ = read(Named, '{"name": "n", "points": [{"x": 1')
    assert parser.value["points"][0].x is None
    parser, _ = read(Checked, '{"Size": 3, ')
    assert parser.value.size == 3


def test_of_several_types_it_is_plain_until_it_ends() -> None:
    parser, _ = read(Point | Box[int], '{"response": {"inside": 5')
    assert parser.value == {}
    parser.feed("}")
    assert parser.value == Box[int](inside=5)
    # One of them that is no object leaves no doubt.
    parser, _ = read(Point | str | None, '{"response": {"x": 1.5, ')
    assert parser.value.x == 1.5
    parser, _ = read(Point | str | None, '{"response": "te')
    assert parser.value == "te"


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        ('{"size": 0, "inner": {"name": "a"}}', ("size",), "the answer: Input should be greater than 0"),
        ('{"size": "x", "inner": {"name": "a"}}', ("size",), "the answer: Input should be a valid integer"),
        ('{"size": {"a": 1}, "inner": {"name": "a"}}', ("size",), "the answer: Input should be a valid integer"),
        ('{"size": [], "inner": {"name": "a"}}', ("size",), "the answer: Input should be a valid integer"),
        ('{"size": 1, "inner": {"name": "b"}}', ("inner",), "name: Value error, not a"),
        ('{"size": 1, "inner": {}}', ("inner",), "name: Field required"),
        ('{"size": 1, "inner": 5}', ("inner",), "the answer: Input should be"),
        ('{"size": true, "inner": {"name": "a"}}', None, ""),
    ],
)
def test_a_part_that_is_not_valid_is_told_and_left_as_it_came(text: str, path: Path | None, problem: str) -> None:
    class Inner(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def is_a(cls, value: str) -> str:
            if value != "a":
                raise ValueError("not a")
            return value

    class Outer(BaseModel):
        size: Annotated[int, Field(gt=0)]
        inner: Inner

    parser, parts = read(Outer, text)
    bad = [part for part in parts if part.problems]
    if path is None:
        assert bad == []
    else:
        assert [bad[0].path, bad[-1].path] == [path, ()]
        assert bad[0].problems[0].startswith(problem)
    assert type(parser.value) is Outer
    assert parser.complete


def test_a_constraint_of_a_list_is_checked_with_the_model_that_has_it() -> None:
    class Few(BaseModel):
        items: Annotated[list[int], Field(max_length=1)]

    _, parts = read(Few, '{"items": [1, 2]}')
    assert [part.path for part in parts if part.problems] == [()]


def test_a_validator_runs_on_what_the_model_wrote_and_once() -> None:
    calls: list[Any] = []

    def double(value: int) -> int:
        calls.append(value)
        return value * 2

    class Twice(BaseModel):
        number: Annotated[int, AfterValidator(double)]

        @field_validator("number", mode="before")
        @classmethod
        def from_text(cls, value: Any) -> Any:
            return int(value)

    class Around(BaseModel):
        twice: Twice

    parser, parts = read(Around, '{"twice": {"number": 4}}')
    assert parser.value == Around.model_validate_json('{"twice": {"number": 4}}')
    assert parser.value.twice.number == 8
    assert set(calls) == {4}
    assert not any(part.problems for part in parts)


def test_fields_that_nobody_knows_are_passed_over_where_the_type_does() -> None:
    text = '{"x": 1, "y": 2, "more": {"a": ["b"]}, "other": "text", "third": 3}'
    parser, _ = read(Point, text)
    assert parser.value == Point(1.0, 2.0)
    parser, _ = read(Named, '{"name": "n", "more": {"a": 1}}')
    assert parser.complete
    parser, _ = read(int, '{"other": 1, "more": {"a": [1]}, "text": "x", "response": 4}')
    assert parser.value == 4


def test_a_root_of_another_kind_is_told() -> None:
    parser, parts = read(Point, "[1, 2]")
    assert parts[-1].problems
    parser, parts = read(list[int], "[1, 2]")
    assert parser.value == [1, 2]
    assert Schema(Point).parser().value is None


def test_a_root_that_is_no_object_grows_too() -> None:
    parser, _ = read(str, '{"response": "te')
    assert parser.value == "te"
    parser, parts = read(int, '{"response": "x"}')
    assert parser.value == "x"
    assert parts[0].problems == ("the answer: Input should be a valid integer, unable to parse string as an integer",)


def test_a_tree_that_is_deep_is_checked_in_bounded_time() -> None:
    depth = 100
    text = '{"value": "v", "children": [' * depth + "]}" * depth
    parser, parts = read(Tree, text, 64)
    assert parser.value == Tree.model_validate_json(text)
    assert not any(part.problems for part in parts)


@dataclasses.dataclass
class Counted(dict):  # type: ignore[type-arg]
    a: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counted) and self.a == other.a


class Linked(BaseModel):
    name: str
    next: Self | None


def test_what_cannot_be_made_in_part_is_plain_until_it_ends() -> None:
    """Names that only the place of their definition knows, and classes that are more than their fields."""

    @dataclasses.dataclass
    class Local:
        name: str
        next: Local | None

    type_: Any
    for type_ in (Local, Linked):
        parser, parts = read(type_, '{"name": "a", "next": {"name": "b", "next": nu')
        assert parser.complete is False
        assert "b" in repr(parser.value)
        parser.feed("ll}}")
        assert not any(part.problems for part in parts)
        assert parser.value == type_(name="a", next=type_(name="b", next=None))

    parser, _ = read(Counted, '{"a": 1')
    assert parser.value == {}
    parser.feed("}")
    assert parser.value == Schema(Counted).read('{"a": 1}')


class Leaf(BaseModel):
    text: str
    number: int | None
    colour: Colour


class Branch(BaseModel):
    name: str
    leaves: list[Leaf]
    table: dict[str, Leaf]


leaves = st.builds(
    Leaf, text=st.text(max_size=5), number=st.none() | st.integers(-9, 9), colour=st.sampled_from(Colour)
)
branches = st.builds(
    Branch,
    name=st.text(max_size=5),
    leaves=st.lists(leaves, max_size=3),
    table=st.dictionaries(st.text(max_size=3), leaves, max_size=3),
)


@given(branches, st.integers(1, 9))
def test_any_value_in_any_pieces_grows_into_itself(branch: Branch, size: int) -> None:
    parser, parts = read(Branch, branch.model_dump_json(), size)
    assert parser.value == branch
    assert not any(part.problems for part in parts)


class Private(BaseModel):
    title: str
    _seen: list[int] = PrivateAttr(default_factory=list)
    _limit: int = PrivateAttr(default=5)
    _unset: int = PrivateAttr()


def test_private_attributes_are_there_from_the_first_brace_on() -> None:
    parser = Schema(Private).parser()
    parser.feed('{"title": "Com')
    value = parser.value
    value._seen.append(1)
    assert (value.title, value._seen, value._limit) == ("Com", [1], 5)
    with pytest.raises(AttributeError):
        _ = value._unset
    assert copy.deepcopy(value)._seen == [1]
    other = Schema(Private).parser()
    other.feed("{")
    assert other.value._seen == []


def test_an_integer_stays_one_however_large_it_is() -> None:
    text = '{"value": 1180591620717411303425, "children": []}'
    tall = create_model("Tall", value=(int, ...), children=(list[int], ...))
    parser, parts = read(tall, text)
    assert parser.value == Schema(tall).read(text)
    assert parser.value.value == 1180591620717411303425
    assert [part.problems for part in parts] == [(), (), ()]
    _, parts = read(tall, '{"value": ' + "9" * 5000 + ', "children": []}')
    assert parts[0].problems


def test_a_validator_that_breaks_is_a_problem_of_its_part() -> None:
    class Kinds(BaseModel):
        kind: Annotated[str, AfterValidator({"a": "A"}.__getitem__)]

    parser, parts = read(Kinds, '{"kind": "b"}')
    assert parser.complete
    assert {part.problems for part in parts} == {("the answer: a validator raised KeyError",)}


def without_sign(value: Any) -> Any:
    return value.lstrip("$") if isinstance(value, str) else value


class Priced(BaseModel):
    price: float
    count: int

    @field_validator("price", mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return without_sign(value)


class Recast(BaseModel):
    count: int

    @model_validator(mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return {"count": value["count"].replace(",", "")}


class Coerced(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)
    name: str


class Leafless(BaseModel):
    x: int


class Deep(BaseModel):
    inner: Leafless
    inners: list[Priced]

    @field_validator("inner", mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return {"x": value["x"]["y"]}


class Reshaped(BaseModel):
    inner: Annotated[Leafless, BeforeValidator(lambda value: {"x": value["x"]["y"]})] | None
    numbers: Annotated[list[int], BeforeValidator(lambda value: [item.strip("#") for item in value])]


@pydantic_dataclass
class PricedToo:
    price: float

    @field_validator("price", mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return without_sign(value)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Priced, '{"price": "$5", "count": 1}'),
        (PricedToo, '{"price": "$5"}'),
        (Recast, '{"count": "1,000"}'),
        (Coerced, '{"name": 5}'),
        (Deep, '{"inner": {"x": {"y": 1}}, "inners": [{"price": "$5", "count": 1}]}'),
        (Reshaped, '{"inner": {"x": {"y": 1}}, "numbers": ["#1"]}'),
        (list[Priced], '{"response": [{"price": "$5", "count": 1}]}'),
    ],
)
def test_what_a_validator_makes_valid_was_never_told_as_invalid(type_: Any, text: str) -> None:
    parser, parts = read(type_, text)
    assert [part.problems for part in parts if part.problems] == []
    assert parser.value == Schema(type_, strict=False).read(text)


def test_a_field_beside_one_with_such_a_validator_is_told_at_once() -> None:
    _, parts = read(Priced, '{"count": "x", "price": "five"}')
    assert [part.path for part in parts if part.problems] == [("count",), ()]
    assert any(problem.startswith("price: ") for problem in parts[-1].problems)


def test_a_value_that_waits_for_its_validator_is_of_its_type_all_the_same() -> None:
    parser = Schema(Deep).parser()
    parser.feed('{"inner": {"x": {"y"')
    assert type(parser.value) is Deep
    assert type(parser.value.inner) is Leafless
