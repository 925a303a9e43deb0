from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cometstream.cli import main
from cometstream.cli.schema_file import SchemaFile
from cometstream.errors import InvalidRequestError, OutputInvalidError
from cometstream.testing import Reply, SimulatedServer
from cometstream.views.completion import ChatCompletion

RECIPE: dict[str, Any] = {
    "title": "A recipe",
    "type": "object",
    "properties": {"name": {"type": "string"}, "minutes": {"type": "integer"}},
    "required": ["name", "minutes"],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(RECIPE))
    return path


def test_the_answer_is_asked_for_in_strict_mode_and_printed(
    server: SimulatedServer, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "Bread", "--schema", str(file)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"name", "minutes"}
    sent = server.requests[0].json["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"], sent["schema"]["additionalProperties"]) == ("A_recipe", True, False)


def test_a_schema_with_fields_that_may_be_left_out_keeps_its_meaning(file: Path) -> None:
    loose = {**RECIPE, "required": ["name"]}
    file.write_text(json.dumps(loose))
    assert SchemaFile(str(file)).response_format == {
        "type": "json_schema",
        "json_schema": {"name": "A_recipe", "schema": loose},
    }


def test_a_whole_response_format_is_sent_as_it_is(file: Path) -> None:
    whole = {"type": "json_schema", "json_schema": {"name": "mine", "schema": RECIPE}}
    file.write_text(json.dumps(whole))
    assert SchemaFile(str(file)).response_format == whole


@pytest.mark.parametrize(
    ("answer", "why"),
    [("Bread.", "it has no JSON object"), ('{"name": "bread", "minutes": "ten"}', "minutes: 'ten' is not of type")],
)
def test_an_answer_that_does_not_match_is_printed_and_told(
    server: SimulatedServer, file: Path, capsys: pytest.CaptureFixture[str], answer: str, why: str
) -> None:
    pytest.importorskip("jsonschema")
    server.script(Reply.text(answer))
    assert main(["ask", "Bread", "--schema", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == f"{answer}\n"
    assert why in err
    assert err.count("\n") == 1


def test_of_many_problems_the_first_are_told(file: Path) -> None:
    pytest.importorskip("jsonschema")
    file.write_text(json.dumps({"type": "array", "items": {"type": "integer"}}))
    wanted = SchemaFile(str(file))
    with pytest.raises(OutputInvalidError, match=r"; and 3 more$") as raised:
        wanted.check(_Answer(["x"] * 8))
    assert len(raised.value.problems) == 8


class _Answer(ChatCompletion[Any]):
    def __init__(self, value: Any) -> None:
        super().__init__({"choices": []})
        self._value = value

    @property
    def parsed(self) -> Any:
        return self._value


@pytest.mark.parametrize("text", [None, "{", "[]", '"x"', '{"type": 5}'])
def test_a_file_without_a_schema_is_told_before_anything_is_sent(
    server: SimulatedServer, file: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    file.unlink()
    if text is not None:
        file.write_text(text)
    assert main(["ask", "Bread", "--schema", str(file)]) == 2
    assert "--schema: " in capsys.readouterr().err
    assert not server.requests


def test_without_jsonschema_an_answer_only_has_to_be_json(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    SchemaFile(str(file)).check(_Answer({"anything": 1}))
    file.write_text('{"type": 5}')
    SchemaFile(str(file))
    file.unlink()
    with pytest.raises(InvalidRequestError):
        SchemaFile(str(file))
