"""An answer that was cut is asked to go on, where the model takes the beginning of its answer as a prefix."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from cometstream.errors import (
    APITimeoutError,
    CometError,
    ConfigurationError,
    StreamTruncatedError,
    StreamUnterminatedError,
    UsageError,
)
from cometstream.relay.seam import Seam, prefix_fields
from cometstream.request.describe import shown
from cometstream.request.encode import is_json_list
from cometstream.views.completion import ChatCompletion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from cometstream.readers import EventReader
    from cometstream.session import CometSession
    from cometstream.stream import ChatStream

__all__ = ["ContentDelta", "ContinuedEvent", "ContinuedStream", "continued"]

# Token counts that add up over the requests of one answer.
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

# Endings of a text that somebody else cut: the model had more to say.
_CUT: Final = (StreamTruncatedError, StreamUnterminatedError)


class ContinuedEvent:
    """The seam: what follows comes from another request.

    Attributes:
        number: Which continuation begins, from 1.
        error: How the one before ended.
    """

    type: ClassVar[Literal["continued"]] = "continued"

    def __init__(self, number: int, error: CometError) -> None:
        self.number = number
        self.error = error


class ContentDelta:
    """A piece of text behind a seam: ``delta``, ``choice_index``."""

    type: ClassVar[Literal["content.delta"]] = "content.delta"
    choice_index: ClassVar[int] = 0

    def __init__(self, delta: str) -> None:
        self.delta = delta


def continued(
    session: CometSession,
    *,
    model: str,
    messages: Sequence[Any],
    continuations: int = 2,
    prefix: dict[str, Any] | None = None,
    **params: Any,
) -> ContinuedStream:
    """Stream an answer, and have it go on where it was cut: ``relay(continued(session, model=..., messages=...), protocol="ui")``.

    Only a text is continued: an answer with tool calls, a refusal or several choices ends as it was cut, and so does that of a
    model that is not known to take a prefix. What the model repeats at the seam is left out.

    Args:
        session: The session.
        model: As ``session.stream``.
        messages: As ``session.stream``.
        continuations: How often an answer may be asked to go on.
        prefix: Fields that mark the assistant's last message as the beginning of the answer, for a model that is not known here:
            ``{}``, ``{"prefix": True}``, ``{"partial": True}``; None takes those of the model's provider.
        **params: As ``session.stream``.
    Returns:
        A source for ``relay`` in the protocols ``ui`` and ``ag-ui``, to be entered and read by ``events()`` otherwise.
    Raises:
        InvalidRequestError: As ``session.stream``.
        ConfigurationError: An option cannot be used.
    """
    if not isinstance(continuations, int) or isinstance(continuations, bool) or continuations < 0:
        raise ConfigurationError(f"continuations must be a number, 0 or more; got {shown(continuations)}")
    if prefix is not None and not isinstance(prefix, dict):
        raise ConfigurationError(f"prefix must be a dict of fields or None; got {shown(prefix)}")
    params = {**params, "model": model}
    request: Any = {**params, "messages": messages}
    stream = session.stream(**request)
    fields = prefix if prefix is not None or not isinstance(model, str) else prefix_fields(model)
    if fields is None or not is_json_list(messages):
        continuations = 0
    return ContinuedStream(session, stream, params, messages, fields or {}, continuations)


class ContinuedStream:
    """One answer out of one request or several; see ``continued``.

    Attributes:
        seams: How often the answer was asked to go on.
    """

    def __init__(
        self,
        session: CometSession,
        stream: ChatStream,
        params: dict[str, Any],
        messages: Sequence[Any],
        prefix: Mapping[str, Any],
        continuations: int,
    ) -> None:
        self._session = session
        self._stream = stream
        self._params = params
        self._messages = messages
        self._prefix = prefix
        self._left = continuations
        self._text = ""  # of the requests before this one
        self._overlap = 0
        self._new: list[str] = []  # of this one, behind a seam
        self._usage: dict[str, int] = {}  # of the requests before this one
        self._closed = False
        self.seams = 0

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the answer, also from another task.

        Cancellation:
            Nothing is awaited.
        """
        self._closed = True
        await self._stream.aclose()

    @property
    def completion(self) -> ChatCompletion:
        """The completion so far: the texts of all requests joined, the rest of it the last one's."""
        completion = self._stream.completion
        if not self.seams:
            return completion
        raw = completion.to_dict()
        choice: dict[str, Any] = raw["choices"][0] if raw.get("choices") else {"index": 0, "finish_reason": None}
        message = {"role": "assistant", **choice.get("message", {}), "content": self._text + "".join(self._new)}
        notes = {**completion.normalizations, "continued": self.seams}
        if self._overlap:
            notes["overlap_dropped"] = self._overlap
        counts, usage = self._used(), raw.get("usage")
        if counts:
            known: dict[str, Any] = usage if isinstance(usage, dict) else {}
            raw["usage"] = {**known, **counts}
        return ChatCompletion({**raw, "choices": [{**choice, "message": message}]}, notes)

    @property
    def outcome(self) -> str | None:
        """How the answer ended, as that of a stream; None while it runs."""
        return self._stream.outcome

    @property
    def error(self) -> CometError | None:
        """Why the answer did not end well; None where it did."""
        return self._stream.error

    def events(self) -> ContinuedEvents:
        """Iterate the events of ``ChatStream.events()`` without chunks, and a ``continued`` at each seam."""
        return ContinuedEvents(self)

    def add(self, new: str, overlap: int) -> None:
        """Add what came behind a seam."""
        self._new.append(new)
        self._overlap += overlap

    def read(self) -> EventReader:
        """Return a reader of the request that runs now."""
        return self._stream.events(chunks=False)

    def cut(self, error: CometError) -> str | None:
        """Return the text that shall go on; None where the answer ends here."""
        if not self._may_go_on(error):
            return None
        self._text = self.completion.content or ""
        self._usage = self._used()
        self._new.clear()
        self._left -= 1
        self.seams += 1
        return self._text

    async def ask(self) -> None:
        """Ask for the rest.

        Raises:
            CometError: It cannot be had.
        """
        # Providers refuse a prefix that ends in white space.
        said = {"role": "assistant", "content": self._text.rstrip(), **self._prefix}
        request: Any = {**self._params, "messages": [*self._messages, said]}
        stream = self._session.stream(**request)
        await self._stream.aclose()
        self._stream = stream
        await stream.__aenter__()
        if self._closed:
            await stream.aclose()

    def _used(self) -> dict[str, int]:
        """Return the token counts of all requests, as far as they are known."""
        usage = self._stream.completion.usage
        if usage is None:
            return self._usage
        counts = {name: getattr(usage, name) for name in _COUNTS}
        return {name: self._usage.get(name, 0) + (count or 0) for name, count in counts.items()}

    def _may_go_on(self, error: CometError) -> bool:
        """Whether an answer was cut in the middle of a text, and nothing but a text."""
        cut = isinstance(error, _CUT) or (isinstance(error, APITimeoutError) and error.clock == "content_idle")
        completion = self.completion
        if not cut or self._closed or not self._left or len(completion.choices) != 1:
            return False
        message = completion.choices[0].message
        return bool((message.content or "").strip()) and not message.tool_calls and not message.refusal


