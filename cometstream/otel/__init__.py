"""OpenTelemetry: a span and metrics for each call, by the conventions for generative AI.

::

    from cometstream.otel import instrument

    async with CometSession() as session:
        instrument(session)

names.py     what the conventions name, old and new, and the switches of the environment
values.py    a request and its usage as attributes
content.py   messages, where they are asked for
spans.py     what hears of calls and steps, and makes spans of them
metrics.py   the instruments

Nothing of it runs for a chunk: a span begins when a stream is entered, and ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from cometstream.errors import ConfigurationError
from cometstream.request.describe import kind, shown
from cometstream.session import CometSession

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import TracerProvider

    from cometstream.otel.spans import Telemetry

__all__ = ["instrument"]

# What hears of each session. It does not hold the session: whoever takes it back does.
_HEARING: Final[WeakKeyDictionary[CometSession, Telemetry]] = WeakKeyDictionary()


def instrument(
    session: CometSession,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    propagator: TextMapPropagator | None = None,
    provider: str = "cometapi",
) -> Callable[[], None]:
    """Have OpenTelemetry hear of every call of a session from now on, and of its runs of tools and its batches.

    Each call is a span ``chat {model}``, a child of the span that is current where its stream is entered. Names are those that
    emitters send today; ``OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental`` sends the newest ones instead. Prompts and
    answers are sent only where ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` is ``SPAN_ONLY``, ``EVENT_ONLY`` or
    ``SPAN_AND_EVENT``. The environment is read when this is called.

    Where a framework's own span for the same call is open, and says so as opentelemetry-util-genai does, no second span is made.

    Args:
        session: The session. A second call for it takes the first one's place.
        tracer_provider: Where spans go; None for the global one.
        meter_provider: Where metrics go; None for the global one.
        logger_provider: Where events go, which only a switch of the environment makes; None for the global one.
        propagator: Writes the span's context into the request's headers, such as ``traceparent``. None takes the global one, which
            ``OTEL_PROPAGATORS`` chooses, without baggage: the gateway is not a service of yours. One that you give sends all it
            has; an empty ``CompositePropagator`` sends nothing.
        provider: ``gen_ai.provider.name``: whom the session asks.
    Returns:
        A function that takes this back.
    Raises:
        ConfigurationError: An argument cannot be used, or OpenTelemetry is not installed.
    """
    if not isinstance(session, CometSession):
        raise ConfigurationError(f"session must be a CometSession; got {kind(session)}")
    for name, value, method in (
        ("tracer_provider", tracer_provider, "get_tracer"),
        ("meter_provider", meter_provider, "get_meter"),
        ("logger_provider", logger_provider, "get_logger"),
        ("propagator", propagator, "inject"),
    ):
        if value is not None and not callable(getattr(value, method, None)):
            raise ConfigurationError(
                f"{name} must be of OpenTelemetry's class of that name, or None; got {shown(value)}"
            )
    if not isinstance(provider, str) or not provider:
        raise ConfigurationError(f"provider must be a name; got {shown(provider)}")
    telemetry = _telemetry(session, tracer_provider, meter_provider, logger_provider, propagator, provider)
    if (before := _HEARING.get(session)) is not None:
        before.stop()
    _HEARING[session] = telemetry
    return session.listen(telemetry)


def _telemetry(session: CometSession, *settings: Any) -> Telemetry:
    try:
        import opentelemetry.trace  # noqa: F401 - a broken import of our own must not read as a missing package
    except ImportError as error:
        raise ConfigurationError("cometstream.otel needs OpenTelemetry: pip install 'cometstream[otel]'") from error
    from cometstream.otel.spans import Telemetry

    return Telemetry(session.base_url, *settings)
