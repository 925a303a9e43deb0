"""What aiohttp raises becomes an error of ours that says what to do."""

from __future__ import annotations

import asyncio
import errno
import ssl

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from cometstream.answer.typed_errors import ErrorContext
from cometstream.errors import APIConnectionError, APITimeoutError, CometError, ConfigurationError, ProtocolError
from cometstream.transport.failures import cut_answer, request_failure

KEY = "sk-never-to-be-shown-0123456789"
CONTEXT = ErrorContext("https://api.cometapi.com/v1", "COMETAPI_KEY", (KEY,))
REQUEST = aiohttp.RequestInfo(URL("http://x"), "GET", CIMultiDictProxy(CIMultiDict()), URL("http://x"))


def failure(error: Exception, proxy: str | None = None, connect: float | None = 10) -> CometError:
    return request_failure(error, CONTEXT, proxy=proxy, connect=connect)


@pytest.mark.parametrize(
    ("error", "kind", "message", "retryable"),
    [
        (aiohttp.ServerDisconnectedError(), APIConnectionError, "no answer from https://api.cometapi.com/v1", True),
        (ConnectionResetError(104, "reset"), APIConnectionError, "no answer from", True),
        (asyncio.TimeoutError(), APIConnectionError, "no answer from", True),
        (aiohttp.ConnectionTimeoutError("late"), APITimeoutError, "no connection to .* within 10 s", True),
        (OSError(errno.EMFILE, "too many"), APIConnectionError, "ulimit -n", False),
        (ssl.SSLError("bad record"), APIConnectionError, "TLS with .* failed", False),
        (ValueError("bad URL"), ConfigurationError, "could not be sent: ValueError: bad URL", False),
        (aiohttp.InvalidURL("http://"), ConfigurationError, "could not be sent", False),
    ],
)
def test_what_was_raised_is_named(error: Exception, kind: type[CometError], message: str, retryable: bool) -> None:
    named = failure(error)
    assert type(named) is kind
    assert named.retryable is retryable
    with pytest.raises(kind, match=message):
        raise named


def test_a_connection_that_took_too_long_for_a_limit_of_the_client_is_a_timeout_as_well() -> None:
    named = failure(aiohttp.ConnectionTimeoutError("late"), connect=None)
    assert isinstance(named, APITimeoutError)
    assert named.clock == "connect"


def test_neither_the_key_nor_the_password_of_the_proxy_is_shown() -> None:
    key = aiohttp.ClientConnectionError(f"Authorization: Bearer {KEY}")
    assert KEY not in str(failure(key))
    assert KEY not in str(cut_answer(key, "https://api.cometapi.com/v1/models", CONTEXT))
    refused = aiohttp.ClientHttpProxyError(REQUEST, (), status=407, message="no")
    named = failure(refused, proxy="http://me:hunter2@proxy:8080")
    assert "http://proxy:8080 refused the connection: 407" in str(named)
    assert "hunter2" not in str(named)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Can not decode content-encoding: brotli (br). Please install `Brotli`", "install the package brotli"),
        ("Bad status line", "is not HTTP: Bad status line"),
    ],
)
def test_an_answer_that_is_none_is_a_protocol_error(message: str, told: str) -> None:
    named = failure(aiohttp.ClientResponseError(REQUEST, (), status=400, message=message))
    assert type(named) is ProtocolError
    assert told in str(named)


def test_an_answer_that_was_cut_says_why() -> None:
    assert str(cut_answer(None, "https://x/models", CONTEXT)) == "the answer of https://x/models was cut"
    assert "was cut (ValueError: 1 2)" in str(cut_answer(ValueError("1\n2"), "https://x/models", CONTEXT))
