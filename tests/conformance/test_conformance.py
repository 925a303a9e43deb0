"""Every case of the catalogue gives its result: through the machine however the bytes are cut, and through a session over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from support import virtual_clock
from support.serving import CHAT, serving
from support.wire_reading import Wire, read_wire

import cometstream
from cometstream import Timeouts
from cometstream.errors import (
    APIStatusError,
    APITimeoutError,
    CometError,
    EmptyStreamError,
    ProtocolError,
    StreamServerError,
    StreamTruncatedError,
    StreamUnterminatedError,
)
from cometstream.views.completion import ChatCompletion, CompletionChoice
from conformance import GROUPS, Case, load

CASES = load()
PLAIN = [case for case in CASES if case.is_plain]
HTTP = [case for case in CASES if "split_think" not in case.cometstream]

# Longer bodies are cut at some of their offsets only.
SMALL = 11_000

# What an error is called in the catalogue, and here.
KINDS = {
    "refused": APIStatusError,
    "server": StreamServerError,
    "protocol": ProtocolError,
    "cut": StreamTruncatedError,
    "unterminated": StreamUnterminatedError,
    "empty": EmptyStreamError,
    "timeout": APITimeoutError,
    "connection": cometstream.APIConnectionError,
}

FIELDS = {"index", "content", "reasoning", "refusal", "tool_calls", "function_call", "finish_reason"}


def each(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


def wire_of(case: Case, pieces: Iterable[bytes]) -> Wire:
    """Read a case's body from its pieces; a cut or a reset is not to be seen in the bytes."""
    return read_wire(
        pieces,
        was_cut=case.ending != "whole",
        split_think="split_think" in case.cometstream,
        choices=case.request.get("n", 1),
    )


def result(outcome: str | None, completion: ChatCompletion, error: CometError | None) -> dict[str, Any]:
    """Say what a client made of a case in the catalogue's terms."""
    return {
        "outcome": outcome,
        "choices": [choice_of(choice) for choice in completion.choices],
        "usage": None if completion.usage is None else completion.usage.to_dict(),
        "error": None if error is None else error_of(error),
    }


def choice_of(choice: CompletionChoice) -> dict[str, Any]:
    message = choice.message
    return {
        "index": choice.index,
        "content": message.content,
        "reasoning": message.reasoning,
        "refusal": message.refusal,
        "tool_calls": [
            {
                "id": call.id,
                "name": call.function.name,
                "arguments": call.parse() if call.executable and call.type != "custom" else None,
            }
            for call in message.tool_calls or []
        ],
        "function_call": None
        if message.function_call is None
        else {"name": message.function_call.name, "arguments": message.function_call.arguments},
        "finish_reason": choice.finish_reason,
    }


def error_of(error: CometError) -> dict[str, Any]:
    described: dict[str, Any] = {"class": type(error).__name__, "retryable": error.retryable}
    for name in ("status", "clock"):
        if getattr(error, name, None) is not None:
            described[name] = getattr(error, name)
    return described if error.code is None else {**described, "code": error.code}


def expected(case: Case) -> dict[str, Any]:
    """Say what the catalogue expects in the terms of ``result``."""
    choices = case.choices
    ids = iter(case.cometstream.get("generated_ids", []))
    for choice in choices:
        choice["tool_calls"] = [{**call, "id": call["id"] or next(ids)} for call in choice["tool_calls"]]
    error = case.expect.get("error")
    if error is not None:
        error = {key: value for key, value in error.items() if key != "kind"}
        error["class"] = case.cometstream["error"]
        if "clock" in case.cometstream:
            error["clock"] = case.cometstream["clock"]
    return {
        "outcome": case.expect["outcome"],
        "choices": choices,
        "usage": case.expect.get("usage"),
        "error": error,
    }


def at_least(have: Any, want: Any) -> Any:
    """Return `have` without what `want` does not ask for, at every depth, so that the two can be compared."""
    if isinstance(want, dict) and isinstance(have, dict):
        return {key: at_least(have[key], item) for key, item in want.items() if key in have}
    if isinstance(want, list) and isinstance(have, list) and len(have) == len(want):
        return [at_least(*pair) for pair in zip(have, want, strict=True)]
    return have


