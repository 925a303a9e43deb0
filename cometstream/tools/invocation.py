"""One call of a tool, and what a caller may decide about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown
from cometstream.tools.execution import as_content

__all__ = ["Answered", "Approver", "Decision", "Denied", "Invocation", "RunAgain"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """A tool, called by the model.

    Attributes:
        id: The call's id, as the model gave it.
        name: The tool's name.
        arguments: The arguments; ``{}`` where they are not a JSON object, and for a custom tool.
        text: The arguments as the model wrote them: JSON, or a custom tool's text.
        index: The call's place among those of its answer.
        round: The round it belongs to, from 1.
        execution_id: Names this one execution of it, in a ledger and over processes.
        unknown: An earlier process started it, and its result is not known.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    text: str
    index: int
    round: int
    execution_id: str
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """A decision: the call is not run, and the model is told so.

    Attributes:
        message: What the model is told.
    """

    message: str = "the user did not allow this call"

    def __post_init__(self) -> None:
        if not isinstance(self.message, str):
            raise ConfigurationError(f"Denied takes a text, which the model is told; got {shown(self.message)}")


@dataclass(frozen=True, slots=True)
class Answered:
    """A decision: the call is not run here, and this is its result.

    Attributes:
        value: The result: a text, or anything that JSON can hold.

    Raises:
        ConfigurationError: JSON cannot hold it.
    """

    value: Any

    def __post_init__(self) -> None:
        try:
            as_content(self.value)
        except Exception as error:  # of a value of the caller's own
            raise ConfigurationError(
                f"Answered takes a text, or what JSON can hold; got {shown(self.value)}"
            ) from error


@dataclass(frozen=True, slots=True)
class RunAgain:
    """A decision on a call whose result is not known: run it once more."""


Decision: TypeAlias = "bool | Denied | Answered | RunAgain"
"""True runs the call, False is ``Denied()``."""

Approver: TypeAlias = "Callable[[Invocation], Awaitable[bool | Denied | Answered]]"
"""An async function that decides about a call, in the process of the run."""
