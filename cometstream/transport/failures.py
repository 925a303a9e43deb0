"""What aiohttp or asyncio raised, as one of our own errors.

Never ``repr()``: the repr of some of aiohttp's errors prints the request's Authorization header, and the text of some prints the
proxy's URL.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from cometstream.answer.error_body import excerpt
from cometstream.answer.typed_errors import RETRYABLE_STATUSES
from cometstream.errors import APIConnectionError, APITimeoutError, CometError, ConfigurationError, ProtocolError
from cometstream.transport.quirks import missing_package

if TYPE_CHECKING:
    from cometstream.answer.typed_errors import ErrorContext

__all__ = ["cut_answer", "request_failure"]


def request_failure(error: Exception, context: ErrorContext, *, proxy: str | None, connect: float | None) -> CometError:
    """Return our error for what was raised before the head of an answer.

    Args:
        error: What was raised.
        context: What errors need to know.
        proxy: The proxy's address, or None.
        connect: The length of the clock of that name.
    """
    base_url = context.base_url
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        return _response_failure(error, context, proxy)
    what = _on_one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, context)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        seconds = "the time" if connect is None else f"{connect:g} s"
        return APITimeoutError(f"no connection to {base_url} within {seconds} (timeouts.connect)", clock="connect")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        none_left = APIConnectionError(
            "no file descriptor is left for another connection: raise the limit (`ulimit -n 65536`) or set max_connections",
            retryable=False,
        )
        none_left.errno = error.errno
        return none_left
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return APIConnectionError(f"the proxy {_without_userinfo(proxy)} cannot be reached: {what}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return APIConnectionError(
            f"the certificate of {base_url} is not trusted (for a CA of your own set SSL_CERT_FILE to its file, or pass ssl=): "
            f"{what}{_missing_authorities()}",
            retryable=False,
        )
    if isinstance(error, (aiohttp.ClientConnectorSSLError, ssl.SSLError)):
        return APIConnectionError(f"TLS with {base_url} failed: {what}", retryable=False)
    if isinstance(error, (aiohttp.ClientError, OSError, asyncio.TimeoutError)) and not isinstance(error, ValueError):
        return APIConnectionError(f"no answer from {base_url}: {what}")
    return ConfigurationError(f"the request to {base_url} could not be sent: {what}")


def cut_answer(error: Exception | None, url: str, context: ErrorContext) -> APIConnectionError:
    """Return our error for an answer that broke off.

    Args:
        error: What was raised; None where the answer ended without an error, too early.
        url: The route's address.
        context: What errors need to know.
    """
    why = "" if error is None else f" ({_on_one_line(f'{type(error).__name__}: {error}', context)})"
    return APIConnectionError(f"the answer of {url} was cut{why}")


def _response_failure(
    error: aiohttp.ClientResponseError | HttpProcessingError, context: ErrorContext, proxy: str | None
) -> CometError:
    """Name an answer that aiohttp could not take as one."""
    message = _on_one_line(error.message, context)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return APIConnectionError(
            f"the proxy {_without_userinfo(proxy)} refused the connection: {error.status} {message}",
            retryable=error.status in RETRYABLE_STATUSES,
        )
    missing = missing_package(message)
    if missing is not None:
        encoding, package = missing
        return ProtocolError(
            f"the server sent {encoding}-encoded bytes, which were not asked for: install the package {package} to read them"
        )
    return ProtocolError(f"{context.base_url} answered with something that is not HTTP: {message}")


def _missing_authorities() -> str:
    """Return what to say where the environment names authorities that are not there: OpenSSL does not mind."""
    for name, is_there in (("SSL_CERT_FILE", os.path.isfile), ("SSL_CERT_DIR", os.path.isdir)):
        path = os.environ.get(name)
        if path and not is_there(path):
            return f". {name} names {excerpt(repr(path))}, which is not there"
    return ""


def _on_one_line(text: str, context: ErrorContext) -> str:
    return context.redact(excerpt(text))


def _without_userinfo(proxy: str | None) -> str:
    """Return the proxy's address without the password that may stand in it."""
    if proxy is None:
        return "of your aiohttp session"
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
