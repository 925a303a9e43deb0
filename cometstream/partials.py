"""The fourth way to read a stream: the value that ``response_format`` asked for, as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cometstream.answer.partial_json import PartialJSONError
from cometstream.errors import OutputCutError, StreamTruncatedError, StreamUnterminatedError
from cometstream.views.output import Output, Parsed, ParsedT_co, ValueT_co, invalid_output

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Self

    from cometstream.answer.accumulate import Accumulator
    from cometstream.answer.partial_json import OnPart, PartialJSON, Path
    from cometstream.views.completion import ChatCompletion

__all__ = ["GrowingOutput", "Part", "PartialReader"]


class GrowingOutput(Output[ValueT_co], Protocol[ValueT_co]):
    """A ``response_format`` whose answers can be read while they come."""

    def parser(self, on_part: OnPart | None = None) -> PartialJSON:
        """Return a parser of one answer's text."""
        ...


class Part(NamedTuple):
    """A value within the answer that is finished.

    Attributes:
        path: The names and places that lead to it, as the JSON has them; ``()`` is the whole.
        value: The value, in the form that its type asks for; as JSON has it where it is not valid.
        problems: What is wrong with it, each as ``"path: what is wrong"``; empty where it is valid.
    """

    path: Path
    value: Any
    problems: tuple[str, ...] = ()


class PartialReader(Parsed[ParsedT_co]):
    """Yields the first choice's value for each piece of its text.

    It is the same object each time, and grows: copy what you keep. A field that has not come is None, a text is there as far as it
    came, all else once it is finished.
    """

    __slots__ = (
        "_accumulator",
        "_close",
        "_completion",
        "_invalid",
        "_is_complete",
        "_next",
        "_on_part",
        "_parser",
        "_pieces",
        "_seen",
        "_stop_on_invalid",
    )

    def __init__(
        self,
        next_chunk: Callable[[], Awaitable[object]],
        accumulator: Callable[[], Accumulator],
        output: GrowingOutput[ParsedT_co],
        *,
        completion: Callable[[], ChatCompletion[ParsedT_co]],
        is_complete: Callable[[], bool],
        close: Callable[[], Awaitable[None]],
        on_part: Callable[[Part], object] | None,
        stop_on_invalid: bool,
    ) -> None:
        self._next = next_chunk
        self._accumulator = accumulator
        self._completion = completion
        self._is_complete = is_complete
        self._close = close
        self._on_part = on_part
        self._stop_on_invalid = stop_on_invalid
        self._pieces: list[str] | None = None  # of the text
        self._seen = 0
        self._invalid: tuple[str, ...] = ()
        self._parser = output.parser(self._told if on_part is not None or stop_on_invalid else None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ParsedT_co:
        """Return the value after the next piece of text.

        Raises:
            OutputError: The answer is over, and is not such a value; or a part is not valid, and ``stop_on_invalid`` is set.
            CometError: The stream did not end well.
        """
        while True:
            try:
                await self._next()
            except StopAsyncIteration:
                if self._is_complete():
                    self._completion().parsed  # noqa: B018 - raises where it is not valid
                raise
            except (StreamTruncatedError, StreamUnterminatedError) as error:
                raise self._cut(error) from error
            # Of an attempt that handed anything over no other takes the place, so that the list is found once.
            pieces = self._pieces
            if pieces is None:
                state = self._accumulator().choices.get(0)
                if state is None:
                    continue
                pieces = self._pieces = state.content
            seen, end = self._seen, len(pieces)
            if seen == end:
                continue
            self._seen = end
            parser = self._parser
            try:
                parser.feed(pieces[seen] if end - seen == 1 else "".join(pieces[seen:end]))
            except PartialJSONError as error:
                # Told at the end, by the answer as a whole.
                self._invalid = self._invalid or (f"the answer: {error}",)
            if self._invalid and self._stop_on_invalid:
                await self._stop()
            if parser.start is not None:
                value: ParsedT_co = parser.value
                return value

    @property
    def value(self) -> ParsedT_co | None:
        """The value as far as it came; None before it begins."""
        value: ParsedT_co | None = self._parser.value
        return value

    @property
    def open_path(self) -> Path | None:
        """Which value is growing, by the names and places that lead to it; None before it begins and once it is complete."""
        return self._parser.open_path

    def _told(self, path: Path, value: Any, error: ValueError | None) -> None:
        problems: tuple[str, ...] = ()
        if error is not None:
            where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")
            found = getattr(error, "problems", None) or [f"the answer: {error}"]
            problems = tuple(_below(where, problem) for problem in found)
            self._invalid = self._invalid or problems
        if self._on_part is not None:
            self._on_part(Part(path, value, problems))

    async def _stop(self) -> None:
        await self._close()
        error = invalid_output(self._invalid)
        error.value = self.value
        error.partial = self._completion()
        raise error

    def _cut(self, cause: StreamTruncatedError | StreamUnterminatedError) -> OutputCutError:
        error = OutputCutError(
            f"the answer was cut before its value was whole: {cause.message}",
            request_id=cause.request_id,
            retryable=cause.retryable,
            partial=cause.partial,
        )
        error.value = self.value
        return error


def _below(where: str, problem: str) -> str:
    """Return a problem of a part as one of the whole."""
    path, colon, what = problem.partition(": ")
    if path == "the answer":
        return f"{where or path}{colon}{what}"
    joint = "" if not where or path.startswith("[") else "."
    return f"{where}{joint}{problem}"
