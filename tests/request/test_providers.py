from __future__ import annotations

import warnings
from typing import Any

import pytest

from cometstream.request.providers import (
    PARAMETER_SUPPORT,
    WARNED,
    ParameterWarning,
    model_family,
    wants_developer,
    warn_parameters,
)


def warnings_of(body: dict[str, Any], seen: set[tuple[str, str]] | None = None) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_parameters(body, seen=set() if seen is None else seen)
    assert all(warning.category is ParameterWarning for warning in caught)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("model_id", "family"),
    [
        ("gpt-5.4", "gpt"),
        ("gpt-5.4-2026-03-05", "gpt"),
        ("gpt-5.4-mini", "gpt"),
        ("gpt-4.1-nano-2025-04-14", "gpt"),
        ("gpt-4o", "gpt"),
        ("chatgpt-4o-latest", "gpt"),
        ("openai/gpt-4o:extended", "gpt"),
        ("ft:gpt-4.1-mini-2025-04-14:org::id", "gpt"),
        ("GPT-4", "gpt"),
        ("claude-sonnet-4-5-20250929", "claude"),
        ("anthropic/claude-3.5-sonnet:beta", "claude"),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude"),
        ("claude-3-5-sonnet@20240620", "claude"),
        ("gemini-2.5-pro", "gemini"),
        ("models/gemini-2.5-flash", "gemini"),
        ("google/gemini-3-pro-preview-thinking", "gemini"),
        ("o1", "o-series"),
        ("o3-mini", "o-series"),
        ("openai/o4-mini-2025-04-16", "o-series"),
        ("o3-deep-research", "o-series"),
        ("o1-pro", "pro"),
        ("o3-pro-2025-06-10", "pro"),
        ("gpt-5.4-pro", "pro"),
        ("gpt-5-pro-2025-10-06", "pro"),
        ("gpt-5-codex", "codex"),
        ("gpt-5.1-codex-max", "codex"),
        ("codex-mini-latest", "codex"),
        ("your-model-id", None),
        ("deepseek-r1", None),
        ("grok-4", None),
        ("gpt-oss-120b", None),
        ("qwen3-coder", None),
        ("o1mini", None),
        ("claudette", None),
        ("nous/llama-3-gpt-4-merge", None),
        ("", None),
    ],
)
def test_a_family_is_read_off_the_id(model_id: str, family: str | None) -> None:
    assert model_family(model_id) == family


def test_the_table_has_a_cell_for_each_parameter_and_provider() -> None:
    for cells in PARAMETER_SUPPORT.values():
        assert tuple(cells) == ("gpt", "claude", "gemini")


SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}

SILENT: list[tuple[str, dict[str, Any]]] = [
    ("claude-opus-4", {"temperature": 1}),
    ("claude-opus-4", {"n": 1, "stop": ["a"] * 4, "tools": [], "top_p": 1}),
    ("claude-opus-4", {"stop": "a long text is one string"}),
    ("claude-opus-4", {"response_format": SCHEMA}),
    ("claude-opus-4", {"response_format": {"type": "text"}}),
    ("claude-opus-4", {"logprobs": False}),
    ("claude-opus-4", {"max_tokens": 5}),
    ("claude-opus-4", {"n": None, "logprobs": None, "reasoning_effort": None}),
    ("gemini-2.5-flash", {"temperature": 2, "n": 8, "stop": ["a"] * 5, "max_tokens": 5}),
    ("gemini-2.5-flash", {"response_format": {"type": "json_object"}}),
    ("gpt-5.4", {"temperature": 2, "n": 128, "stop": ["a"] * 4, "logprobs": True}),
    ("gpt-5.4", {"reasoning_effort": "low", "max_completion_tokens": 5, "response_format": {"type": "json_object"}}),
    ("gpt-5.1", {"reasoning_effort": "low"}),
    ("gpt-4o", {"max_tokens": 5}),
    ("gpt-35-turbo", {"max_tokens": 5}),
    ("your-model-id", {"n": 500, "stop": ["a"] * 9, "logprobs": True, "reasoning_effort": "low", "max_tokens": 5}),
    # Wrong types are the checks' to tell.
    ("claude-opus-4", {"n": "2", "temperature": [2], "stop": 5, "response_format": "json"}),
]


@pytest.mark.parametrize(("model", "params"), SILENT, ids=str)
def test_what_the_provider_takes_gives_no_warning(model: str, params: dict[str, Any]) -> None:
    assert warnings_of({"model": model, **params}) == []


