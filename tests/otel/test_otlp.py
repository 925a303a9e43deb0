"""Once end to end: over the protocol that collectors take, into a receiver that reads what was really sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the OTLP exporter of OpenTelemetry")

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from support.serving import CHAT, KEY, ask, serving

from cometstream import CometError
from cometstream.otel import instrument
from cometstream.testing import DONE, Reply, chunk

_READ: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


@contextmanager
def receiver() -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """A collector's endpoint, as far as exporters need one: it reads each message as what its path says it is."""
    received: dict[str, list[Any]] = {path: [] for path in _READ}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received[self.path].append(_READ[self.path].FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def values(attributes: Any) -> dict[str, Any]:
    """The attributes of a message, each by the kind of value that it was sent as."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


async def test_a_collector_reads_spans_metrics_and_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_AND_EVENT")
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
    whole = Reply.sse(chunk({"content": "Hé \U0001f30d"}, finish_reason="stop"), usage, DONE)
    # A lone half of a character, which protobuf refuses: it would cost all that is sent with it.
    odd = b'data: {"model":"m\\ud800","choices":[{"index":0,"delta":{"content":"a\\udfff"}}]}\n\n'
    with receiver() as (url, received):
        traces = TracerProvider()
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
        metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(f"{url}/v1/metrics"), 3_600_000)])
        logs = LoggerProvider()
        logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{url}/v1/logs")))
        async with serving(Reply.error(503), whole, Reply.sse(odd).cut(), retry=1) as (_, session):
            instrument(session, tracer_provider=traces, meter_provider=metrics, logger_provider=logs)
            await ask(session, temperature=0.5)
            with pytest.raises(CometError):
                await ask(session)
        for provider in (traces, metrics, logs):
            provider.shutdown()

    (batch,) = received["/v1/traces"]
    (scope,) = batch.resource_spans[0].scope_spans
    assert scope.scope.name == "cometstream"
    good, cut = scope.spans
    assert (good.name, good.kind) == (f"chat {CHAT['model']}", good.SPAN_KIND_CLIENT)
    about = values(good.attributes)
    assert about["gen_ai.usage.input_tokens"] == 3
    assert about["gen_ai.request.temperature"] == 0.5
    assert [item.string_value for item in about["gen_ai.response.finish_reasons"].values] == ["stop"]
    assert '"content":"Hé \U0001f30d"' in about["gen_ai.output.messages"]
    (event,) = good.events
    assert event.name == "cometstream.retry"
    assert values(event.attributes)["http.response.status_code"] == 503
    assert values(cut.attributes)["cometstream.outcome"] == "truncated"
    assert cut.status.code == cut.status.STATUS_CODE_ERROR
    assert good.end_time_unix_nano > good.start_time_unix_nano > 0

    (exported,) = received["/v1/metrics"]
    points = {
        metric.name: metric.histogram.data_points for metric in exported.resource_metrics[0].scope_metrics[0].metrics
    }
    assert sum(point.count for point in points["gen_ai.client.operation.duration"]) == 2
    assert sum(point.sum for point in points["gen_ai.client.token.usage"]) == 7

    records = [log.resource_logs[0].scope_logs[0].log_records[0] for log in received["/v1/logs"]]
    assert [record.event_name for record in records] == ["gen_ai.client.inference.operation.details"] * 2
    assert [record.span_id for record in records] == [good.span_id, cut.span_id]
    assert KEY not in repr(received)
