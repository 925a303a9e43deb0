"""What a run tells beside the events of its streams.

::

    tool.started        a call runs; early where the answer is still streaming
    tool.result         it ended with a result
    tool.failed         it could not be run, or ended with an exception; the model is told less than you
    tool.cancelled      it was started early, and the answer then took it back
    tool.approval       it waits for a decision of yours
    round.finished      every call of an answer has its result, or waits for a decision
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from cometstream.answer.events import StreamEvent

if TYPE_CHECKING:
    from cometstream.tools.invocation import Invocation
    from cometstream.views.completion import ChatCompletion

__all__ = [
    "RoundFinishedEvent",
    "RunEvent",
    "ToolApprovalEvent",
    "ToolCancelledEvent",
    "ToolFailedEvent",
    "ToolResultEvent",
    "ToolStartedEvent",
]


@dataclass(frozen=True, slots=True)
class ToolStartedEvent:
    """A call runs; where a function of yours approves it, that has said so.

    Attributes:
        call: The call.
        early: Its arguments are whole, and the answer is still streaming.
    """

    type: ClassVar[Literal["tool.started"]] = "tool.started"
    call: Invocation
    early: bool


@dataclass(frozen=True, slots=True)
class ToolResultEvent:
    """A call ended with a result.

    Attributes:
        call: The call.
        value: What the function returned; the content where it is a ledger's or a decision's.
        content: What the model is told.
        duration: Seconds that it took; 0.0 where nothing was run.
    """

    type: ClassVar[Literal["tool.result"]] = "tool.result"
    call: Invocation
    value: Any
    content: str
    duration: float


@dataclass(frozen=True, slots=True)
class ToolFailedEvent:
    """A call was not run, or ended with an exception.

    Attributes:
        call: The call.
        error: What was raised.
        content: What the model is told: the words of a ``ToolError``, and nothing of any other exception.
        correctable: The model called what does not exist, or with arguments that do not validate: nothing was run.
        duration: Seconds that it took; 0.0 where nothing was run.
    """

    type: ClassVar[Literal["tool.failed"]] = "tool.failed"
    call: Invocation
    error: BaseException
    content: str
    correctable: bool
    duration: float


@dataclass(frozen=True, slots=True)
class ToolCancelledEvent:
    """A call that had started was cancelled. It may have done a part of its work, or all of it.

    Attributes:
        call: The call.
        reason: ``"incomplete"``: the answer ended in a way that proves no call whole. ``"changed"``: more came for it after it had
            seemed whole. It is not run again.
        content: What the model is told.
    """

    type: ClassVar[Literal["tool.cancelled"]] = "tool.cancelled"
    call: Invocation
    reason: Literal["incomplete", "changed"]
    content: str


@dataclass(frozen=True, slots=True)
class ToolApprovalEvent:
    """A call waits for a decision, or for a result of yours: the run pauses when the others have ended.

    Attributes:
        call: The call.
    """

    type: ClassVar[Literal["tool.approval"]] = "tool.approval"
    call: Invocation


@dataclass(frozen=True, slots=True)
class RoundFinishedEvent:
    """An answer came whole and its calls have ended; ``run.state()`` can be taken.

    Attributes:
        round: Which one, from 1.
        completion: The answer; None where it came to an earlier process, and this one went on with its calls.
    """

    type: ClassVar[Literal["round.finished"]] = "round.finished"
    round: int
    completion: ChatCompletion | None


RunEvent: TypeAlias = (
    StreamEvent
    | ToolStartedEvent
    | ToolResultEvent
    | ToolFailedEvent
    | ToolCancelledEvent
    | ToolApprovalEvent
    | RoundFinishedEvent
)
