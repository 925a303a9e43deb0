from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.odd_values import ODD, only_ours
from support.raw_server import answer, raw_server
from support.serving import CHAT, KEY, ask, serving
from support.tls import CERTIFICATE

from cometstream import CometSession, ConfigurationError, UsageError
from cometstream.network import checked_tls, find_proxy, find_proxy_secrets
from cometstream.policy import NOT_GIVEN

# The proxy


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_http_to_this_machine_through_a_proxy_warns_at_the_callers_line(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:hunter2@p:3128")
    with pytest.warns(UserWarning, match="to a proxy in clear text: set NO_PROXY=") as caught:
        CometSession(api_key="sk-a", base_url=f"http://{host}:8080/v1")
    assert [warning.filename for warning in caught] == [__file__]
    assert "hunter2" not in str(caught[0].message)
    monkeypatch.setenv("NO_PROXY", str(caught[0].message).rpartition("NO_PROXY=")[2])
    CometSession(api_key="sk-a", base_url=f"http://{host}:8080/v1")


def test_https_to_this_machine_through_a_proxy_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:3128")
    CometSession(api_key="sk-a", base_url="https://localhost/v1")


@pytest.mark.parametrize(
    ("environment", "base_url", "proxy"),
    [
        ({}, "https://a.example/v1", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://a.example/v1", "http://p:3128"),
        ({"https_proxy": "http://p:3128"}, "https://a.example/v1", "http://p:3128"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, "https://a.example/v1", "http://low:1"),
        ({"HTTPS_PROXY": "https://p:3128"}, "https://a.example/v1", "https://p:3128"),
        ({"HTTPS_PROXY": "p:3128"}, "https://a.example/v1", "http://p:3128"),
        ({"HTTPS_PROXY": "user:word@p:3128"}, "https://a.example/v1", "http://user:word@p:3128"),
        ({"HTTPS_PROXY": ""}, "https://a.example/v1", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://a.example/v1", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://a.example/v1", "http://p:3128"),
        ({"HTTP_PROXY": "http://p:3128"}, "https://a.example/v1", None),
        ({"ALL_PROXY": "http://p:3128"}, "https://a.example/v1", "http://p:3128"),
        ({"ALL_PROXY": "http://all:1", "HTTPS_PROXY": "http://p:3128"}, "https://a.example/v1", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "a.example"}, "https://a.example/v1", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "b.example, .example"}, "https://a.example/v1", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}, "https://a.example/v1", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "a.example:8443"}, "https://a.example:8443/v1", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "a.example:1"}, "https://a.example:8443/v1", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128", "no_proxy": "b.example"}, "https://a.example/v1", "http://p:3128"),
        ({"HTTPS_PROXY": "socks5://p:1", "NO_PROXY": "a.example"}, "https://a.example/v1", None),
    ],
)
def test_the_proxy_is_the_environments(
    environment: dict[str, str], base_url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_proxy(base_url, NOT_GIVEN) == proxy


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("socks5://user:hunter2@p:1080", "socks5"),
        ("http://user:hunter2@p:port", "is not a URL"),
        ("http://user:hunter2@p:99999", "is not a URL"),
        ("http://user:hunter2@p:0", "is not a URL"),
        ("http://user:hunter2@:80", "is not a URL"),
        ("http://user:hunter2@[p", "is not a URL"),
        ("http://", "is not a URL"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_and_its_password_not_shown(
    proxy: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=message) as caught:
        CometSession(api_key="sk-a")
    assert "hunter2" not in str(caught.value)


async def test_a_session_over_a_callers_own_client_looks_for_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://p:1080")
    async with aiohttp.ClientSession() as client:
        CometSession(api_key="sk-a", client=client)


PASSWORDS = ["p@ss", "a/b", "a#b", "a?b", "a:b", "a%b", "100%", "p ss", "pä", "密码", "[x]", "%40", "%C3%A9", "%E9", ""]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("by_environment", [True, False])
async def test_a_password_of_any_characters_reaches_the_proxy(
    password: str, by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    url = f"http://üser:{password}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    options: dict[str, Any] = {} if by_environment else {"proxy": url}
    if by_environment:
        monkeypatch.setenv("HTTPS_PROXY", url)
    async with CometSession(api_key=KEY, base_url="https://a.example/v1", retry=None, **options) as session:
        with pytest.raises(ConnectionError, match=r"the proxy http://127\.0\.0\.1:") as caught:
            await ask(session)
    server.close()
    sent = {"%40": b"@", "%C3%A9": b"\xc3\xa9", "%E9": b"\xe9"}.get(password, password.encode())
    credentials = heads[0].partition("Proxy-Authorization: Basic ")[2].partition("\r\n")[0]
    assert base64.b64decode(credentials) == b"\xc3\xbcser:" + sent
    assert len(password) < 4 or password not in str(caught.value)


def test_a_proxy_of_the_callers_own_comes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    assert find_proxy("https://a.example/v1", "http://mine:1/") == "http://mine:1"
    assert find_proxy("https://a.example/v1", "mine:1") == "http://mine:1"
    monkeypatch.delenv("NO_PROXY")
    assert find_proxy("https://a.example/v1", None) is None


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("socks5://user:hunter2@p:1080", "the proxy from proxy= is a socks5 proxy; only http and https"),
        ("http://user:hunter2@", "the proxy from proxy= is not a URL: write it as http://host:port"),
        ("http://user:hunter2@a b", "is not a URL"),
        ("http://us%3Aer:hunter2@p:1", "is not a URL"),
        ("", "is not a URL"),
        (5, "proxy must be a URL, or None for no proxy; got 5"),
    ],
)
def test_a_proxy_of_the_callers_own_is_checked(proxy: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        CometSession(api_key="sk-a", proxy=proxy)
    assert "hunter2" not in str(caught.value)


def test_the_secrets_of_a_proxy_are_its_password_in_every_form() -> None:
    secrets = find_proxy_secrets("http://user:p%40ss/word@p:1")
    assert {"p%40ss/word", "p@ss/word", base64.b64encode(b"user:p@ss/word").decode()} <= secrets
    assert find_proxy_secrets(NOT_GIVEN) == find_proxy_secrets("http://p:1") == set()


# Whose certificates are trusted


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer("over TLS"))
        return True

    async with raw_server(answering, tls=True) as server:
        yield server.base_url


@pytest.mark.parametrize(
    "trusting",
    [CERTIFICATE, str(CERTIFICATE), ssl.create_default_context(cafile=CERTIFICATE)],
    ids=["path", "text", "context"],
)
async def test_an_authority_of_ones_own_is_trusted(url: str, trusting: Any) -> None:
    async with CometSession(api_key=KEY, base_url=url, retry=None, ssl=trusting) as session:
        assert (await ask(session)).content == "over TLS"


async def test_a_certificate_that_nobody_vouches_for_names_the_ways_out(url: str) -> None:
    async with CometSession(api_key=KEY, base_url=url, retry=None) as session:
        with pytest.raises(ConnectionError, match=r"set SSL_CERT_FILE to its file, or pass ssl=\)"):
            await ask(session)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_authorities_that_the_environment_names_in_vain_are_told_of(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/nowhere/ca.pem")
    async with CometSession(api_key=KEY, base_url=url, retry=None) as session:
        with pytest.raises(ConnectionError, match=rf"\. {name} names '/nowhere/ca.pem', which is not there"):
            await ask(session)


def test_a_folder_of_certificates_is_taken(tmp_path: Path) -> None:
    assert isinstance(checked_tls(tmp_path), ssl.SSLContext)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.pem", r"no certificates can be read from 'nowhere.pem' \(No such file or directory\)"),
        (Path(__file__), "no certificates can be read from"),
        ("a\0b", "no certificates can be read from"),
        (False, r"ssl must be an ssl.SSLContext, the path of a file .* or None; got false"),
        (5, "or None; got 5"),
        (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "is one for servers: make it with ssl.create_default_context"),
    ],
)
def test_what_is_no_trust_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        CometSession(api_key="sk-a", ssl=given)
    assert "\n" not in str(caught.value)


