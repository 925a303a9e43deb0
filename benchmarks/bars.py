"""The bars: what a token may cost, as ratios of one interleaved run, and whether they are met."""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# The values of one round: scenario -> label -> value.
Round = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Bar:
    """One bar.

    Args:
        title: What is compared.
        ratio: Computes the ratio in one round; a ``KeyError`` says that it was not measured.
        must: The bar; the ratio is at most this, or at least where `at_least`.
        aim: Where the project wants to be.
        at_least: Larger is better.
    """

    title: str
    ratio: Callable[[Round], float]
    must: float
    aim: float
    at_least: bool = False

    def measured(self, rounds: list[Round]) -> float | None:
        """Return the median of the rounds' ratios; None where it was not measured."""
        ratios = []
        for values in rounds:
            with suppress(KeyError, ZeroDivisionError):
                ratios.append(self.ratio(values))
        return statistics.median(ratios) if ratios else None

    def is_met(self, value: float, bar: float) -> bool:
        return value >= bar if self.at_least else value <= bar


def _ratio(scenario: str, label: str, yardstick: str) -> Callable[[Round], float]:
    return lambda values: values[scenario][label] / values[scenario][yardstick]


def _difference(scenario: str, label: str, yardstick: str) -> Callable[[Round], float]:
    return lambda values: values[scenario][label] - values[scenario][yardstick]


def _long(values: Round) -> float:
    """A chunk of a long answer over one of a short answer; the request's own cost is taken off both."""
    lines = values["long"]
    request = lines["cometstream 1"]
    costs = {}
    for length in (20_000, 200):
        costs[length] = (lines[f"cometstream {length}"] * length - request) / (length - 1)
    return costs[20_000] / costs[200]


def _kib(scenario: str, label: str) -> Callable[[Round], float]:
    return lambda values: values[scenario][label]


_FAN_OUT = "cometstream fan_out"

BARS = (
    Bar("typed chunks / hand-written, drip", _ratio("drip", "cometstream", "hand-written"), 0.95, 0.88),
    Bar("the same on uvloop", _ratio("drip-uvloop", "cometstream", "hand-written"), 0.9, 0.8),
    Bar("the same over TLS", _ratio("drip-tls", "cometstream", "hand-written"), 1.0, 0.9),
    Bar("the same over TLS on uvloop", _ratio("drip-tls-uvloop", "cometstream", "hand-written"), 0.97, 0.9),
    Bar("typed chunks / hand-written, burst", _ratio("burst", "cometstream", "hand-written"), 0.95, 0.88),
    Bar(
        "padded / plain chunks, burst",
        lambda values: values["burst"]["cometstream"] / values["burst-plain"]["cometstream"],
        1.15,
        1.05,
    ),
    Bar("openai create / cometstream, drip", _ratio("drip", "openai create", "cometstream"), 7, 8.5, True),
    Bar("openai create / cometstream, burst", _ratio("burst", "openai create", "cometstream"), 22, 27, True),
    Bar("openai create / cometstream, short", _ratio("short", "openai create", "cometstream"), 13, 15, True),
    Bar("litellm / cometstream, drip", _ratio("drip", "litellm", "cometstream"), 8, 10, True),
    Bar("litellm / cometstream, burst", _ratio("burst", "litellm", "cometstream"), 55, 75, True),
    Bar("pace=0.1 / hand-written, drip", _ratio("drip", "cometstream pace=0.1", "hand-written"), 0.55, 0.45),
    Bar("the same over TLS", _ratio("drip-tls", "cometstream pace=0.1", "hand-written"), 0.85, 0.7),
    Bar("pace=0.5 / hand-written, drip", _ratio("drip", "cometstream pace=0.5", "hand-written"), 0.32, 0.25),
    Bar("the same over TLS", _ratio("drip-tls", "cometstream pace=0.5", "hand-written"), 0.55, 0.4),
    Bar("fan_out / hand-written, 100 streams", _ratio("batch", _FAN_OUT, "hand-written"), 0.35, 0.3),
    Bar("the same over TLS", _ratio("batch-tls", _FAN_OUT, "hand-written"), 0.5, 0.3),
    Bar("fan_out / hand-written, 1,000 streams", _ratio("batch1000", _FAN_OUT, "hand-written"), 0.55, 0.5),
    Bar("the same over TLS", _ratio("batch1000-tls", _FAN_OUT, "hand-written"), 0.6, 0.4),
    Bar("openai with a semaphore / fan_out, 100 streams", _ratio("batch", "openai semaphore", _FAN_OUT), 12, 14, True),
    Bar(
        "openai with a semaphore / fan_out, 1,000 streams",
        _ratio("batch1000", "openai semaphore", _FAN_OUT),
        8,
        10,
        True,
    ),
    Bar(
        "openai over our transport / over its own, drip",
        _ratio("transport", "openai transport", "openai create"),
        0.8,
        0.7,
    ),
    Bar(
        "openai over our transport / over its own, burst",
        _ratio("transport-burst", "openai transport", "openai create"),
        0.8,
        0.6,
    ),
    Bar("fan_out of short answers / post + read, 100 at a time", _ratio("rows", _FAN_OUT, "post + read"), 1.45, 1.3),
    Bar("the same, 1,000 at a time", _ratio("rows1000", _FAN_OUT, "post + read"), 1.4, 1.3),
    Bar("a short answer / aiohttp post + read", _ratio("short", "cometstream", "post + read"), 1.4, 1.25),
    Bar("the same over TLS", _ratio("short-tls", "cometstream", "post + read"), 1.4, 1.25),
    Bar("with hooks / without", _ratio("watched", "cometstream with hooks", "cometstream"), 1.03, 1.0),
    Bar("with OpenTelemetry / without", _ratio("watched", "cometstream with OpenTelemetry", "cometstream"), 1.05, 1.03),
    Bar("memory of an open stream / hand-written", _ratio("open5000", "cometstream", "hand-written"), 1.08, 1.0),
    Bar("KiB of an open stream over TLS", _kib("open5000-tls", "cometstream"), 80, 40),
    Bar("opening a stream / hand-written", _ratio("opening", "cometstream", "hand-written"), 1.15, 1.05),
    *(
        bar
        for scenario, browsers in (("relay", "100"), ("relay1000", "1,000"))
        for bar in (
            Bar(f"relay raw / byte pump, {browsers} browsers", _ratio(scenario, "relay raw", "byte pump"), 1.25, 1.1),
            Bar(f"relay ui above raw in µs, {browsers} browsers", _difference(scenario, "relay ui", "relay raw"), 5, 4),
        )
    ),
    Bar(
        "openai re-encoded / relay raw, both behind FastAPI, 1,000 browsers",
        _ratio("relay1000", "openai re-encoded, FastAPI", "relay raw, FastAPI"),
        5,
        7,
        at_least=True,
    ),
    Bar("a chunk of 20,000 / a chunk of 200", _long, 1.1, 1.0),
    Bar(
        "a value of 257 KiB as it grows, openai / cometstream",
        _ratio("partials", "openai stream of a type", "cometstream partials()"),
        50.0,
        100.0,
        at_least=True,
    ),
    Bar(
        "a piece of a value of 257 KiB / of 4 KiB",
        _ratio("partials", "cometstream partials()", "cometstream partials(), 1000 pieces"),
        1.2,
        1.0,
    ),
    Bar("tool arguments / content", _ratio("tools", "cometstream tools", "cometstream"), 1.3, 1.1),
    Bar(
        "import cometstream / import aiohttp, orjson, anyio",
        _ratio("import", "import cometstream", "import aiohttp, orjson, anyio"),
        1.1,
        1.05,
    ),
)
