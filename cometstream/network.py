"""What stands between a session and the endpoint: the proxy, and whose certificates are trusted. Both are checked at once."""

from __future__ import annotations

import base64
import os
import ssl
import urllib.request
import warnings
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from cometstream.config import LEAST_SECRET, is_loopback
from cometstream.errors import ConfigurationError
from cometstream.policy import NotGiven
from cometstream.request.describe import kind, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["checked_tls", "find_proxy", "find_proxy_secrets"]

_WRITTEN: Final = "write it as http://host:port or http://user:password@host:port"


def find_proxy(base_url: str, proxy: str | NotGiven | None) -> str | None:
    """Return the URL of the proxy: the caller's, or what HTTPS_PROXY (HTTP_PROXY, ALL_PROXY) names for the base URL.

    Returns:
        Its URL, the user and password in it as aiohttp reads them; None without a proxy, and where NO_PROXY exempts the host.

    Raises:
        ConfigurationError: It is not an http or https proxy. The message does not show it: it may hold a password.
    """
    if proxy is None:
        return None
    if not isinstance(proxy, NotGiven):
        return _checked(proxy, "from proxy=")
    proxies = urllib.request.getproxies_environment()
    parts = urlsplit(base_url)
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or _is_bypassed(parts.netloc, proxies):
        return None
    checked = _checked(found, "in the environment")
    if parts.scheme == "http" and is_loopback(parts):
        warnings.warn(
            f"the base URL {base_url} is on this machine, but HTTP_PROXY sends the key and all prompts to a proxy in clear text: "
            f"set NO_PROXY={f'[{parts.hostname}]' if ':' in str(parts.hostname) else parts.hostname}",
            stacklevel=3,
        )
    return checked


def find_proxy_secrets(proxy: object) -> set[str]:
    """Return what must not be shown of the caller's and the environment's proxies: users and passwords, also as they are sent."""
    secrets: set[str] = set()
    for url in (*urllib.request.getproxies_environment().values(), proxy):
        userinfo = _split(url)[1] if isinstance(url, str) else ""
        if userinfo:
            user, _, password = userinfo.partition(":")
            secrets.update((userinfo, password if password else user, unquote(password)))
            secrets.add(base64.b64encode(unquote_to_bytes(userinfo)).decode())
    return {secret for secret in secrets if len(secret) >= LEAST_SECRET}


def checked_tls(tls: object) -> ssl.SSLContext | None:
    """Return what checks the server's certificate: the caller's context, or one that trusts the authorities of a file or folder.

    Raises:
        ConfigurationError: It is none of them.
    """
    if tls is None:
        return None
    if isinstance(tls, ssl.SSLContext):
        if tls.protocol == ssl.PROTOCOL_TLS_SERVER:
            raise ConfigurationError(
                "the context from ssl= is one for servers: make it with ssl.create_default_context()"
            )
        return tls
    if not isinstance(tls, (str, os.PathLike)):
        raise ConfigurationError(
            f"ssl must be an ssl.SSLContext, the path of a file or folder with certificates (PEM), or None; got {kind(tls)}"
        )
    try:
        path = os.fspath(tls)
        is_folder = os.path.isdir(path)
        context = ssl.create_default_context(capath=path) if is_folder else ssl.create_default_context(cafile=path)
        context.set_alpn_protocols(("http/1.1",))
    except (
        Exception
    ) as error:  # no such file, no PEM in it, a path that cannot be one, or of an object of the caller's own
        why = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(f"ssl: no certificates can be read from {shown(tls)} ({why})") from None
    return context


def _checked(proxy: object, source: str) -> str:
    if not isinstance(proxy, str):
        raise ConfigurationError(f"proxy must be a URL, or None for no proxy; got {kind(proxy)}")
    scheme, userinfo, address = _split(proxy)
    try:
        parts = urlsplit(f"{scheme}://{address}")
        if not parts.hostname or parts.port == 0 or not address.isprintable() or " " in address or "?" in address:
            raise ValueError
        if userinfo is not None:
            address = f"{_as_aiohttp_reads(userinfo)}@{address}"
    except ValueError:
        raise ConfigurationError(f"the proxy {source} is not a URL: {_WRITTEN}") from None
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"the proxy {source} is a {shown(parts.scheme)[1:-1]} proxy; only http and https proxies are supported"
        )
    return f"{parts.scheme}://{address}"


def _split(proxy: str) -> tuple[str, str | None, str]:
    """Return scheme, user with password, and address. A password may hold any character; the last ``@`` ends it."""
    scheme, separator, rest = proxy.partition("://")
    if not separator:
        scheme, rest = "http", proxy
    userinfo, at, address = rest.rpartition("@")
    return scheme, userinfo if at else None, address.rstrip("/")


def _as_aiohttp_reads(userinfo: str) -> str:
    """Return a user and password such that aiohttp sends their bytes: it reads them as UTF-8 and writes them as Latin-1.

    Source:
        RFC 7617, 2.1: UTF-8 is what servers that tell their charset ask for. A percent sign that escapes nothing is itself.
    """
    user, colon, password = userinfo.partition(":")
    user, password = (quote(unquote_to_bytes(text).decode("latin-1"), safe="") for text in (user, password))
    if "%3A" in user:
        raise ValueError("RFC 7617 allows no colon in a user's name")
    return f"{user}{colon}{password}"


def _is_bypassed(netloc: str, proxies: Mapping[str, str]) -> bool:
    bypass: Callable[[str, Mapping[str, str]], bool] = vars(urllib.request)[
        "proxy_bypass_environment"
    ]  # not in the stubs
    return bypass(netloc, proxies)
