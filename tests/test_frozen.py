"""The settings and facts whose methods are written once are, to their users, frozen dataclasses like any other."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from cometstream import ConfigurationError, RetryPolicy, StreamMetrics, Timeouts
from cometstream.answer.error_body import ErrorBody
from cometstream.policy import Clocks

SAMPLES = [
    Timeouts(connect=1.5, total=None),
    RetryPolicy(max_retries=4, statuses=[500]),
    Clocks(total=3.0),
    ErrorBody("it broke", "502", raw={"a": 1}),
    StreamMetrics("req", 1, 0.1, 0.2, 3, 100, None),
]
each_of_them = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)


def twin(sample: Any) -> Any:
    """Return the same fields and values in a class that `dataclasses` has written."""
    fields = [(field.name, field.type, field) for field in dataclasses.fields(type(sample))]
    bare = [(name, kind, dataclasses.field(default=field.default)) for name, kind, field in fields]
    made = dataclasses.make_dataclass(type(sample).__qualname__, bare, frozen=True)
    return made(**{name: getattr(sample, name) for name, _, _ in fields})


@each_of_them
def test_it_shows_itself_as_a_dataclass_does(sample: Any) -> None:
    assert repr(sample) == repr(twin(sample))
    assert dataclasses.asdict(sample) == dataclasses.asdict(twin(sample))
    assert dataclasses.astuple(sample) == dataclasses.astuple(twin(sample))


@each_of_them
def test_its_defaults_are_those_of_its_fields(sample: Any) -> None:
    needed = {
        field.name: getattr(sample, field.name)
        for field in dataclasses.fields(sample)
        if field.default is dataclasses.MISSING
    }
    made = type(sample)(**needed)
    for field in dataclasses.fields(sample):
        assert getattr(made, field.name) == needed.get(field.name, field.default)


@each_of_them
def test_it_equals_what_has_its_class_and_its_values(sample: Any) -> None:
    same = dataclasses.replace(sample)
    assert same == sample == copy.copy(sample) == copy.deepcopy(sample) == pickle.loads(pickle.dumps(sample))
    assert sample != twin(sample)
    name = dataclasses.fields(sample)[-1].name
    assert sample != dataclasses.replace(sample, **{name: 7})


@pytest.mark.parametrize("sample", [sample for sample in SAMPLES if not isinstance(sample, ErrorBody)])
def test_it_is_a_key_as_its_values_are(sample: Any) -> None:
    assert {sample: 1}[dataclasses.replace(sample)] == 1
    assert hash(sample) == hash(twin(sample))


@each_of_them
def test_nothing_is_set_and_nothing_is_taken_away(sample: Any) -> None:
    name = dataclasses.fields(sample)[0].name
    before = getattr(sample, name)
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(sample, name, 7)
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(sample, name)
    assert getattr(sample, name) is before


def test_a_frozen_dataclass_may_be_made_of_one_of_them_and_keeps_its_checks() -> None:
    @dataclasses.dataclass(frozen=True)
    class Named(RetryPolicy):
        name: str = "mine"

    assert Named(max_retries=3).max_retries == 3
    assert Named(3, name="yours") == Named(3, name="yours") != Named(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Named().name = "x"  # type: ignore[misc] # that it is refused is the test
    with pytest.raises(ConfigurationError, match="max_retries"):
        Named(max_retries=-1)


def test_no_dataclass_that_can_change_is_made_of_one_of_them() -> None:
    with pytest.raises(TypeError, match="frozen"):
        dataclasses.make_dataclass("Named", [("name", str, "mine")], bases=(RetryPolicy,))
