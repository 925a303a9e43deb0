"""OpenTelemetry's own SDK, which keeps what a session tells it."""

from __future__ import annotations

from typing import Any

from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cometstream import CometSession
from cometstream.otel import instrument

__all__ = ["Recorded", "id_of", "parent_of"]


class _Counting(SpanProcessor):
    """Knows which spans were begun, and not ended."""

    def __init__(self) -> None:
        self.open: set[int] = set()

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        assert span.context is not None  # every span has one
        self.open.add(span.context.span_id)

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None  # as above
        self.open.discard(span.context.span_id)


class Recorded:
    """What was told: spans as they end, measurements, events."""

    def __init__(self, *, keep_spans: bool = True) -> None:
        self._spans, self._reader, self._logs = (
            InMemorySpanExporter(),
            InMemoryMetricReader(),
            InMemoryLogRecordExporter(),
        )
        self._counting = _Counting()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(self._counting)
        if keep_spans:
            self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader])
        self.loggers = LoggerProvider()
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self._logs))

    def instrument(self, session: CometSession, *, propagator: TextMapPropagator | None = None, **options: Any) -> Any:
        return instrument(
            session,
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            logger_provider=self.loggers,
            propagator=propagator,
            **options,
        )

    @property
    def open(self) -> int:
        """How many spans were begun and not ended."""
        return len(self._counting.open)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    @property
    def chat(self) -> ReadableSpan:
        """The span of the one call that was made."""
        (span,) = [span for span in self.spans if span.name.startswith("chat")]
        return span

    @property
    def about(self) -> dict[str, Any]:
        """That span's attributes."""
        return dict(self.chat.attributes or {})

    @property
    def logs(self) -> tuple[Any, ...]:
        return self._logs.get_finished_logs()

    @property
    def events(self) -> list[tuple[str | None, dict[str, Any]]]:
        records = [log.log_record for log in self.logs]
        return [(record.event_name, dict(record.attributes or {})) for record in records]

    @property
    def metrics(self) -> dict[str, list[Any]]:
        """The points of each instrument that was used."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None  # every span has one
    return span.context.span_id
