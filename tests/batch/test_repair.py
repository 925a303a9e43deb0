from __future__ import annotations

from typing import Annotated, Any

import orjson
import pytest

pytest.importorskip("pydantic", reason="types as response_format need pydantic")

from pydantic import AfterValidator, BaseModel, Field, create_model
from support import virtual_clock
from support.serving import serving

from cometstream import (
    BatchResult,
    ConfigurationError,
    InvalidRequestError,
    OutputCutError,
    OutputInvalidError,
    OutputRefusedError,
    Schema,
    fan_out,
)
from cometstream.batch.output_line import read_output_line, result_line
from cometstream.testing import DONE, Reply, chunk

GOOD, BAD = '{"size": 3}', '{"size": 0}'
PROBLEM = "size: Input should be greater than 0"


class Box(BaseModel):
    size: int = Field(gt=0)


def rows(count: int = 1, **params: Any) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": f"box {number}"}], **params} for number in range(count)]


def batch(
    *replies: Reply, requests: list[dict[str, Any]] | None = None, **options: Any
) -> tuple[list[BatchResult[Any]], list[Any]]:
    """The results of a batch, and the bodies that the server was sent."""

    async def main() -> tuple[list[BatchResult[Any]], list[Any]]:
        async with serving(*replies) as (server, session):
            options.setdefault("response_format", Box)
            running = fan_out(
                session, rows() if requests is None else requests, model="gpt-5.4", concurrency=1, **options
            )
            async with running:
                results = [result async for result in running]
            assert running.progress.done + running.progress.failed == len(results)
            assert running.progress.done == sum(result.outcome == "complete" for result in results)
            return results, [request.json for request in server.requests]

    return virtual_clock.run(main())


def test_each_row_has_its_checked_value() -> None:
    results, sent = batch(Reply.text(GOOD), Reply.text('{"size": 4}'), requests=rows(2))
    assert [result.completion.parsed for result in results if result.completion] == [Box(size=3), Box(size=4)]
    assert [(result.outcome, result.error) for result in results] == [("complete", None)] * 2
    assert sent[0]["response_format"]["json_schema"]["name"] == "Box"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply.text(BAD), OutputInvalidError),
        (Reply.text("no JSON"), OutputInvalidError),
        (Reply.text('{"size": ', finish_reason="length"), OutputCutError),
        (Reply.sse(chunk({"refusal": "No."}), chunk(finish_reason="stop"), DONE), OutputRefusedError),
    ],
)
def test_an_answer_of_another_kind_fails_its_row_and_is_kept(reply: Reply, kind: type[Exception]) -> None:
    (result,), _ = batch(reply)
    assert type(result.error) is kind
    assert (result.outcome, result.attempts) == ("error", 1)
    assert result.completion is not None
    line = orjson.loads(result_line(result, id="line", custom_id="row"))
    assert line["response"]["body"]["choices"][0]["message"] == result.completion.raw["choices"][0]["message"]
    assert result.error is not None
    assert line["error"]["code"] == result.error.code
    assert read_output_line(orjson.dumps(line)).failed


def test_a_row_is_asked_again_with_what_was_wrong() -> None:
    (result,), (first, second) = batch(Reply.text(BAD), Reply.text(GOOD), repair=1)
    assert (result.outcome, result.error, result.attempts) == ("complete", None, 2)
    assert result.completion is not None
    assert result.completion.parsed == Box(size=3)
    asked, answer, complaint = second["messages"]
    assert [asked] == first["messages"]
    assert answer == {"role": "assistant", "content": BAD}
    assert complaint["role"] == "user"
    assert f"- {PROBLEM}" in complaint["content"]
    assert result.request == rows()[0]  # it is not changed


def test_a_row_is_asked_again_no_more_often_than_was_said() -> None:
    (result,), sent = batch(Reply.text(BAD), Reply.text("none"), Reply.text(BAD), Reply.text(GOOD), repair=2)
    assert type(result.error) is OutputInvalidError
    assert (result.attempts, len(sent), len(sent[-1]["messages"])) == (3, 3, 5)


def test_a_refusal_is_not_asked_again() -> None:
    refusal = Reply.sse(chunk({"refusal": "No."}), chunk(finish_reason="stop"), DONE)
    (result,), sent = batch(refusal, Reply.text(GOOD), repair=3)
    assert type(result.error) is OutputRefusedError
    assert len(sent) == 1


def test_an_answer_that_breaks_off_is_sent_again_as_ever_and_as_it_was_repaired() -> None:
    cut = Reply.text('{"si', finish_reason=None, done=False).cut()
    (result,), sent = batch(Reply.text(BAD), cut, Reply.text(GOOD), repair=1)
    assert (result.outcome, result.attempts) == ("complete", 3)
    assert [len(body["messages"]) for body in sent] == [1, 3, 3]


def test_a_row_may_have_a_type_of_its_own_and_the_wires_form_is_for_its_writer() -> None:
    requests = [*rows(response_format=list[int]), *rows(response_format={"type": "json_object"})]
    results, _ = batch(Reply.text('{"response": [1]}'), Reply.text("no JSON"), requests=requests, repair=1)
    assert results[0].completion is not None
    assert results[0].completion.parsed == [1]
    assert (results[1].outcome, results[1].error) == ("complete", None)


@pytest.mark.parametrize("format_", [{"type": "json_object"}, None, Schema(Box, name="box")])
def test_any_response_format_goes_out_as_it_is(format_: Any) -> None:
    (result,), (body,) = batch(Reply.text(GOOD), response_format=format_)
    assert result.outcome == "complete"
    wire = format_.wire if isinstance(format_, Schema) else format_
    assert body.get("response_format") == wire


async def test_what_cannot_be_asked_for_is_refused_at_once() -> None:
    class Loose(BaseModel):
        size: int = 5

    async with serving() as (_, session):
        with pytest.raises(InvalidRequestError, match=r"response_format\.size: has a default"):
            fan_out(session, [], response_format=Loose)
        repair: Any
        for repair in (-1, 1.5, True, None):
            with pytest.raises(ConfigurationError, match="repair must be a whole number"):
                fan_out(session, [], response_format=Box, repair=repair)


def test_a_row_is_asked_again_in_few_words_and_without_an_empty_answer() -> None:
    numbers = create_model("Numbers", numbers=(list[int], ...))
    wrong = '{"numbers": [' + ", ".join(['"x"'] * 5000) + "]}"
    _, sent = batch(Reply.text(""), Reply.text(wrong), Reply.text('{"numbers": []}'), response_format=numbers, repair=2)
    assert [message["role"] for message in sent[2]["messages"]] == ["user", "user", "assistant", "user"]
    complaint = sent[2]["messages"][3]["content"]
    assert "- numbers[0]: " in complaint
    assert "- and 4980 more\n" in complaint
    assert len(complaint) < 3000


def test_a_validator_that_breaks_fails_its_row_and_not_the_batch() -> None:
    kinds = create_model("Kinds", kind=(Annotated[str, AfterValidator({"a": "A"}.__getitem__)], ...))
    replies = [Reply.text(f'{{"kind": "{kind}"}}') for kind in "ba"]
    first, second = batch(*replies, requests=rows(2), response_format=kinds)[0]
    assert type(first.error) is OutputInvalidError
    assert second.completion is not None
    assert second.completion.parsed.kind == "A"
