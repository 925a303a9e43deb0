"""Trace calls with OpenTelemetry: a span and metrics for each, and one for each tool that is run, below the span of your handler.

Run it with ``--demo`` to see it against the simulated server, without a key. Needs
``pip install 'cometstream[otel,structured]' opentelemetry-sdk``. Spans and metrics are printed here; a program that sends them to a
collector has an exporter of OTLP in place of the one for the console.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from cometstream import CometSession, run_tools, tool
from cometstream.otel import instrument
from cometstream.testing import Reply, SimulatedServer


@tool
async def get_weather(city: str) -> str:
    """Get the current weather in a city.

    Args:
        city: The city's English name.
    """
    with trace.get_tracer("app").start_as_current_span("weather service"):  # a span of yours, below the tool's
        await asyncio.sleep(0.1)
    return f"clear in {city}"


async def main() -> None:
    spans = TracerProvider()
    spans.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=one_line)))
    trace.set_tracer_provider(spans)
    measured = MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())])
    metrics.set_meter_provider(measured)

    async with open_session() as session:
        instrument(session)  # all that cometstream needs
        with trace.get_tracer("app").start_as_current_span("handler"):
            async with session.stream(model="gpt-5.4", messages=[{"role": "user", "content": "Hello"}]) as stream:
                await stream.until_done()
            messages = [{"role": "user", "content": "What is the weather in Boston?"}]
            async with run_tools(session, model="gpt-5.4", messages=messages, tools=[get_weather]) as run:
                await run.until_done()
    measured.shutdown()


def one_line(span: ReadableSpan) -> str:
    about = span.attributes or {}
    shown = ("cometstream.outcome", "cometstream.attempts", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    told = [f"{name.rpartition('.')[2]}={about[name]}" for name in shown if name in about]
    return " ".join([span.name, *told, *(event.name for event in span.events)]) + "\n"


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[CometSession]:
    if "--demo" in sys.argv:
        async with SimulatedServer() as server:
            server.script(Reply.error(503))  # the first attempt fails: an event on its span
            async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
                yield session
    else:
        async with CometSession() as session:  # key from COMETAPI_KEY
            yield session


asyncio.run(main())
