"""Events to the parts of a message: text and reasoning that begin and end, and tool calls. Shared by the protocols of UIs.

Events are told apart by their ``type`` alone, so that a stream's and a tool loop's are taken alike. The types and their fields:

::

    content.delta, refusal.delta                      delta, choice_index                       stream
    reasoning.delta                                   delta, choice_index                       stream
    content.done, refusal.done, reasoning.done        choice_index                              stream
    tool_calls.function.arguments.delta               index, id, name, arguments_delta          stream
    tool_calls.function.arguments.done                index, id, name, arguments                stream
    tool.started, tool.approval                       call: id, index, name, arguments, ...     tool loop
    tool.result                                       call, value, content                      tool loop
    tool.failed, tool.cancelled                       call, content                             tool loop
    round.finished                                                                              tool loop

Of several choices the first is shown.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import ProtocolError
from cometstream.relay.extras import usage_of
from cometstream.relay.smoothed import SmoothedEvents
from cometstream.relay.sse import json_bytes
from cometstream.stream import ChatStream
from cometstream.views.completion import ChatCompletion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cometstream.answer.smooth import Smoother
    from cometstream.views.completion import ToolCall

__all__ = ["Call", "PartEncoder"]


class Call:
    """One tool call that is being shown.

    Attributes:
        id: Its id, made up where the model gave none; it never changes.
        name: The tool's name as far as it came.
        begun: The browser knows of it.
        ended: The browser has all of its arguments.
        pieces: The arguments' JSON text in pieces, as far as it came.
    """

    __slots__ = ("begun", "ended", "id", "name", "pieces")

    def __init__(self, id: str | None, name: str) -> None:  # noqa: A002 - the wire's own name
        self.id = id or f"call_{secrets.token_hex(8)}"
        self.name = name
        self.begun = False
        self.ended = False
        self.pieces: list[str] = []


class PartEncoder:
    """Keeps what is open, and has a protocol write it.

    Args:
        source: What is relayed.
        message_id: The id of the message.
        smoother: Spreads bursts of text; None leaves them as they come.
    """

    def __init__(self, source: Any, message_id: str, smoother: Smoother | None = None) -> None:
        self.source = source
        self._smoother = smoother
        self.message_id = message_id
        self.begun = False
        self._step_ended = False
        self._open: dict[str, str] = {}  # kind -> id of the part that is open
        self._text_goes_on: bytes | None = None
        self._parts = 0
        self.calls: dict[int, Call] = {}
        self._encoders: Final[dict[str, Callable[[Any], bytes]]] = {
            "content.delta": self._content_delta,
            "refusal.delta": self._content_delta,
            "reasoning.delta": self._reasoning_delta,
            "content.done": self._content_done,
            "refusal.done": self._content_done,
            "reasoning.done": self._reasoning_done,
            "tool_calls.function.arguments.delta": self._arguments_delta,
            "tool.started": self._tool_started,
            "tool.approval": self._tool_approval,
            "tool.result": self._tool_result,
            "tool.failed": self._tool_failed,
            "tool.cancelled": self._tool_failed,
            "round.finished": self._round_finished,
        }

    def items(self) -> AsyncIterator[Any]:
        """Iterate what `encode` takes."""
        source = self.source
        events: AsyncIterator[Any]
        if isinstance(source, ChatStream):
            events = source.events(chunks=False)
        else:
            events = source.events() if hasattr(source, "events") else source
        return events if self._smoother is None else SmoothedEvents(events, self._smoother)

    def encode(self, item: Any) -> bytes:
        """Return the bytes of one item."""
        if getattr(item, "choice_index", None):
            return b""
        type_ = item.type
        if type_ == "content.delta" and self._text_goes_on is not None:
            return self._text_goes_on + json_bytes(item.delta) + b"}\n\n"
        encoder = self._encoders.get(type_)
        return b"" if encoder is None else encoder(item)

    @property
    def completion(self) -> ChatCompletion:
        """The completion of the source, an empty one where there is none yet."""
        completion: ChatCompletion | None = self.source.completion
        return ChatCompletion({}) if completion is None else completion

    @property
    def usage(self) -> dict[str, int]:
        """The token counts of the source: of all its answers, where it tells them, else of the last."""
        return usage_of(getattr(self.source, "usage", None) or self.completion.usage)

    def finish(self) -> bytes:
        """Return the last bytes of an answer that is complete."""
        self._step_ended = False
        return self.begun_now() + self._end_of_step()

    # What a protocol writes.

    def begin(self) -> bytes:
        """Write the beginning of the message."""
        raise NotImplementedError

    def part_begins(self, kind: str, id: str) -> bytes:  # noqa: A002 - the wire's own name
        """Write the beginning of a part: of text, or of reasoning."""
        raise NotImplementedError

    def part_goes_on(self, kind: str, id: str, delta: str) -> bytes:  # noqa: A002
        """Write a piece of a part."""
        raise NotImplementedError

    def part_ends(self, kind: str, id: str) -> bytes:  # noqa: A002
        """Write the end of a part."""
        raise NotImplementedError

    def call_begins(self, call: Call) -> bytes:
        """Write the beginning of a tool call."""
        raise NotImplementedError

    def call_goes_on(self, call: Call, delta: str) -> bytes:
        """Write a piece of a call's arguments."""
        raise NotImplementedError

    def call_ends(self, call: Call, arguments: dict[str, Any] | None) -> bytes:
        """Write the end of a call; its arguments are None where it was not written to its end, or they are no object."""
        raise NotImplementedError

    def call_waits(self, call: Call, approval: str) -> bytes:
        """Write that a call waits for the user's decision."""
        raise NotImplementedError

    def call_result(self, call: Call, value: Any, content: str) -> bytes:
        """Write the result of a call."""
        raise NotImplementedError

    def call_failed(self, call: Call, content: str) -> bytes:
        """Write that a call has no result, in the words that the model is told."""
        raise NotImplementedError

    def step_ends(self) -> bytes:
        """Write the end of one of several answers."""
        raise NotImplementedError

    # How events become these.

    def begun_now(self) -> bytes:
        """Return the beginning of the message, the first time."""
        if self.begun:
            # A step ends when the next one begins: the last is ended by the message.
            ended, self._step_ended = self._step_ended, False
            return self.step_ends() if ended else b""
        self.begun = True
        return self.begin()

    def _content_delta(self, event: Any) -> bytes:
        return self._delta("text", event.delta)

    def _reasoning_delta(self, event: Any) -> bytes:
        return self._delta("reasoning", event.delta)

    def _content_done(self, event: Any) -> bytes:
        return self._part_done("text")

    def _reasoning_done(self, event: Any) -> bytes:
        return self._part_done("reasoning")

    def _delta(self, kind: str, delta: str) -> bytes:
        id_ = self._open.get(kind)
        if id_ is not None:
            return self.part_goes_on(kind, id_, delta)
        begins = self.begun_now()
        self._parts += 1
        id_ = self._open[kind] = f"{self.message_id}-{self._parts}"
        if kind == "text":
            # Nearly all events of an answer are alike but for their text, which is the last field.
            self._text_goes_on = self.part_goes_on(kind, id_, "")[: -len(b'""}\n\n')]
        return begins + self.part_begins(kind, id_) + self.part_goes_on(kind, id_, delta)

    def _part_done(self, kind: str) -> bytes:
        if kind == "text":
            self._text_goes_on = None
        id_ = self._open.pop(kind, None)
        return b"" if id_ is None else self.part_ends(kind, id_)

    def close_parts(self) -> bytes:
        """Write the ends of the parts that are open."""
        return b"".join([self._part_done(kind) for kind in list(self._open)])

    def _arguments_delta(self, event: Any) -> bytes:
        call = self.calls.get(event.index)
        if call is None:
            call = self.calls[event.index] = Call(event.id, event.name)
        if not call.begun:
            call.name = event.name
        delta = event.arguments_delta
        begins = b""
        # A name may come in pieces, and a browser is told of it once: it is whole when the arguments begin.
        if delta:
            begins = self.begun_now() + self._call_begins(call)
            call.pieces.append(delta)
            return begins + self.call_goes_on(call, delta)
        return begins

    def _call_begins(self, call: Call) -> bytes:
        if call.begun:
            return b""
        call.begun = True
        return self.call_begins(call)

    def _end_of_step(self) -> bytes:
        """Write the ends of what is open; only now it is known whether the calls came whole."""
        pieces = [self.close_parts()]
        called = self.completion.tool_calls
        for index, call in self.calls.items():
            if not call.ended:
                pieces.append(self._call_ends(call, _arguments(called[index]) if index < len(called) else None))
        return b"".join(pieces)

    def _call_ends(self, call: Call, arguments: dict[str, Any] | None) -> bytes:
        call.ended = True
        return self.begun_now() + self._call_begins(call) + self.call_ends(call, arguments)

    def _called(self, invocation: Any) -> tuple[Call, bytes]:
        """Return a call that a tool loop tells of, and what shows it to the browser if it was not shown yet."""
        call = self.calls.get(invocation.index)
        if call is None:
            # Of an earlier request: the browser has it already.
            call = self.calls[invocation.index] = Call(invocation.id, invocation.name)
            call.begun = call.ended = True
        return call, b"" if call.ended else self._call_ends(call, invocation.arguments)

    def _tool_started(self, event: Any) -> bytes:
        return self._called(event.call)[1]

    def _tool_approval(self, event: Any) -> bytes:
        call, shown = self._called(event.call)
        return self.begun_now() + shown + self.call_waits(call, event.call.execution_id)

    def _tool_result(self, event: Any) -> bytes:
        call, shown = self._called(event.call)
        return self.begun_now() + shown + self.call_result(call, event.value, event.content)

    def _tool_failed(self, event: Any) -> bytes:
        call, shown = self._called(event.call)
        return self.begun_now() + shown + self.call_failed(call, event.content)

    def _round_finished(self, event: Any) -> bytes:
        ended = self._end_of_step()
        if self.calls:
            self.calls = {}
            self._step_ended = True
        return ended


def _arguments(call: ToolCall) -> dict[str, Any] | None:
    try:
        return call.parse()
    except ProtocolError:
        return None
