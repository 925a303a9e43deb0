"""Values that nobody expects, and how a test tries them: no error but a ``CometError`` may come of them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cometstream import CometError, RetryPolicy, Timeouts
from cometstream.policy import NOT_GIVEN


class Awkward:
    """An object that cannot be printed, compared or asked for its truth, as arrays cannot."""

    __hash__ = None  # type: ignore[assignment] # Python's way to say that it has none

    def _refuse(self, *_: object) -> Any:
        raise ValueError("ambiguous")

    __repr__ = __str__ = __bool__ = __eq__ = __len__ = __iter__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse


class BrokenMapping(Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        return 1


class BrokenSequence(Sequence[Any]):
    """A sequence that cannot be read."""

    def __getitem__(self, index: Any) -> Any:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        return 1


def circular() -> list[Any]:
    value: list[Any] = []
    value.append({"role": "user", "content": value})
    return value


def deep() -> Any:
    value: Any = "deep"
    for _ in range(3000):
        value = [value]
    return value


# Values that hypothesis cannot print.
UNPRINTABLE: list[Any] = []

PRINTABLE: list[Any] = [
    None,
    True,
    NOT_GIVEN,
    0,
    -1,
    10**400,
    -(10**5000),
    1.5,
    float("nan"),
    float("inf"),
    1e308,
    "",
    " ",
    "\ud800",
    "\x00\r\n",
    "x" * 100_000,
    "gpt-5." + "1" * 5000,
    "https://a.example:99999/v1",
    "http://[::1/v1",
    "https://" + "a" * 300 + ".example/v1",
    b"bytes",
    bytearray(b"x"),
    [],
    [None],
    ["b"],
    (),
    {},
    {"": ""},
    {1: 2},
    {"Content-Length": "5"},
    {"Authorization": "Basic !!!"},
    {"X-A": "b"},
    {"a", "b"},
    object(),
    object,
    len,
    Awkward(),
    [Awkward()],
    {"role": Awkward(), "type": Awkward()},
    [{"role": "assistant", "tool_calls": Awkward()}],
    BrokenMapping(),
    [BrokenMapping()],
    BrokenSequence(),
    circular(),
    deep(),
    Timeouts(total=1e308),
    RetryPolicy(max_retries=10**30, initial_delay=0, max_delay=0, budget=3),
]

ODD = [*PRINTABLE, *UNPRINTABLE]

_texts = st.text(st.characters(exclude_categories=()), max_size=40)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_values = (
    st.sampled_from(PRINTABLE) | _json | st.dictionaries(st.sampled_from(["role", "content", "type", "X-A"]), _json)
)


def arguments(*names: str, others: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    known = st.sampled_from(names)
    return st.dictionaries(known | _texts.filter(lambda name: name != "self") if others else known, _values, max_size=4)


@contextlib.contextmanager
def only_ours() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = ""
        try:
            yield
        except CometError as error:
            told = str(error)
        assert "\n" not in told


def in_turn(test: Any) -> Any:
    """Try each odd value as each argument; hypothesis combines them."""
    unchecked = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(deadline=None, suppress_health_check=unchecked, max_examples=100)(test)


def each(*names: str) -> list[dict[str, Any]]:
    return [{name: value} for name in names for value in ODD]
