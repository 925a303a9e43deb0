"""The light client's signatures beside those of the installed openai: what is left out is left out on purpose, by name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_type_hints

import openai
import pytest
from openai.resources.chat.completions import AsyncCompletions, Completions
from openai.resources.models import AsyncModels

from cometstream import ConfigurationError
from cometstream import openai as ours
from cometstream.openai.calls import CreateParams
from cometstream.openai.chat import Completions as OurCompletions
from cometstream.openai.left_out import ARGUMENTS, NAMES, RESOURCES, table
from cometstream.openai.models import Models as OurModels

README = Path(__file__).parent.parent.parent / "README.md"

# Arguments with an underscore are openai's own business.
PRIVATE = re.compile(r"_\w+")


def public(names: Any) -> set[str]:
    return {name for name in names if not PRIVATE.fullmatch(name)} - {"self", "extra_query", "extra_headers"}


@pytest.mark.parametrize("kind", ["AsyncOpenAI", "OpenAI"])
@pytest.mark.parametrize("method", ["__init__", "copy"])
def test_every_argument_of_a_client_is_taken_or_left_out_by_name(kind: str, method: str) -> None:
    theirs = public(inspect.signature(getattr(getattr(openai, kind), method)).parameters)
    mine = public(inspect.signature(getattr(getattr(ours, kind), method)).parameters)
    assert theirs - mine <= ARGUMENTS
    assert not ARGUMENTS & mine


@pytest.mark.parametrize("kind", ["AsyncOpenAI", "OpenAI"])
def test_every_attribute_of_a_client_is_there_or_left_out_by_name(kind: str) -> None:
    theirs = {name for name in vars(getattr(openai, kind)) if not name.startswith("_")}
    client = getattr(ours, kind)(api_key="k")
    there = {name for name in theirs if hasattr(client, name)}
    # `qs` and `auth_headers` belong to the machinery below openai's requests.
    assert theirs - there - {"qs", "auth_headers", "websocket_base_url"} <= RESOURCES | NAMES | ARGUMENTS
    assert not RESOURCES & there


@pytest.mark.parametrize("method", ["create", "parse", "stream"])
def test_every_parameter_of_a_call_is_taken(method: str) -> None:
    for theirs in (AsyncCompletions, Completions):
        names = set(inspect.signature(getattr(theirs, method)).parameters) - {"self"}
        mine = set(inspect.signature(getattr(OurCompletions, method)).parameters)
        assert names - mine - set(get_type_hints(CreateParams)) == set()


@pytest.mark.parametrize(("theirs", "mine"), [(AsyncCompletions, OurCompletions), (AsyncModels, OurModels)])
def test_every_method_of_a_resource_is_there_or_left_out_by_name(theirs: type, mine: type) -> None:
    names = {name for name in vars(theirs) if not name.startswith("_")}
    assert names - {name for name in vars(mine) if not name.startswith("_")} <= NAMES


def test_every_class_of_error_is_there_or_known_to_be_of_another_route() -> None:
    theirs = {
        name
        for name in openai.__all__
        if isinstance(value := getattr(openai, name), type) and issubclass(value, Exception)
    }
    elsewhere = {
        "InvalidWebhookSignatureError",
        "OAuthError",
        "SubjectTokenProviderError",
        "WebSocketConnectionClosedError",
        "WebSocketQueueFullError",
    }
    assert theirs - set(ours.__all__) - elsewhere == set()


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_a_route_that_is_left_out_names_the_other_door_in_one_line(name: str) -> None:
    with pytest.raises(
        AttributeError, match=rf"client\.{name} is not in this light client: .*CometTransport"
    ) as caught:
        getattr(ours.AsyncOpenAI(api_key="k"), name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["with_raw_response", "with_streaming_response", "retrieve"])
def test_a_method_that_is_left_out_names_the_other_door(name: str) -> None:
    for client in (ours.AsyncOpenAI(api_key="k"), ours.OpenAI(api_key="k")):
        with pytest.raises(AttributeError, match=rf"client\.chat\.completions\.{name} .*CometTransport"):
            getattr(client.chat.completions, name)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_an_argument_that_is_left_out_names_the_other_door(name: str) -> None:
    for kind in (ours.AsyncOpenAI, ours.OpenAI):
        options: dict[str, Any] = {name: object()}
        with pytest.raises(ConfigurationError, match=rf"{name}= is not in this light client: .*CometTransport"):
            kind(api_key="k", **options)
        absent: dict[str, Any] = {name: None}
        kind(api_key="k", **absent)
        with pytest.raises(ConfigurationError, match=name):
            kind(api_key="k").with_options(**options)


def test_httpx_clients_are_importable_and_fail_when_one_is_made() -> None:
    for kind in (ours.DefaultAsyncHttpxClient, ours.DefaultHttpxClient):
        with pytest.raises(ConfigurationError, match="CometTransport"):
            kind(timeout=5)


def test_other_names_are_plainly_missing() -> None:
    client: Any = ours.AsyncOpenAI(api_key="k")
    with pytest.raises(AttributeError, match="client has no attribute 'nonsense'"):
        getattr(client, "nonsense")  # noqa: B009 - that it is read is the test
    for owner, name in (
        (client.chat, r"client\.chat"),
        (client.beta, r"client\.beta"),
        (client.models, r"client\.models"),
    ):
        with pytest.raises(AttributeError, match=f"{name} has no attribute 'nonsense'"):
            getattr(owner, "nonsense")  # noqa: B009 - as above
    with pytest.raises(ConfigurationError, match="nonsense= is not an argument"):
        ours.AsyncOpenAI(api_key="k", nonsense=1)


def test_the_readme_has_the_table_that_is_made_from_the_list() -> None:
    if "<!-- left out -->" not in README.read_text():
        pytest.skip("the README has no such table yet")
    assert table() in README.read_text()