def offsets(size: int) -> Iterable[int]:
    """Where a body is cut in two: everywhere, or, in a long one, near its ends and here and there."""
    if size <= SMALL:
        return range(size + 1)
    if size <= 200_000:
        return sorted({*range(64), *range(0, size, max(3, size // 300)), *range(size - 64, size + 1)})
    return [1, 5, 6, 7, 60, 65_536, *range(size - 20, size, 7)]


@each(PLAIN)
def test_the_whole_body_gives_the_result(case: Case) -> None:
    wire = wire_of(case, [case.body])
    answer = result(wire.outcome, wire.completion, wire.error)
    assert at_least(answer, expected(case)) == expected(case)
    assert wire.normalizations == case.cometstream.get("normalizations", {})
    assert wire.comments == case.cometstream.get("comments", wire.comments)
    assert wire.completion.usage_source == ("unknown" if case.expect.get("usage") is None else "reported")
    keeps = case.cometstream.get("keeps", {})
    assert at_least(wire.completion.to_dict(), keeps) == keeps
    if "raw" in case.cometstream:
        assert isinstance(wire.error, ProtocolError)
        assert wire.error.raw.decode() == case.cometstream["raw"]


@pytest.mark.slow
@pytest.mark.no_cover  # three times as long otherwise
@each(PLAIN)
def test_wherever_it_is_cut_in_two_it_gives_the_same(case: Case) -> None:
    whole = wire_of(case, [case.body])
    for at in offsets(len(case.body)):
        assert wire_of(case, [case.body[:at], b"", case.body[at:]]) == whole, at


@each(PLAIN)
def test_in_small_pieces_it_gives_the_same(case: Case) -> None:
    whole = wire_of(case, [case.body])
    for size in (1, 7) if len(case.body) <= 200_000 else (1_000_003, 65_536, 1_460):
        pieces = [case.body[at : at + size] for at in range(0, len(case.body), size)]
        assert wire_of(case, pieces) == whole, size


@each(HTTP)
def test_a_session_gives_the_result_over_http(case: Case) -> None:
    # On the virtual clock: a stream that a broken clock never ends is a failure, and no endless test.
    answer, completion, error = virtual_clock.run(asyncio.wait_for(asked(case), 60))
    assert at_least(answer, expected(case)) == expected(case)
    if error is not None and completion.choices:
        assert error.partial == completion
    for name in ("request_id", "retry_after"):
        if name in case.cometstream:
            assert getattr(error, name) == case.cometstream[name]
    if case.is_plain:
        # What the transport adds is no bend of the answer's shape.
        assert completion.normalizations == case.cometstream.get("normalizations", {})


async def asked(case: Case) -> tuple[dict[str, Any], ChatCompletion, CometError | None]:
    """Ask for a case over HTTP; the clock is a virtual one."""
    async with serving(case.reply, retry=None, timeouts=Timeouts(first_content=3, content_idle=2)) as (
        server,
        session,
    ):
        stream = session.stream(**CHAT, **case.request)
        error: CometError | None = None
        try:
            async with stream:
                async for _ in stream:
                    pass
        except CometError as caught:
            error = caught
        completion, outcome = stream.completion, stream.outcome
        assert len(server.requests) == 1
    return result(outcome, completion, error), completion, error


def test_each_case_is_told_in_the_catalogues_terms() -> None:
    for case in CASES:
        assert case.title[0].isupper() or case.title[0].isdigit(), case.id
        assert case.source, case.id
        error = case.expect.get("error")
        assert (case.expect["outcome"] == "complete") == (error is None), case.id
        if error is not None:
            assert issubclass(getattr(cometstream, case.cometstream["error"]), KINDS[error["kind"]]), case.id
            assert isinstance(error["retryable"], bool), case.id
        for choice in case.choices:
            assert set(choice) == FIELDS, case.id


def test_no_row_is_forgotten() -> None:
    rows = {case.row for case in CASES}
    last = {"A": 11, "B": 10, "C": 14, "D": 9, "E": 9, "H": 3, "U": 6, "R": 4}
    assert {f"{letter}{number}" for letter, count in last.items() for number in range(1, count + 1)} <= rows


def test_the_groups_are_the_folders() -> None:
    assert {case.group for case in CASES} == set(GROUPS)
    assert all(len(load(group)) > 5 for group in GROUPS)


def test_line_ends_are_kept() -> None:
    cases = {case.id: case for case in load("framing")}
    assert b"\r\n\r\n" in cases["framing/a05-crlf"].body
    assert b"\n" not in cases["framing/a05-lone-cr"].body
    assert len(cases["framing/a09-one-line-of-4-mb"].body) > 4 * 1024 * 1024
