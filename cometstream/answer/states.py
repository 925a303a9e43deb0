"""The states of an answer: what each may be followed by, and which outcome each ending gives.

The answer is always in one of the states below. The three columns on the left are what is handed
over, the others are what ends it. A dot: it cannot happen there. `TABLE` is this table, and nothing else changes the state.

::

    state       content   finish      goes_on   done          end        cut        bad_frame  error_frame  clock     close
    waiting     flowing   finished    reopened  unterminated  truncated  truncated  error      error        error     cancelled
    flowing     flowing   finished    reopened  unterminated  truncated  truncated  error      failed       error     cancelled
    finished    flowing   .           reopened  complete      complete   complete   complete   failed       complete  complete
    reopened    reopened  refinished  reopened  unterminated  truncated  truncated  error      failed       error     cancelled
    refinished  reopened  .           reopened  complete      complete   truncated  error      failed       error     cancelled
    failed      .         .           .         error         error      error      error      .            error     error

- ``waiting``: nobody has seen content. What has come is held, and another attempt may take its place.
- ``flowing``: content was handed over; not every choice that was asked for has its finish_reason.
- ``finished``: every choice has one. That is the evidence: whatever ends the answer now, except an error frame, it is complete.
- ``reopened``: a choice brought content after its finish_reason. A server that does so is believed less from then on.
- ``refinished``: every choice has a finish_reason again; only [DONE] or a clean end of the body completes the answer.
- ``failed``: an error frame came after content. For a moment the usage of the tokens that were billed may follow.

``content`` and ``finish`` are told of once they are handed over; ``goes_on`` is content of a choice that had its finish_reason;
``done`` is [DONE], ``end`` a clean end of the body, ``cut`` a reset, or an end in the middle of an event; a ``clock`` is one of
``Timeouts``; ``close`` is the caller who leaves. The five outcomes have no way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

__all__ = ["HAPPENINGS", "OUTCOMES", "TABLE", "Happening", "Outcome", "State"]

Outcome = Literal["complete", "unterminated", "truncated", "error", "cancelled"]
State = Literal["waiting", "flowing", "finished", "reopened", "refinished", "failed", Outcome]
Happening = Literal[
    "content", "finish", "goes_on", "done", "end", "cut", "bad_frame", "error_frame", "clock", "close"
]  # fmt: skip

OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
HAPPENINGS: Final[tuple[Happening, ...]] = get_args(Happening)


def _row(*states: State | None) -> dict[Happening, State]:
    return {happening: state for happening, state in zip(HAPPENINGS, states, strict=True) if state is not None}


# fmt: off
TABLE: Final[Mapping[State, Mapping[Happening, State]]] = {
    "waiting": _row(
        "flowing", "finished", "reopened",
        "unterminated", "truncated", "truncated", "error", "error", "error", "cancelled"),
    "flowing": _row(
        "flowing", "finished", "reopened",
        "unterminated", "truncated", "truncated", "error", "failed", "error", "cancelled"),
    "finished": _row(
        "flowing", None, "reopened",
        "complete", "complete", "complete", "complete", "failed", "complete", "complete"),
    "reopened": _row(
        "reopened", "refinished", "reopened",
        "unterminated", "truncated", "truncated", "error", "failed", "error", "cancelled"),
    "refinished": _row(
        "reopened", None, "reopened",
        "complete", "complete", "truncated", "error", "failed", "error", "cancelled"),
    "failed": _row(
        None, None, None,
        "error", "error", "error", "error", None, "error", "error"),
}
# fmt: on
