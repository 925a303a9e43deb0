from __future__ import annotations

import pytest

from cometstream.views.chunks import Choice, ChoiceDelta
from cometstream.views.completion import ChatCompletionMessage, CompletionChoice

A, B = {"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "b", "logprob": -2}


@pytest.mark.parametrize("choice", [Choice, CompletionChoice])
def test_log_probabilities_read_by_openais_names(choice: type[Choice] | type[CompletionChoice]) -> None:
    logprobs = choice({"logprobs": {"content": [{**A, "top_logprobs": [A, B]}], "refusal": None}}).logprobs
    assert logprobs is not None
    assert logprobs.refusal is None
    assert logprobs.content is not None
    token = logprobs.content[0]
    assert (token.token, token.logprob, token.bytes) == ("a", -0.5, [97])
    assert [(top.token, top.logprob, top.bytes) for top in token.top_logprobs] == [("a", -0.5, [97]), ("b", -2, None)]


def test_log_probabilities_of_any_shape_are_read() -> None:
    assert Choice({"logprobs": None}).logprobs is None
    logprobs = Choice(
        {"logprobs": {"content": [{}, None, {"token": 1, "logprob": True, "bytes": "x"}], "refusal": {}}}
    ).logprobs
    assert logprobs is not None
    assert logprobs.refusal == []
    assert [(token.token, token.logprob, token.bytes, token.top_logprobs) for token in logprobs.content or []] == [
        ("", None, None, []),
        ("", None, None, []),
    ]


@pytest.mark.parametrize("message", [ChoiceDelta, ChatCompletionMessage])
def test_audio_and_annotations_read_by_openais_names(message: type[ChoiceDelta] | type[ChatCompletionMessage]) -> None:
    citation = {"url": "https://example.com", "title": "Comets", "start_index": 1, "end_index": 5}
    read = message(
        {
            "audio": {"id": "audio_1", "data": "UklGRg==", "transcript": "Hi", "expires_at": 1774412483},
            "annotations": [{"type": "url_citation", "url_citation": citation}, {}],
        }
    )
    audio = read.audio
    assert audio is not None
    assert (audio.id, audio.data, audio.transcript, audio.expires_at) == ("audio_1", "UklGRg==", "Hi", 1774412483)
    first, second = read.annotations
    assert (first.type, second.type, second.url_citation) == ("url_citation", "", None)
    cited = first.url_citation
    assert cited is not None
    assert (cited.url, cited.title, cited.start_index, cited.end_index) == ("https://example.com", "Comets", 1, 5)
    assert message({}).audio is None
    assert message({}).annotations == []
