"""Answers that are not of the type that was asked for: told as such, and asked for again with what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import OutputError, OutputInvalidError

if TYPE_CHECKING:
    from cometstream.batch.schedule import Row
    from cometstream.views.completion import ChatCompletion

__all__ = ["ask_again", "wrong_output"]

# Problems that a model is told: each costs tokens, and those of one list are alike.
_TOLD: Final = 20


def wrong_output(row: Row, completion: ChatCompletion[Any]) -> OutputError | None:
    """Return why a whole answer is not of the type that its row's ``response_format`` is; None where it is, or that is no type."""
    asked = row.params.get("response_format")
    if asked is None or isinstance(asked, Mapping):
        return None  # whoever writes the wire's own form reads the answer, too
    try:
        _ = completion.parsed
    except OutputError as error:
        return error.with_traceback(None)  # its frames hold the stream
    return None


def ask_again(row: Row, wrong: OutputError) -> bool:
    """Have a row's next attempt ask for a better answer; return whether that can help: a refusal stays one."""
    if not isinstance(wrong, OutputInvalidError):
        return False
    row.repairs += 1
    answer = wrong.partial.content
    more = len(wrong.problems) - _TOLD
    listed = [*wrong.problems[:_TOLD], *([f"and {more} more"] if more > 0 else [])]
    problems = "\n".join(f"- {problem}" for problem in listed)
    row.params["messages"] = [
        *row.params["messages"],
        # Some providers refuse a message without content.
        *([{"role": "assistant", "content": answer}] if answer else []),
        {
            "role": "user",
            "content": f"This answer cannot be used:\n{problems}\nAnswer again, with the whole JSON and these mistakes mended.",
        },
    ]
    return True
