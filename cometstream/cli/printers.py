"""Shows an answer as plain text or as JSON lines on stdout, and everything else on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import orjson
from rich.console import Console

from cometstream.cli.process import Stdout, one_line, printable, say

if TYPE_CHECKING:
    from cometstream.errors import CometError
    from cometstream.metrics import StreamMetrics
    from cometstream.stream import ChatStream
    from cometstream.views.chunks import ChatCompletionChunk
    from cometstream.views.completion import ChatCompletion

__all__ = ["JSONPrinter", "Notes", "Printer", "Stderr", "TextPrinter", "tell_unseen"]


class Printer(Protocol):
    """Writes an answer on stdout."""

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """Write what a chunk brings."""
        ...

    def ending(self, stream: ChatStream, error: CometError | None) -> None:
        """Write what belongs at the end, however the answer ended."""
        ...


class TextPrinter:
    """Writes the text as it arrives, and one line end after it."""

    def __init__(self) -> None:
        self._stdout = Stdout()
        self._last = "\n"

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """Write the first choice's text."""
        for choice in chunk.choices:
            text = choice.delta.content if choice.index == 0 else None
            if text:
                self._stdout.write(text)
                self._last = text

    def ending(self, stream: ChatStream, error: CometError | None) -> None:
        """End the last line."""
        if not self._last.endswith("\n"):
            self._stdout.write("\n")


class JSONPrinter:
    """Writes one JSON object a line: each chunk as it came, then how it ended."""

    def __init__(self) -> None:
        self._stdout = Stdout(encoding="utf-8")  # RFC 8259, 8.1

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """Write the chunk."""
        self._stdout.write(f"{chunk.to_json()}\n")

    def ending(self, stream: ChatStream, error: CometError | None) -> None:
        """Write outcome, error, usage and metrics."""
        figures: dict[str, Any] = dict(vars(stream.metrics))
        usage = figures.pop("usage")
        ending = {
            "object": "cometstream.ending",
            "outcome": stream.outcome,
            "error": None if error is None else _error(error),
            "usage": None if usage is None else usage.raw,
            "metrics": figures,
        }
        self._stdout.write(f"{orjson.dumps(ending).decode()}\n")


class Stderr(Console):
    """A console that goes on if nobody reads stderr any more: the answer matters more."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True


class Notes:
    """Shows on stderr what is not the text of the answer.

    Args:
        reasoning: Whether to show the model's reasoning as it arrives, dim on a terminal.
        usage: Whether to show usage and metrics at the end.
        cost: Whether to show what the answer cost.
    """

    def __init__(self, *, reasoning: bool, usage: bool, cost: bool = False) -> None:
        self._console = Stderr()
        self._reasoning = reasoning
        self._usage = usage
        self._cost = cost
        self._last = "\n"

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """Show the first choice's reasoning; its last line is ended before the text begins."""
        if not self._reasoning:
            return
        for choice in chunk.choices:
            if choice.index == 0:
                if text := choice.delta.reasoning:
                    self._show(text)
                    self._last = text
                if choice.delta.content:
                    self._end_line()

    def ending(self, stream: ChatStream) -> None:
        """Show what the reader of the text cannot see, then usage and metrics."""
        self._end_line()
        completion = stream.completion
        tell_unseen(completion)
        if self._usage:
            self._show(f"{_usage(completion)}\n{_metrics(stream.metrics)}\n")
        if self._cost or (self._usage and completion.cost is not None):
            self._show(f"{_cost(completion)}\n")

    def _end_line(self) -> None:
        if not self._last.endswith("\n"):
            self._show("\n")
        self._last = "\n"

    def _show(self, text: str) -> None:
        try:
            shown = printable(text) if self._console.is_terminal else text
            self._console.out(shown, style="dim", highlight=False, end="")
        except OSError:
            pass  # a full disk, for example; the answer matters more


def tell_unseen(completion: ChatCompletion) -> None:
    """Say what the reader of the text cannot see: that the model refused, or that the answer was cut."""
    if completion.refusal:
        say(f"the model refused: {completion.refusal}")
    if completion.finish_reason == "length":
        say("the token limit cut the answer (finish_reason: length)")
    elif completion.finish_reason == "content_filter":
        say("the provider's content filter cut the answer (finish_reason: content_filter)")


def _error(error: CometError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": str(error),
        "status": getattr(error, "status", None),
        "code": getattr(error, "code", None),
        "request_id": error.request_id,
    }


def _usage(completion: ChatCompletion) -> str:
    usage = completion.usage
    if usage is None:
        return "usage: unknown, the server reported none"
    details = []
    if usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens:
        details.append(f"{usage.prompt_tokens_details.cached_tokens} cached")
    if usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens:
        details.append(f"{usage.completion_tokens_details.reasoning_tokens} reasoning")
    within = f" (of these {', '.join(details)})" if details else ""
    return f"usage: {usage.prompt_tokens} prompt + {usage.completion_tokens} completion = {usage.total_tokens} tokens{within}"


def _cost(completion: ChatCompletion) -> str:
    if completion.cost is None:
        return "cost: unknown, neither the server nor the catalogue says"
    said = "as the server reported" if completion.cost_source == "reported" else "by the catalogue's prices"
    return f"cost: ${completion.cost:.6f} ({said})"


def _metrics(metrics: StreamMetrics) -> str:
    first = metrics.time_to_first_content
    parts = [
        "no content" if first is None else f"first content after {first:.2f} s",
        f"{metrics.duration:.2f} s in all",
        f"{metrics.chunks} chunks",
        f"{metrics.bytes} bytes",
        f"attempts: {metrics.attempts}",
        f"request id: {one_line(metrics.request_id or 'none')}",
    ]
    return "metrics: " + ", ".join(parts)
