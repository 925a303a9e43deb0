"""What the conventions for generative AI name, old and new, and the switches of the environment that choose.

Source:
    github.com/open-telemetry/semantic-conventions-genai, and opentelemetry-util-genai 1.3b0, whose names are those that emitters
    send today.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from cometstream.observe import LOG

__all__ = ["NESTED", "Settings", "read_settings"]

NESTED: Final = "opentelemetry.genai.client.inference.context"
"""The key of OpenTelemetry's context under which opentelemetry-util-genai keeps what an open span of a call will say. A client
below makes no span of its own then, and adds what it knows to that."""

_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_EVENTS: Final = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"
_STABILITY: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
_LATEST: Final = "gen_ai_latest_experimental"

# For each mode whether spans have content, and whether events have.
_MODES: Final = {
    "NO_CONTENT": (False, False),
    "SPAN_ONLY": (True, False),
    "EVENT_ONLY": (False, True),
    "SPAN_AND_EVENT": (True, True),
}


@dataclass(frozen=True)
class Settings:
    """What the environment chooses.

    Attributes:
        latest: The newest names are sent, and no old ones.
        on_spans: Messages stand on spans.
        on_events: Messages stand on events.
        events: Events are sent.
    """

    latest: bool
    on_spans: bool
    on_events: bool
    events: bool


def read_settings() -> Settings:
    """Read the environment. What cannot be read is told, and left at its default: a service must start all the same."""
    latest = _LATEST in [name.strip() for name in os.environ.get(_STABILITY, "").split(",")]
    mode = os.environ.get(_CONTENT, "").strip().upper() or "NO_CONTENT"
    if mode not in _MODES:
        LOG.warning("%s must be one of %s; messages are not sent", _CONTENT, ", ".join(_MODES))
    on_spans, on_events = _MODES.get(mode, _MODES["NO_CONTENT"])
    events = os.environ.get(_EVENTS, "").strip().lower()
    if events not in ("", "true", "false"):
        LOG.warning("%s must be true or false", _EVENTS)
    return Settings(latest, on_spans, on_events, events == "true" or (events != "false" and on_events))
