"""What a ``response_format`` makes of an answer: its value, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from cometstream.errors import OutputCutError, OutputError, OutputInvalidError, OutputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typing_extensions

    from cometstream.views.completion import ChatCompletion, ChatCompletionMessage

    # Whoever names a ChatStream or a ChatCompletion without a type in brackets means one of any, and so does whoever asks for none.
    AskedT = typing_extensions.TypeVar("AskedT", default=Any)
    ParsedT_co = typing_extensions.TypeVar("ParsedT_co", covariant=True, default=Any)

    class Parsed(Generic[ParsedT_co]):
        """Base of what has a value that ``response_format`` asked for."""

else:
    ParsedT_co = Any

    class Parsed:
        """Base of what has a value that ``response_format`` asked for. The type in brackets is for type checkers only."""

        __slots__ = ()

        def __class_getitem__(cls, _: object) -> type:
            return cls


__all__ = ["Output", "Parsed", "ParsedT_co", "ValueT_co", "invalid_output", "read_output"]

ValueT_co = TypeVar("ValueT_co", covariant=True)

# Problems that the message of an error lists; one wrong list has as many as it has items.
_LISTED: Final = 10


class Output(Protocol[ValueT_co]):
    """What a ``response_format`` asks for."""

    def read(self, text: str) -> ValueT_co:
        """Return the value that a whole answer's text says.

        Raises:
            ValueError: It is not what was asked for. ``problems`` of it, where it has them, are a list of texts.
        """
        ...

    def read_partial(self, text: str) -> Any:
        """Return the value as far as a text says it; None where it does not begin."""
        ...


def read_output(
    output: Output[ValueT_co],
    message: ChatCompletionMessage[Any],
    *,
    finish_reason: str | None,
    whole: bool,
    completion: ChatCompletion[Any],
) -> ValueT_co:
    """Return the value of a choice.

    Args:
        output: What was asked for.
        message: The choice's message.
        finish_reason: Why the choice ended.
        whole: Whether that proves that the message came whole.
        completion: The completion that the choice belongs to, for the errors.

    Raises:
        OutputError: There is none; which kind tells why.
    """
    text = message.content or ""
    error: OutputError
    if message.refusal:
        error = OutputRefusedError("the model refused to answer; `refusal` has its words")
        error.refusal = message.refusal
    elif not whole:
        error = OutputCutError(_cut(finish_reason))
        error.finish_reason = finish_reason
    elif not text.strip():
        error = invalid_output([f"the answer: {'it calls tools' if message.tool_calls else 'it has no text'}"])
    else:
        try:
            return output.read(text)
        except ValueError as invalid:
            error = invalid_output(getattr(invalid, "problems", None) or [f"the answer: {invalid}"])
            error.__cause__ = invalid.__cause__
    error.value = output.read_partial(text)
    error.partial = completion
    raise error


def invalid_output(problems: Sequence[str]) -> OutputInvalidError:
    """Return the error of an answer that is not what was asked for."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    more = f"; and {len(problems) - _LISTED} more, see problems" if len(problems) > _LISTED else ""
    error = OutputInvalidError(
        f"the answer is not what response_format asked for, it has {count}: {'; '.join(problems[:_LISTED])}{more}",
        retryable=True,
    )
    error.problems = tuple(problems)
    return error


def _cut(finish_reason: str | None) -> str:
    if finish_reason is None:
        return "the answer was cut before its value was whole: it has no finish_reason"
    advice = "; raise max_completion_tokens" if finish_reason == "length" else ""
    return f"the answer was cut before its value was whole (finish_reason: {finish_reason}){advice}"
