from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from typing import Any

import pytest

from cometstream import errors
from cometstream.errors import CometError
from cometstream.views.completion import ChatCompletion

CLASSES = [getattr(errors, name) for name in errors.__all__]

# A value for every field that a class may ask for.
FIELDS: dict[str, Any] = {
    "problems": ["temperature: 3 is over 2", "n: 0 is under 1"],
    "request_id": "r1",
    "retryable": True,
    "partial": ChatCompletion({"id": "1", "choices": []}, {"delta_null": 1}),
    "clock": "total",
    "status": 429,
    "code": "c",
    "type": "t",
    "param": "p",
    "body": {"error": {"message": "m"}},
    "headers": {"x": "y"},
    "retry_after": 3.5,
    "raw": b"raw",
}


def full(cls: type[CometError]) -> CometError:
    """An error with every field that its class and the classes above it take."""
    if issubclass(cls, errors.InvalidRequestError):
        return cls(FIELDS["problems"])
    names = {
        name
        for base in cls.__mro__
        if issubclass(base, CometError)
        for name in inspect.signature(base.__init__).parameters
    }
    return cls("what happened", **{name: value for name, value in FIELDS.items() if name in names})


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_pickles_and_copies_with_all_its_fields(cls: type[CometError]) -> None:
    error = full(cls)
    assert {"message", "request_id", "retryable", "partial"} <= set(vars(error))
    for field in vars(error):
        if field not in ("message", "problems") and cls is not errors.InvalidRequestError:
            assert getattr(error, field) == FIELDS[field]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert_twins(pickle.loads(pickle.dumps(error, protocol)), error)
    assert_twins(copy.copy(error), error)
    assert_twins(copy.deepcopy(error), error)


def assert_twins(twin: CometError, error: CometError) -> None:
    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_that_was_raised_and_annotated_pickles_too(cls: type[CometError]) -> None:
    with pytest.raises(cls) as caught:
        raise full(cls) from ValueError("cause")
    caught.value.__dict__.setdefault("__notes__", []).append("in request 7")
    twin = pickle.loads(pickle.dumps(caught.value))
    assert_twins(twin, caught.value)
    assert "what happened" in "".join(traceback.format_exception(twin)) or cls is errors.InvalidRequestError


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_callers_own_subclass_pickles(cls: type[CometError]) -> None:
    own = type("Own", (cls,), {"__module__": __name__, "__qualname__": "Own"})
    globals()["Own"] = own
    try:
        assert_twins(pickle.loads(pickle.dumps(full(own))), full(own))
    finally:
        del globals()["Own"]


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidRequestError, ValueError),
        (errors.ConfigurationError, ValueError),
        (errors.UsageError, RuntimeError),
        (errors.APIConnectionError, ConnectionError),
        (errors.APITimeoutError, ConnectionError),
        (errors.APITimeoutError, TimeoutError),
    ],
)
def test_errors_are_the_builtins_that_callers_already_catch(cls: type[CometError], builtin: type[Exception]) -> None:
    assert issubclass(cls, builtin)


def test_the_tree_is_the_one_that_the_module_draws() -> None:
    drawn = errors.__doc__ or ""
    stack: list[type] = []
    for line in drawn[drawn.index("::") :].splitlines():
        words = line.replace("\u2502", " ").replace("\u251c\u2500\u2500", "   ").replace("\u2514\u2500\u2500", "   ")
        name = words.split()[0] if words.split() else ""
        if name in errors.__all__:
            depth = (len(words) - len(words.lstrip())) // 4 - 1
            cls = getattr(errors, name)
            del stack[depth:]
            assert not stack or stack[-1] in cls.__bases__
            stack.append(cls)
    assert all(cls.__name__ in drawn for cls in CLASSES)
    assert set(CLASSES) == {
        value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, CometError)
    }


def test_an_invalid_request_lists_every_problem() -> None:
    error = errors.InvalidRequestError(FIELDS["problems"])
    assert error.problems == ("temperature: 3 is over 2", "n: 0 is under 1")
    assert str(error) == "the request was not sent, it has 2 problems: temperature: 3 is over 2; n: 0 is under 1"
    assert str(errors.InvalidRequestError(["a: b"])) == "the request was not sent, it has 1 problem: a: b"


def test_what_may_be_tried_again_says_so() -> None:
    assert errors.APIConnectionError("x").retryable
    assert errors.APITimeoutError("x", clock="first_content").retryable
    assert not errors.APITimeoutError("x", clock="total").retryable
    assert errors.StreamTruncatedError("x").retryable
    assert errors.StreamUnterminatedError("x").retryable
    assert errors.EmptyStreamError("x").retryable
    assert not errors.ProtocolError("x").retryable


def test_the_bytes_at_fault_are_kept_up_to_a_bound() -> None:
    assert len(errors.ProtocolError("x", raw=b"x" * 100_000).raw) == 65536
    assert errors.ProtocolError("x").raw == b""
    assert errors.APIStatusError("x", status=400).headers == {}


def test_the_status_reads_under_openais_name_too() -> None:
    assert errors.APIStatusError("x", status=402).status_code == 402
