"""What gateways really send, written down by hand: every row as bytes, with what it must come to."""

from __future__ import annotations

from quirks.chunk_shape import CHUNK_SHAPE
from quirks.errors import ERRORS
from quirks.framing import FRAMING, IMAGE_LINE
from quirks.quirk import Answer, Call, Quirk, read_wire
from quirks.reasoning import REASONING
from quirks.termination import TERMINATION
from quirks.tool_calls import TOOL_CALLS
from quirks.usage import USAGE

__all__ = ["IMAGE_LINE", "QUIRKS", "Answer", "Call", "Quirk", "read_wire"]

QUIRKS = [*FRAMING, *CHUNK_SHAPE, *TOOL_CALLS, *TERMINATION, *ERRORS, *USAGE, *REASONING]
