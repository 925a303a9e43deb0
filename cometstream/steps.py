"""What a feature does with a session, told to whoever listens: a run of tools, a call of a tool, a batch, a row.

A call to the endpoint is told by ``observe.py``. A step is the work around calls: its listeners learn which calls belong together.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Step", "StepKind", "StepListener"]

# Around code of which nobody hears.
_NOTHING: Final = nullcontext()

StepKind = Literal["run", "tool", "approval", "batch", "row"]


@runtime_checkable
class StepListener(Protocol):
    """What hears of steps: a listener of a session with these methods, too. They do not raise and do not wait."""

    def step_began(self, step: Step) -> None:
        """A step begins."""
        ...

    def step_ended(self, step: Step) -> None:
        """A step is over, in whatever way."""
        ...

    def within(self, step: Step) -> AbstractContextManager[None]:
        """Return what lies around code that is a part of a step, for context variables. It is entered and left in one task."""
        ...


class Step:
    """One piece of work.

    Args:
        kind: ``"run"``: a conversation with tools. ``"tool"``: a call of a tool. ``"approval"``: a decision about such a call.
            ``"batch"`` and ``"row"``: a batch, and one of its rows.
        name: The tool's name, or the row's ``custom_id``; None where it has none.
        parent: The step that it is a part of.
        listeners: What hears of it.
        redact: Takes secrets of the session out of a text.
        about: What is known of it: see the feature that makes it.

    Attributes:
        kind: As given.
        name: As given.
        parent: As given.
        redact: As given.
        about: As given, and what its end adds.
        outcome: How it ended; None before.
        error: What it died of; None where it did not.
    """

    __slots__ = ("_began", "_listeners", "about", "error", "kind", "name", "outcome", "parent", "redact")

    def __init__(
        self,
        kind: StepKind,
        name: str | None = None,
        *,
        parent: Step | None = None,
        listeners: Sequence[StepListener] = (),
        redact: Callable[[str], str] = str,
        **about: Any,
    ) -> None:
        self.kind = kind
        self.name = name
        self.parent = parent
        self.redact = redact
        self.about = about
        self.outcome: str | None = None
        self.error: BaseException | None = None
        self._began = False
        self._listeners = listeners

    def __repr__(self) -> str:
        return f"<Step {self.kind} {self.name or ''} {self.outcome or ''}>"

    def child(self, kind: StepKind, name: str | None = None, **about: Any) -> Step:
        """Return a step that is a part of this one; all parts of steps that nobody hears of are the same."""
        if not self._listeners:
            return _UNHEARD
        return Step(kind, name, parent=self, listeners=self._listeners, redact=self.redact, **about)

    def begins(self) -> Step:
        """The step begins; a second call does nothing. Return the step."""
        if not self._began:
            self._began = True
            for listener in self._listeners:
                listener.step_began(self)
        return self

    def ends(self, outcome: str, error: BaseException | None = None, **about: Any) -> None:
        """The step is over: the first call counts, and none does before it began.

        Args:
            outcome: How it ended.
            error: What it died of.
            about: What is known of it now.
        """
        if not self._began or self.outcome is not None:
            return
        self.outcome = outcome
        if not self._listeners:
            return  # an error holds its frames
        self.error = error
        self.about.update(about)
        for listener in self._listeners:
            listener.step_ended(self)

    def within(self) -> AbstractContextManager[object]:
        """Return what lies around code that is a part of the step; it is entered and left in one task."""
        if not self._listeners:
            return _NOTHING
        stack = ExitStack()
        for listener in self._listeners:
            stack.enter_context(listener.within(self))
        return stack


class _Unheard(Step):
    """A part of a step that nobody hears of: nothing is noted of it."""

    __slots__ = ()

    def begins(self) -> Step:
        return self

    def ends(self, outcome: str, error: BaseException | None = None, **about: Any) -> None:
        pass


_UNHEARD: Final = _Unheard("row")
