"""The promises, held against what the simulated server sent and what reached the process. The answer's machine has no say here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .truth import End, Truth, judge

if TYPE_CHECKING:
    from cometstream import ChatCompletion

    from .batch import Batch
    from .client import Call
    from .loop import SimulatedLoop
    from .network import Attempt, Network

__all__ = ["check_batch", "check_call", "check_nothing_is_left"]


def check_call(call: Call, network: Network) -> None:
    """Hold one call against the attempts that were made for it."""
    attempts = network.attempts.get(call.name, [])
    most = (call.retries + 1) * (len(call.fallbacks) + 1) + 1  # the one is that without stream_options
    assert len(attempts) <= most, f"{call}: {len(attempts)} attempts, where {most} are the most"
    for attempt in attempts[:-1]:
        if attempt.incoming is not None:
            assert not _truth(attempt, looked_at=True).has_content, (
                f"{call}: asked for again, though {attempt} had brought content"
            )
    if call.way == "complete":
        _check_completed(call, attempts)
        return
    stream = call.stream
    if stream is None:
        return  # cancelled, or closed, before it began
    outcome = stream.outcome
    assert call.left or call.ended, f"{call}: neither left nor ended"
    assert outcome is not None, f"{call}: no outcome"
    opened = [attempt for attempt in attempts if attempt.incoming is not None]
    if not opened:
        assert outcome == ("cancelled" if call.left and call.error is None else "error"), f"{call}: {outcome}"
        return
    answered = opened[-1]
    refused = answered is not attempts[-1]
    told_clock = call.clock is not None and not refused
    # What arrived behind the last look of a clock that had run out by then came too late.
    incoming = answered.incoming
    assert incoming is not None
    if incoming.overtaken:
        return  # either end is right
    # A session that was closed by then hides which clock it was.
    late = told_clock or network.closed or (incoming.end is None and not incoming.reset)
    # A document is handed over by a clock, too, and who then leaves is told of none.
    may_be_clock = not call.left or incoming.is_document
    truth = _truth(answered, told_clock=told_clock, may_be_clock=may_be_clock, looked_at=late)
    handed_over = stream.metrics.chunks
    seen = _truth(answered, told_clock=told_clock, may_be_clock=True, most=handed_over)
    _check_handed_over(call, answered, truth, handed_over, is_all=not call.left and not refused)
    _check_texts(f"{call}", stream.completion, seen)
    if call.way == "events" and not call.left:
        deltas = {choice: text for choice, text in seen.texts.items() if text}
        assert call.deltas == deltas, f"{call}: the events tell of {call.deltas}, where {deltas} came"
    if call.way == "relay" and not call.left and not refused:
        came = sum(_truth(attempt, told_clock=told_clock, looked_at=True).comments for attempt in opened)
        told = sum(item.startswith(b":") for item in call.in_band)
        # While the usage is waited for behind an error frame, keep-alives still are.
        assert told == came or (told > came and truth.stop == "error"), (
            f"{call}: {told} keep-alives were relayed of {came} that came"
        )
    whole = handed_over == len(truth.chunks)
    if not call.left:
        closed = network.closed and type(call.error).__name__ == "UsageError"
        expected = "error" if refused or closed or _told_in_band(call, b'"UsageError"') else truth.outcome
        if refused and (attempts[-1].cancelled or call.gave_up) and outcome == truth.outcome:
            expected = outcome  # a read that was given up took a retry with it, and what that died of
        assert outcome == expected, f"{call}: outcome {outcome}; the server's bytes say {expected}"
    else:
        allowed = {"complete"} if seen.evidence and not seen.went_on else {"cancelled"}
        if whole:
            # A clock may have ended the answer before its reader left.
            by_clock = _truth(answered, told_clock=told_clock, may_be_clock=True, looked_at=late).outcome
            allowed |= {
                "error" if refused else truth.outcome or "cancelled",
                by_clock or "cancelled",
                "cancelled" if not seen.has_content else "",
            }
        if refused or network.closed:
            allowed |= {"error", "cancelled"}
        if refused and (attempts[-1].cancelled or call.gave_up):
            allowed.add(truth.outcome or "cancelled")
        assert outcome in allowed, f"{call}: outcome {outcome} where {allowed} are right"
    _check_told(call, outcome)


def _told_in_band(call: Call, what: bytes) -> bool:
    return bool(call.in_band) and what in call.in_band[-1]


def _check_told(call: Call, outcome: str) -> None:
    """An ending that is not complete raises, or is told in band; a complete one is not."""
    error, stream = call.error, call.stream
    assert stream is not None
    if call.way == "relay":
        if call.ended:
            last = call.in_band[-1]
            assert (last == b"data: [DONE]") == (outcome == "complete"), f"{call}: {outcome}, but told {last!r}"
            assert outcome == "complete" or b'"outcome":"' + outcome.encode() in last, f"{call}: told {last!r}"
    elif outcome in ("complete", "cancelled"):
        assert error is None, f"{call}: {outcome}, but raised {error!r}"
    elif call.ended and not (call.returns and outcome in ("truncated", "unterminated")):
        assert error is not None or call.left, f"{call}: {outcome}, but nothing was raised"
    if error is not None and error.partial is not None:
        assert error.partial.to_json() == stream.completion.to_json(), f"{call}: the partial is not what came"


def _check_handed_over(call: Call, answered: Attempt, truth: Truth, handed_over: int, *, is_all: bool) -> None:
    sent = len(truth.chunks)
    assert handed_over <= sent, f"{call}: {handed_over} chunks were handed over of {sent} that came"
    assert handed_over == sent or not is_all, f"{call}: {handed_over} chunks were handed over of {sent} that came"
    assert answered.script is not None
    chunks, seen = truth.chunks, handed_over
    if call.way == "relay":  # which leaves out the usage that only the library asked for
        chunks = [chunk for chunk in chunks if chunk["choices"]]
        seen -= sum(not chunk["choices"] for chunk in truth.chunks[:handed_over])
    if not answered.script.document:
        assert call.chunks == chunks[: len(call.chunks)], f"{call}: other chunks than were sent"
    if call.way in ("chunks", "relay") and not call.left:
        assert len(call.chunks) == seen, f"{call}: {len(call.chunks)} chunks seen, {seen} were to be"
    if call.way == "text" and not call.left:
        text = truth.texts.get(0, "")
        assert "".join(call.texts) == text, f"{call}: the text is not what was sent"


def _check_texts(name: str, completion: ChatCompletion, seen: Truth) -> None:
    for choice in completion.choices:
        text = seen.texts.get(choice.index, "")
        assert (choice.message.content or "") == text, (
            f"{name}: choice {choice.index} is {choice.message.content!r}; {text!r} came"
        )
    missing = {index for index, text in seen.texts.items() if text} - {choice.index for choice in completion.choices}
    assert not missing, f"{name}: choices {missing} are missing"


def _check_completed(call: Call, attempts: list[Attempt]) -> None:
    """``complete()`` returns only what is complete."""
    if call.completion is None:
        assert call.error is not None or call.left, f"{call}: neither a completion nor an error"
        if attempts and call.error is not None and attempts[-1].incoming is not None:
            outcome = _truth(attempts[-1], told_clock=call.clock is not None).outcome
            assert outcome != "complete", f"{call}: raised {call.error!r}, though the answer was complete"
        return
    truth = _truth(attempts[-1], may_be_clock=True)
    assert truth.outcome == "complete", f"{call}: returned a completion; the server's bytes say {truth.outcome}"
    _check_texts(f"{call}", call.completion, truth)


def check_batch(batch: Batch, network: Network) -> None:
    """Each row is told of once, and is complete only where its last attempt was."""
    indices = [result.index for result in batch.results]
    assert len(set(indices)) == len(indices), f"{batch}: rows told of twice: {indices}"
    if batch.ended and not batch.left:
        told = sorted(indices)
        assert batch.drained or told == list(range(batch.rows)), f"{batch}: rows {told} of {batch.rows} were told of"
    if batch.ordered:
        assert indices == sorted(indices), f"{batch}: out of order: {indices}"
    for result in batch.results:
        name = f"{batch}r{result.index}"
        attempts = network.attempts.get(name, [])
        sent = result.request["messages"][0]["content"]
        assert sent == name, f"{batch}: row {result.index} was told of as that of {sent}"
        taken = attempts[-1] if attempts else None
        if result.outcome == "complete":
            assert result.completion is not None, f"{name}: complete, without a completion"
            if batch.hedged:  # one of the last two
                taken = next((one for one in attempts[-2:] if _brought(one, result.completion)), attempts[-1])
            assert taken is not None, f"{name}: complete, without an attempt"
            truth = _truth(taken, may_be_clock=True)
            assert truth.outcome == "complete", f"{name}: told as complete; the server's bytes say {truth.outcome}"
            _check_texts(name, result.completion, truth)
            assert result.error is None, f"{name}: complete, with {result.error!r}"
            assert result.attempts == len(attempts), f"{name}: {result.attempts} attempts told, {len(attempts)} made"
        else:
            assert result.error is not None or result.outcome == "cancelled", (
                f"{name}: {result.outcome} without an error"
            )
        may_be_complete = result.outcome in ("complete", "cancelled")
        for attempt in attempts:
            if may_be_complete and (attempt is taken or (batch.hedged and _brought(attempt, result.completion))):
                continue  # two empty answers are alike
            if attempt.incoming is not None and attempt.incoming.is_over:
                # A clock may have come before the end of the body.
                ends = [_truth(attempt, told_clock=clock, looked_at=True).outcome for clock in (True, False)]
                assert ends != ["complete", "complete"], f"{name}: {attempt} was complete, and was not taken"


def _brought(attempt: Attempt, completion: ChatCompletion | None) -> bool:
    """Whether a request brought these texts, and to their ends."""
    if attempt.incoming is None or completion is None:
        return False
    truth = _truth(attempt, may_be_clock=True)
    texts = {choice.index: choice.message.content for choice in completion.choices if choice.message.content}
    return truth.outcome == "complete" and texts == {index: text for index, text in truth.texts.items() if text}


def check_nothing_is_left(loop: SimulatedLoop, network: Network, tasks: set[Any], callbacks: int) -> None:
    """No task, timer, connection or callback outlives the run."""
    assert not tasks, f"tasks are left: {tasks}"
    assert not network.open, f"connections are left: {[str(incoming.request_id) for incoming in network.open]}"
    timers = loop.timers()
    assert not timers, f"timers are left: {timers}"
    assert not callbacks, f"{callbacks} callbacks are left with the session"
    assert not loop.told, f"the loop was told of {loop.told}"


def _truth(
    attempt: Attempt,
    *,
    told_clock: bool = False,
    may_be_clock: bool = False,
    looked_at: bool = False,
    most: int | None = None,
) -> Truth:
    """Return what an attempt said, from the bytes that reached the process and what ended them.

    Args:
        attempt: It has an answer.
        told_clock: The caller was told of a clock.
        may_be_clock: A clock may have run out before the reader waited, and an answer that was complete by then does not tell.
        looked_at: Go by the bytes that the caller has looked at.
        most: As for `judge`.
    """
    script, incoming = attempt.script, attempt.incoming
    assert script is not None
    assert incoming is not None
    end: End | None = None
    if told_clock:
        end = "clock"
    elif incoming.end == "eof":
        end = "eof"
    elif incoming.reset:
        end = "reset"
    elif incoming.interrupted or may_be_clock:
        end = "clock"
    return judge(script, incoming.taken if looked_at else incoming.fed, end, attempt.n, most=most)