LOUD: list[tuple[str, dict[str, Any], str]] = [
    ("claude-opus-4", {"temperature": 1.01}, "temperature: claude models take up to 1"),
    ("claude-opus-4", {"n": 2}, "n: claude models take up to 1"),
    ("claude-opus-4", {"stop": ["a"] * 5}, "stop: claude models take up to 4 strings"),
    ("claude-opus-4", {"logprobs": True}, "logprobs: claude models do not take it"),
    ("claude-opus-4", {"reasoning_effort": "low"}, "reasoning_effort: claude models do not take it"),
    (
        "anthropic/claude-opus-4",
        {"response_format": {"type": "json_object"}},
        "response_format: claude models take only json_schema",
    ),
    ("gemini-2.5-pro", {"n": 9}, "n: gemini models take up to 8"),
    ("gemini-2.5-pro", {"stop": ("a",) * 6}, "stop: gemini models take up to 5 strings"),
    ("gemini-2.5-pro", {"logprobs": True}, "logprobs: gemini models do not take it"),
    ("gemini-2.5-pro", {"reasoning_effort": "low"}, "reasoning_effort: gemini models do not take it"),
    ("gpt-5.4", {"n": 129}, "n: gpt models take up to 128"),
    ("gpt-5.4", {"stop": ["a"] * 5}, "stop: gpt models take up to 4 strings"),
    ("gpt-4o", {"reasoning_effort": "low"}, "reasoning_effort: only o-series and GPT-5.1+ take it"),
    ("gpt-5", {"reasoning_effort": "low"}, "reasoning_effort: only o-series and GPT-5.1+ take it"),
    *(
        (
            model,
            {"max_tokens": 5},
            "max_tokens: max_completion_tokens is recommended for GPT-4.1, GPT-5 series and o-series",
        )
        for model in ("gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5.4-nano", "openai/gpt-5.4")
    ),
    ("o3", {"reasoning_effort": "low"}, "model: o-series models are better supported by the Responses endpoint"),
    ("gpt-5-pro", {"reasoning_effort": "high"}, "model: pro models are better supported by the Responses endpoint"),
    ("gpt-5-codex", {}, "model: codex models are better supported by the Responses endpoint"),
]


@pytest.mark.parametrize(("model", "params", "advice"), LOUD, ids=str)
def test_what_the_provider_does_not_take_gives_one_warning(model: str, params: dict[str, Any], advice: str) -> None:
    assert warnings_of({"model": model, **params}) == [f"{advice} (model {model!r}); the request is sent unchanged"]


def test_each_parameter_gives_a_warning_of_its_own() -> None:
    told = warnings_of({"model": "o3-mini", "max_tokens": 5, "n": 129})
    assert [message.partition(":")[0] for message in told] == ["model", "max_tokens", "n"]


def test_a_family_and_parameter_is_warned_of_once() -> None:
    seen: set[tuple[str, str]] = set()
    assert len(warnings_of({"model": "claude-opus-4", "n": 2}, seen)) == 1
    assert warnings_of({"model": "claude-sonnet-4", "n": 3}, seen) == []
    assert len(warnings_of({"model": "claude-sonnet-4", "logprobs": True}, seen)) == 1
    assert len(warnings_of({"model": "gemini-2.5-pro", "n": 9}, seen)) == 1
    assert seen == {("claude", "n"), ("claude", "logprobs"), ("gemini", "n")}


def test_the_memory_of_the_process_is_used_by_default_and_can_be_cleared() -> None:
    WARNED.clear()
    with pytest.warns(ParameterWarning):
        warn_parameters({"model": "claude-opus-4", "n": 2})
    warn_parameters({"model": "claude-opus-4", "n": 2})
    WARNED.clear()
    with pytest.warns(ParameterWarning):
        warn_parameters({"model": "claude-opus-4", "n": 2})
    WARNED.clear()


@pytest.mark.parametrize("model", [None, 5, ["gpt-5.4"], "", "your-model-id"])
def test_a_model_that_is_unknown_or_no_text_gives_none(model: object) -> None:
    assert warnings_of({"model": model, "n": 500, "max_tokens": 5}) == []


def test_the_warning_blames_the_line_that_the_stacklevel_says() -> None:
    def caller(stacklevel: int) -> None:
        warn_parameters({"model": "claude-opus-4", "n": 2}, stacklevel=stacklevel, seen=set())

    first = caller.__code__.co_firstlineno
    for stacklevel, line in ((1, first + 1), (2, first + 6)):
        with pytest.warns(ParameterWarning) as caught:
            caller(stacklevel)
        assert (caught[0].filename, caught[0].lineno) == (__file__, line)


@pytest.mark.parametrize("version", ["5." + "1" * 5000, "5.99999", "4." + "0" * 400])
def test_a_version_of_any_length_is_read(version: str) -> None:
    assert model_family(f"gpt-{version}") == "gpt"
    assert warnings_of({"model": f"gpt-{version}", "n": 200})


@pytest.mark.parametrize(
    ("model_id", "wanted"),
    [
        ("gpt-5.4", True),
        ("openai/gpt-4.1-mini", True),
        ("gpt-5", True),
        ("o3-mini", True),
        ("gpt-5-codex", True),
        ("gpt-4o", False),
        ("chatgpt-4o-latest", False),
        ("claude-sonnet-4-6", False),
        ("gemini-2.5-flash", False),
        ("deepseek-r1", False),
        ("", False),
    ],
)
def test_the_models_for_which_the_page_prefers_developer_over_system(model_id: str, wanted: bool) -> None:
    assert wants_developer(model_id) is wanted
