"""cometstream with somebody who hears of each call: hooks that count, or OpenTelemetry with its SDK."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.peers.comet import Chunks
from cometstream import CometSession, Hooks
from cometstream.otel import instrument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cometstream import FailedAttempt, StreamMetrics
    from cometstream.observe import Call


class Hooked(Chunks):
    """Every hook is set, and counts."""

    def __init__(self, base_url: str) -> None:
        self.heard: Counter[str | None] = Counter()
        hooks = Hooks(self.on_start, self.on_retry, self.on_first_content, self.on_end)
        self.session = CometSession(api_key="sk-benchmark", base_url=base_url, hooks=hooks)

    def on_start(self, call: Call) -> None:
        self.heard[call.model] += 1

    def on_retry(self, failed: FailedAttempt) -> None:
        self.heard[failed.reason] += 1

    def on_first_content(self, _: Call) -> None:
        self.heard["first content"] += 1

    def on_end(self, metrics: StreamMetrics) -> None:
        self.heard[metrics.outcome] += 1


class _Counted(SpanExporter):
    """Where spans go: what sends them on is not measured."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


class Traced(Chunks):
    """Spans and metrics, as OpenTelemetry's SDK makes them by default."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(_Counted()))
        meters = MeterProvider([InMemoryMetricReader()])
        instrument(self.session, tracer_provider=tracers, meter_provider=meters)
