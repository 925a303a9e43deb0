from __future__ import annotations

import pickle
import re
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream import CometSession, ConfigurationError
from cometstream.config import (
    DEFAULT_BASE_URL,
    MAX_EVENT_SIZE,
    checked_event_size,
    checked_headers,
    find_base_url,
    find_key,
    find_secrets,
    merge_headers,
    standard_headers,
)

# The key


def test_the_key_is_the_argument_then_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-environment")
    assert find_key("sk-argument") == ("sk-argument", "api_key=")
    key, source = find_key(None)
    assert key == "sk-environment"
    assert "COMETAPI_KEY" in source


def test_openais_key_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    with pytest.raises(ConfigurationError, match="set the environment variable COMETAPI_KEY, or pass api_key="):
        CometSession()


BAD_KEYS = [
    "",
    " ",
    "\t\n",
    "sk-a\n",
    "\nsk-a",
    " sk-a",
    "sk-a ",
    "sk-a\r\nX-Evil: 1",
    "sk a",
    "Bearer sk-a",
    "sk-\xe9",
    "sk-\u2028a",
    "sk-\x00",
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_cannot_be_one_is_refused_on_one_line_that_does_not_show_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CometSession(api_key=key)
    assert "api_key=" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not key.strip() or key.strip() not in str(caught.value)
    if "\x00" not in key:
        monkeypatch.setenv("COMETAPI_KEY", key)
        with pytest.raises(ConfigurationError, match="COMETAPI_KEY"):
            CometSession()


@pytest.mark.parametrize("key", [b"sk-a", 5, ["sk-a"]])
def test_a_key_that_is_no_text_names_its_type(key: Any) -> None:
    with pytest.raises(ConfigurationError, match=type(key).__name__):
        CometSession(api_key=key)


# The base URL


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://api.cometapi.com/v1", "https://api.cometapi.com/v1"),
        ("https://api.cometapi.com/v1/", "https://api.cometapi.com/v1"),
        ("https://api.cometapi.com/v1//", "https://api.cometapi.com/v1"),
        ("https://api.cometapi.com", "https://api.cometapi.com"),
        ("HTTPS://gateway.example:8443/a/b/v1", "https://gateway.example:8443/a/b/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://127.8.8.8/v1", "http://127.8.8.8/v1"),
        ("http://localhost:8080/v1", "http://localhost:8080/v1"),
        ("http://gateway.localhost/v1", "http://gateway.localhost/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("https://b\xfccher.example/v1", "https://b\xfccher.example/v1"),
    ],
)
def test_a_base_url_is_taken_without_its_last_slash(given: str, taken: str) -> None:
    assert find_base_url(given) == taken


def test_the_base_url_is_the_argument_then_the_environments_then_cometapis(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_base_url(None) == DEFAULT_BASE_URL == "https://api.cometapi.com/v1"
    monkeypatch.setenv("COMETAPI_BASE_URL", "")
    assert find_base_url(None) == DEFAULT_BASE_URL
    monkeypatch.setenv("COMETAPI_BASE_URL", "https://gateway.example/v1")
    assert find_base_url(None) == "https://gateway.example/v1"
    assert find_base_url("https://argument.example/v1") == "https://argument.example/v1"


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "api.cometapi.com/v1",
        "//api.cometapi.com/v1",
        "api.cometapi.com:443/v1",
        "ftp://api.cometapi.com/v1",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https:api.cometapi.com/v1",
        "https://:443/v1",
        "https://api.cometapi.com:99999/v1",
        "https://api.cometapi.com:0/v1",
        "https://api.cometapi.com:port/v1",
        "https://[::1/v1",
        "https://api.comet api.com/v1",
        "https://api.cometapi.com/v1\n",
        "https://api.cometapi.com/v1\r\nX-Evil: 1",
        "https://api.cometapi.com/v1\x00",
        "https://api.cometapi.com/\ud800",
        "https://user:hunter2@api.cometapi.com/v1",
        "https://hunter2@api.cometapi.com/v1",
        "https://api.cometapi.com\\@evil.example/v1",
        "https://api.cometapi.com/v1?key=hunter2",
        "https://api.cometapi.com/v1#hunter2",
        "https://api.cometapi.com/v1/chat/completions",
        "https://api.cometapi.com/v1/chat/completions/",
        "sk-hunter2",
    ],
)
def test_a_base_url_that_is_none_gives_one_clear_line_that_shows_no_secret_of_it(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CometSession(api_key="sk-a", base_url=given)
    assert "base_url=" in str(caught.value)
    assert "api.cometapi.com/v1" in str(caught.value) or "api_key=" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", [5, b"https://api.cometapi.com/v1", ["https://a.example"]])
def test_a_base_url_that_is_no_text_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="base_url="):
        CometSession(api_key="sk-a", base_url=given)


def test_a_base_url_of_the_environment_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_BASE_URL", "api.cometapi.com")
    with pytest.raises(ConfigurationError, match="COMETAPI_BASE_URL"):
        CometSession(api_key="sk-a")


@pytest.mark.parametrize("given", ["http://api.cometapi.com/v1", "http://192.168.1.5:8080/v1", "http://10.0.0.1"])
def test_http_to_another_host_warns_at_the_callers_line(given: str) -> None:
    with pytest.warns(UserWarning, match="clear text") as caught:
        CometSession(api_key="sk-a", base_url=given)
    assert [warning.filename for warning in caught] == [__file__]