async def test_a_callers_own_client_has_its_own_of_both() -> None:
    async with aiohttp.ClientSession() as client:
        for options in ({"ssl": CERTIFICATE}, {"proxy": "http://p:1"}, {"proxy": None}):
            given: Any = options
            with pytest.raises(ConfigurationError, match="give them to your client"):
                CometSession(api_key="sk-a", client=client, **given)


def test_both_take_or_refuse_each_odd_value() -> None:
    for value in ODD:
        for name in ("ssl", "proxy"):
            odd: Any = {name: value}
            with only_ours():
                CometSession(api_key="sk-a", **odd)


# Other event loops


async def test_a_loop_that_is_not_asyncios_is_told_of() -> None:
    async with serving() as (_, session):
        pass
    session = CometSession(api_key=KEY)
    for coroutine in (
        session.__aenter__(),
        session.stream(**CHAT).__aenter__(),
        session.complete(**CHAT),
        session.models(),
        session.catalog(),
        session.aclose(),
    ):
        await asyncio.to_thread(_without_a_loop, coroutine)


def _without_a_loop(coroutine: Any) -> None:
    """Run a coroutine as trio would: in a thread where asyncio has no loop."""
    with pytest.raises(UsageError, match=r"no asyncio event loop runs here: .* does not run on trio"):
        coroutine.send(None)
