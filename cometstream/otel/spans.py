"""The listener that makes spans of calls and steps, and measures calls.

A call has one span over all its attempts; each attempt that failed is an event on it. No span is the current one while a caller
reads: what the caller's own code does between two chunks is no part of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry import propagate
from opentelemetry._logs import LogRecord, get_logger
from opentelemetry.baggage import clear
from opentelemetry.metrics import get_meter
from opentelemetry.trace import SpanKind, StatusCode, get_tracer, set_span_in_context

from cometstream.errors import ConfigurationError
from cometstream.observe import LOG
from cometstream.otel.content import as_texts, content_attributes
from cometstream.otel.metrics import Instruments
from cometstream.otel.names import NESTED, read_settings
from cometstream.otel.steps import RAN, beginning, ending
from cometstream.otel.values import clean, finish_reasons, request_attributes, safe_text, token_counts
from cometstream.version import __version__

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span, TracerProvider

    from cometstream.failed import FailedAttempt
    from cometstream.metrics import StreamMetrics
    from cometstream.observe import Call
    from cometstream.otel.values import Attributes
    from cometstream.steps import Step

__all__ = ["Telemetry"]

_P = ParamSpec("_P")

_SCOPE: Final = "cometstream"

# Only durations name a trace as their example: it costs a sixth of a measurement, and two for each stream are enough.
_NO_SPAN: Final = contexts.Context()

# What opentelemetry.instrumentation.utils.suppress_instrumentation sets, and what openllmetry's instrumentations of frameworks do.
_SUPPRESSED: Final = ("suppress_instrumentation", "suppress_language_model_instrumentation")


@dataclass
class _Open:
    """A call or step that is under way.

    Attributes:
        span: Its span; None where one of somebody else's is told instead.
        context: OpenTelemetry's context for what belongs to it.
        told: That somebody else's.
        about: What measurements say of it, too.
        began: When it began.
    """

    span: Span | None
    context: Context
    told: object = None
    about: Attributes = field(default_factory=dict)
    began: float = 0.0


def _guarded(
    method: Callable[Concatenate[Telemetry, _P], None],
) -> Callable[Concatenate[Telemetry, _P], None]:
    """Keep errors of somebody's exporter, sampler or processor away from the call: a listener does not raise."""

    def run(self: Telemetry, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            LOG.warning("OpenTelemetry raised %s", type(error).__name__, exc_info=error)

    return run


class Telemetry:
    """A listener of a session. For the arguments see ``instrument``."""

    def __init__(
        self,
        base_url: str,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        logger_provider: LoggerProvider | None,
        propagator: TextMapPropagator | None,
        provider: str,
    ) -> None:
        self._settings = settings = read_settings()
        self._tracer = get_tracer(_SCOPE, __version__, tracer_provider)
        self._instruments = Instruments(get_meter(_SCOPE, __version__, meter_provider), latest=settings.latest)
        self._logger = get_logger(_SCOPE, __version__, logger_provider)
        self._propagator = propagator
        parts = urlsplit(base_url)
        self._provider = provider
        self._of_all_calls = clean(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": provider,
                "server.address": parts.hostname,
                "server.port": parts.port or (443 if parts.scheme == "https" else 80),
            },
            str,
        )
        self._calls: dict[Call, _Open] = {}
        self._steps: dict[Step, _Open] = {}
        self._stopped = False

    def stop(self) -> None:
        """Begin no more spans; those that are open end as they would."""
        self._stopped = True

    @_guarded
    def started(self, call: Call) -> None:
        """Begin a span, where no other tells of the call, and have its context sent."""
        current = contexts.get_current()
        if self._stopped or _is_suppressed(current):
            return
        told = contexts.get_value(NESTED, current)
        opened = self._calls[call] = _Open(None, current, told)
        if told is None:
            asked = clean({"gen_ai.request.model": call.model_asked, **request_attributes(call.params)}, call.redact)
            name = "chat"
            opened.about = self._of_all_calls
            if (model := asked.get("gen_ai.request.model")) is not None:
                name = f"chat {model}"
                opened.about = {**self._of_all_calls, "gen_ai.request.model": model}
            opened.span = self._tracer.start_span(name, current, SpanKind.CLIENT, {**self._of_all_calls, **asked})
            opened.context = set_span_in_context(opened.span, current)
        self._propagate(call, opened.context)

    def answered(self, call: Call) -> None:
        """A head is nothing of its own here."""

    def content_began(self, call: Call) -> None:
        """The first content is measured at the end."""

    @_guarded
    def repeated(self, call: Call, failed: FailedAttempt) -> None:
        """Add an event."""
        opened = self._calls.get(call)
        if opened is not None and opened.span is not None and opened.span.is_recording():
            told = {
                **_failure(failed),
                "cometstream.attempt": failed.number,
                "cometstream.followed_by": failed.followed_by,
                "cometstream.wait": failed.wait,
                "cometstream.next_model": failed.next_model,
                "cometstream.request_id": failed.request_id,
            }
            opened.span.add_event("cometstream.retry", clean(told, call.redact))

    @_guarded
    def ended(self, call: Call, metrics: StreamMetrics) -> None:
        """End the span, and record what the call took."""
        opened = self._calls.pop(call, None)
        if opened is None:
            return
        span, counts = opened.span, token_counts(metrics.usage)
        if span is None:
            _tell(opened.told, call, metrics, counts)
            return
        answer = clean(self._answer(call, metrics, counts), call.redact)
        try:
            self._measure(call, metrics, counts, answer, opened)
            if span.is_recording():
                self._describe(span, call, metrics, answer)
        finally:
            span.end()
        if self._settings.events:
            self._emit(call, answer, opened)

    @_guarded
    def step_began(self, step: Step) -> None:
        """Begin a span within that of the step around it."""
        around = None if step.parent is None else self._steps.get(step.parent)
        current = contexts.get_current() if around is None else around.context
        if self._stopped or _is_suppressed(current):
            return
        name, about = beginning(step)
        if step.kind == "run":
            about["gen_ai.provider.name"] = self._provider
        attributes = clean(about, step.redact)
        span = self._tracer.start_span(safe_text(name, step.redact), current, SpanKind.INTERNAL, attributes)
        self._steps[step] = _Open(span, set_span_in_context(span, current), began=perf_counter())

    @_guarded
    def step_ended(self, step: Step) -> None:
        """End its span, and measure a tool."""
        opened = self._steps.pop(step, None)
        span = None if opened is None else opened.span
        if opened is None or span is None:
            return
        error = None if step.error is None or step.outcome == "cancelled" else type(step.error).__name__
        try:
            if span.is_recording():
                span.set_attributes(clean(ending(step), step.redact))
                if error is not None:
                    span.set_attribute("error.type", error)
                    span.set_status(StatusCode.ERROR, error)
                if step.kind == "tool" and self._settings.on_spans:
                    for name in ("arguments", "result"):
                        if isinstance(step.about.get(name), str):
                            span.set_attribute(f"gen_ai.tool.call.{name}", safe_text(step.about[name], step.redact))
            if step.kind == "tool" and step.outcome in RAN:
                about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": step.name, "error.type": error}
                seconds = perf_counter() - opened.began
                self._instruments.tool.record(seconds, clean(about, step.redact), opened.context)
        finally:
            span.end()

    @contextmanager
    def within(self, step: Step) -> Iterator[None]:
        """Make a step's span the current one."""
        opened = self._steps.get(step)
        if opened is None:
            yield
            return
        token = contexts.attach(opened.context)
        try:
            yield
        except GeneratorExit:  # a coroutine that is dropped ends in whatever context; its own is gone
            raise
        except BaseException:
            contexts.detach(token)
            raise
        else:
            contexts.detach(token)

    def _propagate(self, call: Call, context: Context) -> None:
        headers: MutableMapping[str, Any] = {}
        if self._propagator is not None:
            self._propagator.inject(headers, context)
        else:
            propagate.inject(headers, clear(context))
        try:
            call.add_headers(headers)
        except ConfigurationError as error:
            LOG.warning("the propagator's headers are not sent: %s", error)

    def _measure(
        self, call: Call, metrics: StreamMetrics, counts: Mapping[str, int], answer: Attributes, opened: _Open
    ) -> None:
        about, context, instruments = opened.about, opened.context, self._instruments
        if (model := answer.get("gen_ai.response.model")) is not None:
            about = {**about, "gen_ai.response.model": model}
        ended: Attributes = {name: answer[name] for name in ("cometstream.outcome", "error.type") if name in answer}
        instruments.duration.record(metrics.duration, {**about, **ended}, context)
        instruments.record_tokens(counts, metrics.usage, about, _NO_SPAN)
        first, gaps = metrics.time_to_first_content, call.gaps
        if first is not None and call.params.get("stream") is True:
            instruments.first_chunk.record(first, about, context)
            if gaps is not None and call.began is not None and metrics.chunks > 1:
                flowed = max(gaps.last - call.began - first, 0.0)
                instruments.output_chunk.record(flowed / (metrics.chunks - 1), about, _NO_SPAN)

    def _describe(self, span: Span, call: Call, metrics: StreamMetrics, answer: Attributes) -> None:
        span.set_attributes(answer)
        if metrics.error is not None:
            span.set_status(StatusCode.ERROR, safe_text(metrics.error.reason, call.redact))
        if self._settings.on_spans:
            span.set_attributes(as_texts(content_attributes(call)))

    def _answer(self, call: Call, metrics: StreamMetrics, counts: Mapping[str, int]) -> dict[str, object]:
        completion, failed = call.completion, metrics.error
        reasons = None if completion is None else finish_reasons(completion, latest=self._settings.latest)
        streamed = call.params.get("stream") is True
        known: dict[str, object] = {
            "gen_ai.response.id": None if completion is None else completion.id or None,
            "gen_ai.response.model": metrics.model_answered,
            "gen_ai.response.finish_reasons": reasons,
            "gen_ai.response.time_to_first_chunk": metrics.time_to_first_content if streamed else None,
            **{f"gen_ai.usage.{name}": count for name, count in counts.items()},
            "cometstream.outcome": metrics.outcome,
            "cometstream.attempts": metrics.attempts,
            "cometstream.fallbacks": metrics.fallbacks,
            "cometstream.request_id": metrics.request_id,
            "cometstream.client_request_id": metrics.client_request_id,
            "cometstream.cost": metrics.cost,
        }
        return known if failed is None else {**known, **_failure(failed)}

    def _emit(self, call: Call, answer: Attributes, opened: _Open) -> None:
        attributes = {**opened.about, **clean(request_attributes(call.params), call.redact), **answer}
        if self._settings.on_events:
            attributes.update(content_attributes(call))
        name = "gen_ai.client.inference.operation.details"
        self._logger.emit(LogRecord(event_name=name, attributes=attributes, context=opened.context))


def _is_suppressed(context: Context) -> bool:
    return any(contexts.get_value(key, context) for key in _SUPPRESSED)


def _failure(failed: FailedAttempt) -> dict[str, object]:
    return {
        "error.type": failed.error,
        "http.response.status_code": failed.status,
        "cometstream.error.code": failed.code,
        "cometstream.error.clock": failed.clock,
    }


def _tell(told: Any, call: Call, metrics: StreamMetrics, counts: Mapping[str, int]) -> None:
    """Add what is known of an answer to somebody else's open span, by the names of opentelemetry-util-genai's ``InferenceData``."""
    completion, failed = call.completion, metrics.error
    known = {
        "error_type": None if failed is None else failed.error,
        "response_id": None if completion is None else completion.id or None,
        "response_model": metrics.model_answered,
        "response_finish_reasons": None if completion is None else finish_reasons(completion, latest=True),
        **{f"usage_{name.replace('.', '_')}": count for name, count in counts.items()},
    }
    for name, value in clean(known, call.redact).items():
        if hasattr(told, name):
            setattr(told, name, value)
