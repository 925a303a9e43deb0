"""The catalogue as other people's tests have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cometstream.errors import UsageError
from cometstream.testing import conformance
from cometstream.testing.conformance import CASES, GROUPS, load


def test_cases_suit_an_app_that_shows_text() -> None:
    assert len(CASES) > 200
    assert {case.group for case in CASES} == set(GROUPS)
    assert {case.outcome for case in CASES} >= {"complete", "truncated", "error"}
    for case in CASES:
        assert case.ending in ("whole", "cut", "reset")
        assert case.policy is None
        assert not case.request
    assert conformance.CASES is CASES


def test_a_case_tells_its_text_and_its_name() -> None:
    cases = {str(case): case for case in load()}
    assert cases["framing/a00-the-documented-stream"].text
    assert cases["framing/a00-the-documented-stream"].outcome == "complete"
    assert {case.text for case in load("status")} == {""}


def test_what_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"group must be one of framing, chunk_shape, .*; got 'other'"):
        load("other")
    with pytest.raises(AttributeError, match="has no attribute 'OTHERS'"):
        _ = conformance.OTHERS
    monkeypatch.setattr(conformance, "_FOLDER", tmp_path)
    with pytest.raises(UsageError, match="install cometstream with its data files"):
        load()
