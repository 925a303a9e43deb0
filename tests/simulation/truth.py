"""What an answer says, judged from its script and from the bytes that were received. The library has no say here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .script import Script, Stop

__all__ = ["End", "Truth", "judge"]

End = Literal["eof", "reset", "clock"]


@dataclass
class Truth:
    """What an answer says, as far as its bytes were received.

    Attributes:
        chunks: The chunks that are to be handed over.
        outcome: How it ended; None where it has not.
        comments: How many whole comments came before the stop.
        texts: The content of each choice.
        has_content: Something of it may have been seen, so that it must not be asked for again.
        evidence: Every choice that was asked for has finished.
        went_on: A choice went on after its finish.
        stop: What ended it by itself.
    """

    chunks: list[dict[str, Any]] = field(default_factory=list)
    outcome: str | None = None
    comments: int = 0
    texts: dict[int, str] = field(default_factory=dict)
    has_content: bool = False
    evidence: bool = False
    went_on: bool = False
    stop: Stop | None = None


def judge(script: Script, received: int, end: End | None, n: int, *, most: int | None = None) -> Truth:
    """Return what an answer says.

    Args:
        script: The answer.
        received: Bytes of its body that reached the process.
        end: What ended it from outside; None where nothing has.
        n: Choices that were asked for.
        most: Look only at so many chunks: at those that were handed over.
    """
    truth = Truth()
    known: set[int] = set()
    finished: set[int] = set()
    at_end = end in ("eof", "reset")
    for start, frame in zip(script.starts, script.frames, strict=True):
        whole = start + frame.least <= received
        if script.document:
            whole = end is not None and start + frame.whole <= received
        elif not whole and at_end and not frame.comment and frame.stop != "garbage":
            whole = start + frame.whole <= received
        if not whole:
            break
        if frame.comment:
            truth.comments += 1
        if frame.raw is not None:
            if most is not None and len(truth.chunks) >= most:
                break
            truth.chunks.append(frame.raw)
            known.update(choice["index"] for choice in frame.raw["choices"])
            for choice in frame.content:
                truth.has_content = True
                if choice in finished:
                    finished.discard(choice)
                    truth.went_on = True
            for choice, text in frame.texts:
                truth.texts[choice] = truth.texts.get(choice, "") + text
            if frame.finishes:
                truth.has_content = True
                finished.update(frame.finishes)
        if frame.stop is not None:
            truth.stop = frame.stop
            break
    truth.evidence = finished == known and len(known) >= n
    truth.outcome = _outcome(truth, end, is_document=script.document, mid_event=_is_mid_event(script, received))
    return truth


def _outcome(truth: Truth, end: End | None, *, is_document: bool, mid_event: bool) -> str | None:
    if truth.stop == "error":
        return "error"
    if truth.stop == "done":
        return "complete" if truth.evidence else "unterminated"
    believed = truth.evidence and not truth.went_on
    if truth.stop == "garbage":
        return "complete" if believed else "error"
    if end == "clock" and is_document and truth.chunks:
        end = "eof"  # it came whole, and only the end of the body was missing
    if end == "eof" and not mid_event:
        return "complete" if truth.evidence else "truncated"
    if end in ("eof", "reset"):
        return "complete" if believed else "truncated"
    if end == "clock":
        return "complete" if believed else "error"
    return None


def _is_mid_event(script: Script, received: int) -> bool:
    """Whether the bytes end in the middle of an event, in what cannot be read."""
    if script.document:
        return received < script.frames[0].whole
    for start, frame in zip(script.starts, script.frames, strict=True):
        # What is not JSON is not whole without its blank line.
        if start <= received < start + (frame.least if frame.stop == "garbage" else frame.whole):
            return not frame.comment and received - start >= len(b"data")  # less is a field that nobody knows
    return False
