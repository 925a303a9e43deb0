"""What a probe has measured, as figures, as a table and as JSON."""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from cometstream.cli.process import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cometstream.errors import CometError
    from cometstream.metrics import StreamMetrics

__all__ = ["Probed", "Sample", "as_document", "as_table", "percentile"]


@dataclass(frozen=True)
class Sample:
    """One stream.

    Attributes:
        metrics: What the stream tells of itself.
        gaps: Seconds between two arrivals of content.
        error: The kind of its error; None where it is complete.
    """

    metrics: StreamMetrics
    gaps: Sequence[float]
    error: str | None

    @property
    def answered(self) -> int:
        """How many of its attempts had a connection."""
        lost = sum(
            failed.error == "APIConnectionError" or failed.clock == "connect" for failed in self.metrics.failures
        )
        return self.metrics.attempts - lost


@dataclass
class Probed:
    """What has been measured so far.

    Attributes:
        models: The models, in the order in which they were named.
        streams: Streams of each model that are to be measured.
        concurrency: Streams of each model at a time.
        samples: The streams that ended, of all models.
        failure: The last error.
        seconds: How long it took.
        opened: Connections that were opened for it.
    """

    models: Sequence[str]
    streams: int
    concurrency: int
    samples: list[Sample] = field(default_factory=list)
    failure: CometError | None = None
    seconds: float = 0.0
    opened: int = 0

    def note(self, metrics: StreamMetrics, gaps: Sequence[float], failure: CometError | None) -> None:
        """Note a stream that ended."""
        error = None
        if failure is not None:
            error = metrics.error.reason if metrics.error is not None else type(failure).__name__
            self.failure = failure
        self.samples.append(Sample(metrics, gaps, error))

    def of(self, model: str) -> list[Sample]:
        """Return the streams of a model."""
        return [sample for sample in self.samples if sample.metrics.model == model]

    @property
    def succeeded(self) -> int:
        """How many streams are complete."""
        return sum(sample.error is None for sample in self.samples)

    @property
    def answered(self) -> int:
        """How many requests had a connection."""
        return sum(sample.answered for sample in self.samples)

    @property
    def reused(self) -> int:
        """How many of them went over one that had been used before."""
        return max(self.answered - self.opened, 0)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that a share of all does not exceed (nearest rank); None where there are none."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else None


def _figures(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    """Return one model's figures under the names that JSON has."""
    metrics = [sample.metrics for sample in samples]
    tokens = sum(one.usage.completion_tokens for one in metrics if one.usage is not None)
    costs = [one.cost for one in metrics if one.cost is not None]
    return {
        "streams": len(samples),
        "complete": sum(sample.error is None for sample in samples),
        "first_content": _spread(
            [one.time_to_first_content for one in metrics if one.time_to_first_content is not None]
        ),
        "gap": _spread([gap for sample in samples for gap in sample.gaps]),
        "tokens_per_second": _spread([one.tokens_per_second for one in metrics if one.tokens_per_second is not None]),
        "output_tokens": tokens,
        "output_tokens_per_second": tokens / seconds if tokens and seconds else None,
        "cost": sum(costs) if costs else None,
        "cost_source": next((one.cost_source for one in metrics if one.cost is not None), "unknown"),
        "unpriced": len(metrics) - len(costs),
        "errors": dict(Counter(sample.error for sample in samples if sample.error is not None).most_common()),
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    return {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95), "max": max(values, default=None)}


def as_document(probed: Probed) -> str:
    """Return one JSON object and a line end; times are in seconds."""
    document = {
        "concurrency": probed.concurrency,
        "seconds": probed.seconds,
        "connections": {"opened": probed.opened, "reused": probed.reused},
        "models": [{"model": model, **_figures(probed.of(model), probed.seconds)} for model in probed.models],
    }
    return f"{orjson.dumps(document).decode()}\n"


def as_table(probed: Probed) -> str:
    """Return a table with a column for each model."""
    is_utf = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    table = Table("", box=box.SIMPLE_HEAD if is_utf else box.ASCII2, show_edge=False, pad_edge=False)
    figures = [_figures(probed.of(model), probed.seconds) for model in probed.models]
    for model in probed.models:
        table.add_column(one_line(model), justify="right", overflow="fold")
    table.add_row("streams complete", *(f"{one['complete']} of {one['streams']}" for one in figures))
    for name, key in (("first content", "first_content"), ("gap", "gap")):
        for share in ("p50", "p95", "max"):
            table.add_row(f"{name}, {share}", *(_time(one[key][share]) for one in figures))
    table.add_row("tokens/s of a stream, p50", *(_rate(one["tokens_per_second"]["p50"]) for one in figures))
    table.add_row("tokens/s of all streams", *(_rate(one["output_tokens_per_second"]) for one in figures))
    table.add_row("output tokens", *(f"{one['output_tokens']:,}" for one in figures))
    table.add_row("cost", *map(_cost, figures))
    for kind in dict.fromkeys(kind for one in figures for kind in one["errors"]):
        table.add_row(one_line(kind), *(str(one["errors"].get(kind, 0)) for one in figures))
    text = io.StringIO()
    drawn = Console(file=text, width=Console().width, color_system=None, markup=False, highlight=False)
    drawn.print(table)
    used = f"{probed.reused} of {probed.answered} requests went over a used one"
    drawn.print(f"\nconnections: {probed.opened} opened, {used}; {probed.seconds:.1f} s")
    return text.getvalue()


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.{0 if seconds >= 0.1 else 1}f} ms"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}"


def _cost(figures: dict[str, Any]) -> str:
    if figures["cost"] is None:
        return "unknown"
    return f"${figures['cost']:.6f}" + (f" and {figures['unpriced']} unknown" if figures["unpriced"] else "")