class ContinuedEvents:
    """Iterates the events of an answer over its seams. A read that is cancelled may be repeated."""

    def __init__(self, answer: ContinuedStream) -> None:
        self._answer = answer
        self._reader: EventReader | None = answer.read()
        self._ready: deque[Any] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._seam: Seam | None = None
        self._error: CometError | None = None  # how the request before the seam ended

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while not self._ready:
            if self._reader is None:
                await self._go_on()
            else:
                await self._read(self._reader)
        return self._ready.popleft()

    async def _read(self, reader: EventReader) -> None:
        try:
            event = await reader.__anext__()
        except StopAsyncIteration:
            self._take_rest()
            error = self._answer.error  # where on_incomplete="return" ends quietly
            if not self._ready and (error is None or not self._cut(error)):
                raise
        except UsageError:
            raise
        except CometError as error:
            self._take_rest()
            if not self._cut(error):
                self._error = error
                self._reader = None
        else:
            if self._seam is None or event.type != "content.delta":
                self._ready.append(event)
            else:
                self._add(self._seam.add(event.delta))

    async def _go_on(self) -> None:
        """Ask for the rest; a task does, so that a read that is cancelled does not ask twice."""
        error = self._error
        if error is not None and self._seam is None:
            raise error
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._answer.ask())
        try:
            await asyncio.shield(self._asking)
        except CometError:
            assert error is not None  # the answer was cut
            raise error from None  # what was had stays, and is told to be cut
        self._asking = None
        self._reader = self._answer.read()

    def _cut(self, error: CometError) -> bool:
        """Begin a seam, if the answer can go on."""
        self._seam = None
        text = self._answer.cut(error)
        if text is None:
            return False
        self._error, self._reader, self._seam = error, None, Seam(text)
        self._ready.append(ContinuedEvent(self._answer.seams, error))
        return True

    def _take_rest(self) -> None:
        if self._seam is not None:
            self._add(self._seam.rest())

    def _add(self, new: str) -> None:
        seam = self._seam
        assert seam is not None  # it gave the text
        if new:
            new = seam.joined(new)
            self._answer.add(new, seam.overlap)
            seam.overlap = 0
            self._ready.append(ContentDelta(new))
