"""The instruments: durations and tokens of calls, durations of tools, under their old names or their new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Counter, Histogram, Meter

    from cometstream.otel.values import Attributes
    from cometstream.views.chunks import CompletionUsage

__all__ = ["Instruments"]

# The conventions' buckets: 10 ms doubling, and one token times four.
_SECONDS: Final = [0.01 * 2**power for power in range(14)]
_TOKENS: Final = [4**power for power in range(14)]

_USAGE: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read.input_tokens",
    "cache_write.input_tokens",
    "reasoning.output_tokens",
)
_MODALITIES: Final = ("text", "audio", "image")


class Instruments:
    """What measurements are recorded with.

    Args:
        meter: Makes the instruments.
        latest: Under their new names.

    Attributes:
        duration: From entering a stream to its end.
        first_chunk: From entering a stream to its first content: chunks before that are held back.
        output_chunk: The mean time of a chunk after the first one, once for each stream.
        tool: How long a call of a tool took.
    """

    def __init__(self, meter: Meter, *, latest: bool) -> None:
        calls = "gen_ai.client.inference" if latest else "gen_ai.client.operation"

        def seconds(name: str, description: str) -> Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS)

        def tokens(name: str, description: str) -> Histogram:
            return meter.create_histogram(name, "{token}", description, explicit_bucket_boundaries_advisory=_TOKENS)

        self.duration = seconds(f"{calls}.duration", "Duration of a call, retries included.")
        self.first_chunk = seconds(f"{calls}.time_to_first_chunk", "Time to the first chunk with content.")
        self.output_chunk = seconds(f"{calls}.time_per_output_chunk", "Mean time per chunk after the first, by stream.")
        self.tool = seconds("gen_ai.execute_tool.duration", "Duration of the execution of a tool.")
        self._totals: Histogram | None = None
        self._counters: dict[str, Counter] = {}
        self._each: dict[str, Histogram] = {}
        if latest:
            for name in _USAGE:
                self._counters[name] = meter.create_counter(f"{calls}.usage.{name}", "{token}", "Tokens used.")
            for name in _USAGE[:2]:
                self._each[name] = tokens(f"{calls}.operation.{name}", "Tokens used by a call.")
        else:
            self._totals = tokens("gen_ai.client.token.usage", "Tokens used by a call.")

    def record_tokens(
        self, counts: Mapping[str, int], usage: CompletionUsage | None, attributes: Attributes, context: Context
    ) -> None:
        """Record the tokens of a call: those that the server reported, and nothing where it reported none."""
        for name, count in counts.items():
            if self._totals is not None:
                if name in _USAGE[:2]:
                    type_ = name.partition("_")[0]
                    self._totals.record(count, {**attributes, "gen_ai.token.type": type_}, context)
                continue
            if name in self._each:
                self._each[name].record(count, attributes, context)
            for modality, part in _by_modality(name, count, usage):
                self._counters[name].add(part, {**attributes, "gen_ai.token.modality": modality}, context)


def _by_modality(name: str, count: int, usage: CompletionUsage | None) -> list[tuple[str, int]]:
    """Return a count by modality as far as the server tells; what is left is ``unknown``."""
    details: Any = None
    if usage is not None and name in _USAGE[:2]:
        details = usage.prompt_tokens_details if name == "input_tokens" else usage.completion_tokens_details
    found = [] if details is None else [(name, details.raw.get(f"{name}_tokens")) for name in _MODALITIES]
    parts = [(modality, part) for modality, part in found if isinstance(part, int) and part > 0]
    left = count - sum(part for _, part in parts)
    if left < 0:
        return [("unknown", count)]
    return [*parts, ("unknown", left)] if left or not parts else parts
