"""Hypothesis strategies for what a sloppy gateway may send: chunks of the right shape, of nearly the right shape, of none."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Texts as JSON gives them: any character but halves of surrogate pairs.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.just("0"),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def sloppy(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The right thing most of the time, and anything else otherwise."""
    return st.one_of(right, right, right, values)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have some of the fields, each sloppily, and perhaps one that nobody knows."""
    known = st.fixed_dictionaries({}, optional={name: sloppy(value) for name, value in fields.items()})
    unknown = st.dictionaries(st.sampled_from(["x", "extra_content", "note"]), values, max_size=1)
    return st.builds(lambda first, second: {**second, **first}, known, unknown)


ids = st.sampled_from(["", "call_a", "call_b", "call_c"])
functions = objects(name=st.sampled_from(["", "f", "g"]), arguments=st.sampled_from(["", "{}", '{"a":', "1}", '"}{']))
fragments = objects(index=st.integers(0, 2), id=ids, type=st.just("function"), function=functions, custom=functions)
parts = objects(
    type=st.sampled_from(["text", "text", "refusal", "image_url", "input_audio", "file"]),
    text=texts,
    thinking=st.lists(objects(type=st.just("text"), text=texts), max_size=2),
    image_url=objects(url=texts, detail=texts),
    input_audio=objects(data=texts, format=texts),
    file=objects(file_id=texts, filename=texts),
)
messages = objects(
    role=st.just("assistant"),
    name=texts,
    content=st.one_of(texts, st.lists(sloppy(parts), max_size=3)),
    reasoning_content=texts,
    reasoning=texts,
    refusal=texts,
    tool_calls=st.lists(sloppy(fragments), max_size=3),
    function_call=functions,
    audio=objects(
        id=ids, data=st.sampled_from(["", "YQ==", "YWI", "\u00e9"]), transcript=texts, expires_at=st.integers(0, 9)
    ),
    annotations=st.lists(
        sloppy(objects(type=texts, url_citation=objects(url=texts, title=texts, start_index=st.integers(0, 9)))),
        max_size=2,
    ),
    images=st.lists(values, max_size=2),
)
tokens = objects(
    token=texts,
    logprob=st.floats(allow_nan=False, allow_infinity=False),
    bytes=st.lists(st.integers(0, 255), max_size=3),
    top_logprobs=st.lists(values),
)
reasons = st.sampled_from(["", "stop", "length", "tool_calls", "error"])
choices = objects(
    index=st.integers(0, 2),
    delta=messages,
    message=messages,
    finish_reason=reasons,
    finishReason=reasons,
    logprobs=objects(content=st.lists(sloppy(tokens), max_size=2), refusal=st.lists(sloppy(tokens), max_size=2)),
)
details = objects(cached_tokens=st.integers(0, 9), audio_tokens=st.integers(0, 9), reasoning_tokens=st.integers(0, 9))
usages = objects(
    prompt_tokens=st.integers(0, 9),
    completion_tokens=st.integers(0, 9),
    total_tokens=st.integers(0, 9),
    prompt_tokens_details=details,
    completion_tokens_details=details,
)
chunks = objects(
    id=texts,
    object=texts,
    created=st.integers(0, 9),
    model=texts,
    choices=st.lists(sloppy(choices), max_size=3),
    usage=usages,
    x_groq=objects(usage=usages),
    service_tier=texts,
    system_fingerprint=texts,
    error=values,
    obfuscation=texts,
)
