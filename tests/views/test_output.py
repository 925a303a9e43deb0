from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from cometstream.answer.json_output import JSON_OUTPUT
from cometstream.errors import OutputCutError, OutputError, OutputInvalidError, OutputRefusedError
from cometstream.views.completion import ChatCompletion, ChatCompletionMessage
from cometstream.views.output import invalid_output


class Upper:
    """Reads texts in capitals."""

    reads = 0

    def read(self, text: str) -> str:
        self.reads += 1
        if not text.isupper():
            error = ValueError("no capitals")
            error.problems = ["a: is small", "b: is small"]  # type: ignore[attr-defined]
            raise error
        return text

    def read_partial(self, text: str) -> str:
        return text[:2]


def completion(*contents: str | None, finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": content, **message},
            "finish_reason": finish_reason,
        }
        for index, content in enumerate(contents)
    ]
    return {"id": "c1", "choices": choices}


def test_each_choice_has_its_value_and_it_is_read_once() -> None:
    output = Upper()
    whole = ChatCompletion(completion("ONE", "TWO"), output=output)
    assert [choice.message.parsed for choice in whole.choices] == ["ONE", "TWO"]
    assert [choice.message.parsed for choice in whole.choices] == ["ONE", "TWO"]
    assert whole.parsed == "ONE"
    assert output.reads == 2


def test_without_a_response_format_there_is_what_the_wire_says() -> None:
    assert ChatCompletion(completion("ONE")).parsed is None
    assert ChatCompletion({}).parsed is None
    assert ChatCompletionMessage({"parsed": {"a": 1}}).parsed == {"a": 1}


def failed(raw: dict[str, Any], kind: type[OutputError]) -> Any:
    whole = ChatCompletion(raw, output=Upper())
    with pytest.raises(kind) as caught:
        _ = whole.parsed
    assert type(caught.value) is kind
    assert caught.value.partial is whole
    return caught.value


def test_a_refusal_is_an_error_of_its_own() -> None:
    error = failed(completion(None, refusal="I must not."), OutputRefusedError)
    assert (error.refusal, error.value, error.retryable) == ("I must not.", "", False)
    assert "must not" not in str(error)


@pytest.mark.parametrize("reason", ["length", "content_filter", None, "of a new kind"])
def test_an_answer_that_was_cut_is_an_error_with_what_came(reason: str | None) -> None:
    error = failed(completion("CUT", finish_reason=reason), OutputCutError)
    assert (error.finish_reason, error.value) == (reason, "CU")
    assert ("max_completion_tokens" in str(error)) == (reason == "length")
    assert str(reason or "no finish_reason") in str(error)


def test_an_answer_that_is_not_valid_tells_each_problem() -> None:
    error = failed(completion("small"), OutputInvalidError)
    assert error.problems == ("a: is small", "b: is small")
    assert str(error).endswith("it has 2 problems: a: is small; b: is small")
    assert (error.value, error.retryable) == ("sm", True)
    assert isinstance(error, ValueError)
    assert error.__cause__ is error.__context__ is None  # which would show the answer


def test_an_answer_that_is_no_json_has_one_problem() -> None:
    with pytest.raises(OutputInvalidError) as caught:
        _ = ChatCompletion(completion("no JSON"), output=JSON_OUTPUT).parsed
    assert caught.value.problems == ("the answer: it has no JSON object",)


def test_an_answer_without_text_says_what_is_there_instead() -> None:
    assert failed(completion("  "), OutputInvalidError).problems == ("the answer: it has no text",)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    raw = completion(None, tool_calls=[call], finish_reason="tool_calls")
    assert failed(raw, OutputInvalidError).problems == ("the answer: it calls tools",)
    assert failed({"choices": []}, OutputCutError).finish_reason is None


def test_copies_have_the_value_too() -> None:
    whole = ChatCompletion(completion('{"a": 1}'), {"delta_null": 1}, JSON_OUTPUT)
    for view in (whole, whole.choices[0], whole.choices[0].message):
        for twin in (copy.copy(view), copy.deepcopy(view), pickle.loads(pickle.dumps(view))):
            assert twin == view
            message = twin if isinstance(twin, ChatCompletionMessage) else twin.message
            assert message is not None
            assert message.parsed == {"a": 1}


def test_a_type_in_brackets_is_for_type_checkers() -> None:
    assert ChatCompletion[int] is ChatCompletion


def test_the_message_of_a_bad_answer_lists_some_problems_and_the_error_has_them_all() -> None:
    error = invalid_output([f"tags[{place}]: Input should be a valid string" for place in range(20_000)])
    assert "it has 20000 problems: tags[0]: " in str(error)
    assert str(error).endswith("; and 19990 more, see problems")
    assert len(str(error)) < 1000
    assert len(error.problems) == 20_000