def test_https_and_loopback_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in ("https://192.168.1.5/v1", "http://127.0.0.1/v1", "http://[::1]/v1", "http://localhost/v1"):
            CometSession(api_key="sk-a", base_url=given)


# Headers


def test_headers_that_can_be_sent_are_taken_as_they_are() -> None:
    headers = {"X-Title": "Caf\xe9", "x-a": "", "X_B.c~": "a\tb", "HTTP-Referer": "https://example.com"}
    assert checked_headers(headers) == headers
    assert checked_headers(None) == {}


@pytest.mark.parametrize("name", ["", " ", "X A", "X:A", "X-A\n", "X-\xe9", "X-A\r\nX-B"])
def test_a_header_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a header name") as caught:
        checked_headers({name: "a"})
    assert "\n" not in str(caught.value)


def test_a_whole_header_that_is_given_as_a_name_does_not_show_its_value() -> None:
    with pytest.raises(ConfigurationError) as caught:
        checked_headers({"Authorization: Bearer hunter2": ""})
    assert str(caught.value) == "headers: 'Authorization:...' is not a header name"


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "hunter2\r\n", "a\x00", "\x7f", "hunter2\ud800"])
def test_a_header_value_that_cannot_be_sent_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigurationError, match="headers\\['X-A'\\]") as caught:
        checked_headers({"X-A": value})
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"X-A": 1}, {"X-A": None}, {"X-A": b"a"}, {1: "a"}, [("X-A", "a")], "X-A: a", 5])
def test_headers_of_other_types_are_refused(headers: Any) -> None:
    with pytest.raises(ConfigurationError, match="headers"):
        checked_headers(headers)


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "HOST",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "HTTP2-Settings",
        "Expect",
        "Content-Encoding",
    ],
)
def test_a_header_that_frames_the_message_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        checked_headers({"X-A": "a", name: "hunter2"})
    assert str(caught.value) == f"headers: {name} cannot be set, the connection sets it: leave it out"


def test_later_headers_take_the_place_of_earlier_ones_whatever_their_case() -> None:
    merged = merge_headers({"User-Agent": "a", "X-A": "1"}, {"user-agent": "b"}, {}, {"USER-AGENT": "c", "X-B": "2"})
    assert merged == {"USER-AGENT": "c", "X-A": "1", "X-B": "2"}


def test_the_standard_headers_hold_the_key_and_the_version() -> None:
    headers = standard_headers("sk-a")
    assert headers["Authorization"] == "Bearer sk-a"
    assert headers["User-Agent"].startswith("cometstream/")


# The size of an event


def test_the_size_of_an_event_is_bytes_from_a_kibibyte_on() -> None:
    assert MAX_EVENT_SIZE == 32 * 1024 * 1024
    assert checked_event_size(1024) == 1024
    assert checked_event_size(10**30) == 10**30
    for value in (1023, 0, -1, 2048.0, True, "1 MB", None):
        with pytest.raises(ConfigurationError, match="max_event_size must be a whole number of bytes, 1024 or more"):
            checked_event_size(value)


def test_configuration_errors_pickle() -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_base_url("nowhere")
    copied = pickle.loads(pickle.dumps(caught.value))
    assert str(copied) == str(caught.value)
    assert isinstance(copied, ValueError)


@pytest.mark.parametrize("quoted", ['"sk-a"', "'sk-a'", '"sk-a', "\u201csk-a\u201d", " 'sk-a' "])
def test_a_key_with_quotes_around_it_is_told_of(quoted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", quoted)
    with pytest.raises(ConfigurationError, match=r"COMETAPI_KEY has quotes around it, .*: leave them out") as caught:
        CometSession()
    assert "sk-a" not in str(caught.value)


def test_without_a_key_the_error_says_who_reads_a_env_file() -> None:
    with pytest.raises(ConfigurationError, match=r"pass api_key=\. A \.env file is not read: load_dotenv\(\)"):
        CometSession()


# Secrets among the headers


def is_kept_secret(name: str) -> bool:
    return find_secrets({name: "Bearer of-a-secret"}) == {"of-a-secret"}


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *(
            (name, True)
            for name in ("Authorization", "PROXY-AUTHORIZATION", "x-auth", "api-key", "X-Api-Key", "apikey")
        ),
        *(
            (name, True)
            for name in ("x-access-token", "Token-Id", "Cookie2", "client_secret", "x-passwords", "AuthAuthor")
        ),
        *((name, False) for name in ("X-Author", "author", "Keys", "monkeys", "tokens", "api_key_id", "User-Agent")),
    ],
)
def test_the_words_of_a_name_tell_whether_a_header_holds_a_secret(name: str, secret: bool) -> None:
    assert is_kept_secret(name) is secret


PIECES = ["auth", "author", "or", "ization", "key", "keys", "Token", "cookie", "SECRET", "credential", "password", "x"]


@given(st.lists(st.sampled_from([*PIECES, "-", "_", ".", "~", "s"]), min_size=1, max_size=6))
def test_any_name_is_judged_by_its_words(pieces: list[str]) -> None:
    name = "".join(pieces)
    told = re.search(r"(?i)auth(?!or\b)|cookie|credential|password|secret|token\b|key\b", name)
    assert is_kept_secret(name) is (told is not None)
