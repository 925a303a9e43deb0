"""What is measured of a call and a tool, under the old names or the new ones, and never both."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the SDK of OpenTelemetry")

from support import virtual_clock
from support.serving import CHAT, ask, serving
from support.telemetry import Recorded

from cometstream import CometError, CometSession, run_tools, tool
from cometstream.testing import DONE, Reply, chunk

TEXT, STOP = chunk({"content": "Hello"}), chunk({}, finish_reason="stop")
USAGE: dict[str, Any] = {
    "prompt_tokens": 30,
    "completion_tokens": 20,
    "total_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 4, "audio_tokens": 12},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
WHOLE = Reply.sse(1.0, TEXT, 0.5, TEXT, 1.5, STOP, {"choices": [], "usage": USAGE}, DONE).after(2.0)
DOUBLING = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
BY_FOUR = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")


def measured(*replies: Reply, **call: Any) -> dict[str, list[Any]]:
    async def main() -> dict[str, list[Any]]:
        recorded = Recorded()
        async with serving(*replies, retry=None) as (_, session):
            recorded.instrument(session)
            try:
                await ask(session, **call)
            except CometError:
                pass
        return recorded.metrics

    return virtual_clock.run(main())


def only(points: list[Any]) -> Any:
    (point,) = points
    return point


def test_the_names_that_emitters_send_are_the_default() -> None:
    metrics = measured(WHOLE)
    assert set(metrics) == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.operation.time_per_output_chunk",
        "gen_ai.client.token.usage",
    }
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in metrics["gen_ai.client.token.usage"]}
    assert tokens == {"input": 30, "output": 20}
    assert metrics["gen_ai.client.token.usage"][0].explicit_bounds == BY_FOUR


@pytest.mark.usefixtures("newest")
def test_the_newest_names_take_their_place() -> None:
    metrics = measured(WHOLE)
    calls, usage = "gen_ai.client.inference", "gen_ai.client.inference.usage"
    assert set(metrics) == {
        f"{calls}.duration",
        f"{calls}.time_to_first_chunk",
        f"{calls}.time_per_output_chunk",
        f"{calls}.operation.input_tokens",
        f"{calls}.operation.output_tokens",
        f"{usage}.input_tokens",
        f"{usage}.output_tokens",
        f"{usage}.cache_read.input_tokens",
        f"{usage}.cache_write.input_tokens",
        f"{usage}.reasoning.output_tokens",
    }
    by_modality = {point.attributes["gen_ai.token.modality"]: point.value for point in metrics[f"{usage}.input_tokens"]}
    assert by_modality == {"audio": 12, "unknown": 18}
    assert only(metrics[f"{usage}.output_tokens"]).value == 20
    assert only(metrics[f"{usage}.cache_read.input_tokens"]).value == 10
    assert only(metrics[f"{usage}.cache_write.input_tokens"]).value == 4
    assert only(metrics[f"{usage}.reasoning.output_tokens"]).value == 5
    histogram = only(metrics[f"{calls}.operation.input_tokens"])
    assert (histogram.sum, histogram.explicit_bounds) == (30, BY_FOUR)
    assert "gen_ai.token.modality" not in histogram.attributes


@pytest.mark.usefixtures("newest")
def test_modalities_that_are_more_than_the_whole_are_not_believed() -> None:
    usage = {**USAGE, "prompt_tokens": 5}
    point = only(
        measured(Reply.sse(TEXT, STOP, {"choices": [], "usage": usage}, DONE))[
            "gen_ai.client.inference.usage.input_tokens"
        ]
    )
    assert (point.value, point.attributes["gen_ai.token.modality"]) == (5, "unknown")


def test_times_are_those_of_the_stream() -> None:
    metrics = measured(WHOLE)
    duration = only(metrics["gen_ai.client.operation.duration"])
    assert duration.sum == pytest.approx(5.0, abs=0.05)
    assert duration.explicit_bounds == DOUBLING
    first = only(metrics["gen_ai.client.operation.time_to_first_chunk"])
    assert first.sum == pytest.approx(3.0, abs=0.05)
    assert first.explicit_bounds == DOUBLING
    # Four chunks: the last is the usage. Three times between them, 2 s in all, as one mean.
    between = only(metrics["gen_ai.client.operation.time_per_output_chunk"])
    assert (between.count, between.explicit_bounds) == (1, DOUBLING)
    assert between.sum == pytest.approx(2.0 / 3, abs=0.05)


def test_each_point_says_whom_it_is_about() -> None:
    point = only(measured(WHOLE)["gen_ai.client.operation.duration"])
    about = dict(point.attributes)
    assert about.pop("server.port") > 0
    assert about == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "cometapi",
        "gen_ai.request.model": CHAT["model"],
        "gen_ai.response.model": TEXT["model"],
        "server.address": "127.0.0.1",
        "cometstream.outcome": "complete",
    }


@pytest.mark.parametrize("newest_names", [False, True])
def test_a_call_that_fails_is_measured_and_its_tokens_are_not_invented(
    newest_names: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if newest_names:
        monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    metrics = measured(Reply.sse(TEXT).cut())
    assert not [name for name in metrics if "token" in name]
    (name,) = [name for name in metrics if name.endswith(".duration")]
    point = only(metrics[name])
    assert (point.attributes["error.type"], point.attributes["cometstream.outcome"]) == (
        "StreamTruncatedError",
        "truncated",
    )
    refused = measured(Reply.error(400, "no"))
    assert set(refused) == {name}


def test_each_measurement_names_the_trace_it_belongs_to() -> None:
    async def main() -> None:
        recorded = Recorded()
        async with serving(WHOLE) as (_, session):
            recorded.instrument(session)
            await ask(session)
        (exemplar,) = only(recorded.metrics["gen_ai.client.operation.duration"]).exemplars
        assert recorded.chat.context is not None
        assert exemplar.span_id == recorded.chat.context.span_id

    virtual_clock.run(main())


@tool
async def get_weather(city: str) -> str:
    """Get the weather."""
    if city == "Atlantis":
        raise KeyError("sunk")
    return "fine"


@pytest.mark.parametrize(("city", "error"), [("Rome", None), ("Atlantis", "KeyError")])
def test_a_tool_is_measured(city: str, error: str | None) -> None:
    call = {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": f'{{"city":"{city}"}}'},
    }
    calls = Reply.sse(chunk({"tool_calls": [call]}), chunk({}, finish_reason="tool_calls"), DONE)

    async def main() -> None:
        recorded = Recorded()
        async with serving(calls, Reply.text("Bye.")) as (_, session):
            assert isinstance(session, CometSession)
            recorded.instrument(session)
            async with run_tools(session, **CHAT, tools=[get_weather]) as run:
                await run.until_done()
        point = only(recorded.metrics["gen_ai.execute_tool.duration"])
        wanted = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
        assert dict(point.attributes) == (wanted if error is None else {**wanted, "error.type": error})
        assert point.explicit_bounds == DOUBLING

    virtual_clock.run(main())
