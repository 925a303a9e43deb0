"""What a session is configured with: key, base URL, headers and proxy, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.request
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from cometstream.errors import ConfigurationError
from cometstream.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DEFAULT_BASE_URL",
    "checked_headers",
    "find_base_url",
    "find_key",
    "find_proxy",
    "merge_headers",
    "standard_headers",
]

DEFAULT_BASE_URL: Final = "https://api.cometapi.com/v1"

# RFC 9110, 5.6.2 and 5.5: what a field's name and value may hold.
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")

_KEY: Final = re.compile(r"[\x21-\x7e]+")


def find_key(api_key: str | None) -> tuple[str, str]:
    """Return the key and where it was found.

    Raises:
        ConfigurationError: There is none, or it cannot be sent; its value is never shown.
    """
    source = "api_key="
    if api_key is None:
        source = "the environment variable COMETAPI_KEY"
        api_key = os.environ.get("COMETAPI_KEY")
        if api_key is None:
            raise ConfigurationError("no API key: set the environment variable COMETAPI_KEY, or pass api_key=")
    if not isinstance(api_key, str):
        raise ConfigurationError(f"the API key from {source} is no text but {type(api_key).__name__}")
    if not api_key.strip():
        raise ConfigurationError(f"the API key from {source} is empty")
    if not _KEY.fullmatch(api_key):
        raise ConfigurationError(
            f"the API key from {source} has a line break, white space or a character that no key has: copy it again"
        )
    return api_key, source


def find_base_url(base_url: str | None) -> str:
    """Return the base URL without a slash at its end.

    Raises:
        ConfigurationError: It is no http(s) URL of a host; what it is instead is not shown, it may hold a key or password.
    """
    source = "base_url="
    if base_url is None:
        source = "the environment variable COMETAPI_BASE_URL"
        base_url = os.environ.get("COMETAPI_BASE_URL") or DEFAULT_BASE_URL
    wanted = f"write it as {DEFAULT_BASE_URL}"
    try:
        if not isinstance(base_url, str) or _UNSENDABLE.search(base_url) or " " in base_url:
            raise ValueError
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise ConfigurationError(f"the base URL from {source} is no http or https URL: {wanted}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"the base URL from {source} holds a user name or password; pass the key as api_key=")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"the base URL from {source} has a query or fragment: {wanted}")
    path = parts.path.rstrip("/")
    if path.endswith("/chat/completions"):
        raise ConfigurationError(f"the base URL from {source} names the route already: {wanted}")
    if parts.scheme == "http" and not _is_loopback(parts):
        warnings.warn(
            f"the base URL {base_url} is http: the key and every prompt go over the network in clear text", stacklevel=3
        )
    return f"{parts.scheme}://{parts.netloc}{path}"


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return a caller's headers.

    Raises:
        ConfigurationError: A name or value cannot stand in a header; a value is never shown.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers: is {type(headers).__name__}; use a mapping of names to texts")
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"headers: {name!r} is no header name")
        if not isinstance(value, str):
            raise ConfigurationError(f"headers[{name!r}]: the value is no text but {type(value).__name__}")
        if _UNSENDABLE.search(value):
            raise ConfigurationError(f"headers[{name!r}]: the value has a line break or control character")
        checked[name] = value
    return checked


def merge_headers(*layers: Mapping[str, str]) -> dict[str, str]:
    """Return all headers, those of a later layer in place of earlier ones of the same name, however it is written."""
    by_name = {name.lower(): (name, value) for headers in layers for name, value in headers.items()}
    return dict(by_name.values())


def find_proxy(base_url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY (or HTTP_PROXY, ALL_PROXY) names for the base URL, None where NO_PROXY exempts it.

    Raises:
        ConfigurationError: It is no http(s) proxy.
    """
    proxies = urllib.request.getproxies_environment()
    parts = urlsplit(base_url)
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_bypassed(parts.netloc, proxies):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        found = urlsplit(proxy)
        if not found.hostname or found.port == 0:
            raise ValueError
    except ValueError:
        # It is not shown: it may hold a password.
        raise ConfigurationError(
            "the proxy in the environment is no URL of a host: write it as http://host:port"
        ) from None
    if found.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"the proxy in the environment is {found.scheme}; only http and https proxies are supported"
        )
    return proxy


def _is_bypassed(netloc: str, proxies: Mapping[str, str]) -> bool:
    bypass: Callable[[str, Mapping[str, str]], bool] = vars(urllib.request)[
        "proxy_bypass_environment"
    ]  # not in the stubs
    return bypass(netloc, proxies)


def standard_headers(key: str) -> dict[str, str]:
    """Return the headers of every request."""
    return {"Authorization": f"Bearer {key}", "User-Agent": f"cometstream/{__version__}"}


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
