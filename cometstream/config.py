"""What a session is configured with: key, base URL and headers, checked before anything is sent; and its secrets."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import warnings
from collections.abc import Mapping
from functools import lru_cache
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from cometstream.answer.sse import DEFAULT_MAX_SIZE
from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown
from cometstream.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DEFAULT_BASE_URL",
    "LEAST_SECRET",
    "MAX_EVENT_SIZE",
    "checked_event_size",
    "checked_headers",
    "find_base_url",
    "find_key",
    "find_secrets",
    "is_loopback",
    "longest_first",
    "merge_headers",
    "standard_headers",
]

DEFAULT_BASE_URL: Final = "https://api.cometapi.com/v1"

MAX_EVENT_SIZE: Final = DEFAULT_MAX_SIZE
"""The default ``max_event_size`` in bytes: no answer comes near, with the base64 of an image in one event."""

_LEAST_EVENT_SIZE: Final = 1024

# RFC 9110, 5.6.2: what a field's name may hold.
_IN_HEADER_NAME: Final = frozenset("!#$%&'*+-.^_`|~" + ascii_letters + digits)

# Shells take them off, the env files of Docker and systemd's services do not, and editors make them curly.
_QUOTES: Final = "\"'`\u2018\u2019\u201c\u201d"

# RFC 9110, 6 to 7.8 and 10.1, and RFC 9112, 6: the fields that say where a message ends, and what the connection does. HTTP
# itself sets them; a second opinion lets a server read another request than the one that was sent.
_FRAMING: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# What is in the names of fields that hold a secret; those of well-known gateways are api-key, x-api-key and x-goog-api-key.
_SECRET_PARTS: Final = ("cookie", "credential", "password", "secret")
_SECRET_ENDS: Final = ("key", "token")  # of a word; and "auth", but not where the word is an author

LEAST_SECRET: Final = 4
"""The length of the shortest text that is kept secret: to replace a shorter one would spoil messages that contain it by chance."""


def find_key(api_key: str | None) -> tuple[str, str]:
    """Return the key and where it was found.

    Raises:
        ConfigurationError: There is no key, or it cannot be sent. The message never shows it.
    """
    source = "api_key="
    if api_key is None:
        source = "the environment variable COMETAPI_KEY"
        api_key = os.environ.get("COMETAPI_KEY")
        if api_key is None:
            raise ConfigurationError(
                "there is no API key: set the environment variable COMETAPI_KEY, or pass api_key=. A .env file is not read: "
                "load_dotenv() of the package python-dotenv does that, or `uv run --env-file .env`"
            )
    if not isinstance(api_key, str):
        raise ConfigurationError(f"the API key from {source} must be a str; got {type(api_key).__name__}")
    if not api_key.strip():
        raise ConfigurationError(f"the API key from {source} is empty")
    if api_key.strip()[0] in _QUOTES or api_key.strip()[-1] in _QUOTES:
        raise ConfigurationError(
            f"the API key from {source} has quotes around it, which are not part of it: leave them out"
        )
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise ConfigurationError(
            f"the API key from {source} has a space, a line break or another character that keys never have: copy it again"
        )
    return api_key, source


def find_base_url(base_url: str | None) -> str:
    """Return the base URL without a slash at its end.

    Raises:
        ConfigurationError: It is not an http or https URL. The message does not show it: it may hold a key or a password.
    """
    source = "base_url="
    if base_url is None:
        source = "the environment variable COMETAPI_BASE_URL"
        base_url = os.environ.get("COMETAPI_BASE_URL") or DEFAULT_BASE_URL
    wanted = f"write it as {DEFAULT_BASE_URL}"
    try:
        if not isinstance(base_url, str) or _is_unsendable(base_url) or " " in base_url:
            raise ValueError
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise ConfigurationError(f"the base URL from {source} is not an http or https URL: {wanted}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"the base URL from {source} has a user name or password in it: pass the key as api_key="
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"the base URL from {source} has a query or fragment: {wanted}")
    path = parts.path.rstrip("/")
    if path.endswith("/chat/completions"):
        raise ConfigurationError(f"the base URL from {source} ends with /chat/completions: {wanted}")
    if parts.scheme == "http" and not is_loopback(parts):
        warnings.warn(
            f"the base URL {base_url} is http: the key and all prompts go over the network in clear text", stacklevel=3
        )
    return f"{parts.scheme}://{parts.netloc}{path}"


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return a caller's headers.

    Raises:
        ConfigurationError: A name or value cannot stand in a header. The message never shows a value.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers must be a mapping of names to strings; got {type(headers).__name__}")
    try:
        items = list(headers.items())
    except Exception as error:  # of a mapping of the caller's own
        raise ConfigurationError(f"headers cannot be read ({type(error).__name__})") from error
    checked: dict[str, str] = {}
    for name, value in items:
        if not isinstance(name, str) or not name or not _IN_HEADER_NAME.issuperset(name):
            if isinstance(name, str) and ":" in name:  # perhaps a whole "Authorization: Bearer ..."
                name = f"{name.partition(':')[0]}:..."
            raise ConfigurationError(f"headers: {shown(name)} is not a header name")
        if name.lower() in _FRAMING:
            raise ConfigurationError(f"headers: {name} cannot be set, the connection sets it: leave it out")
        if not isinstance(value, str):
            raise ConfigurationError(f"headers[{shown(name)}] must be a str; got {type(value).__name__}")
        if _is_unsendable(value):
            raise ConfigurationError(f"headers[{shown(name)}] has a line break or another control character")
        checked[name] = value
    return checked


def _is_unsendable(text: str) -> bool:
    """Whether a text has a control character that is not a tab (RFC 9110, 5.5), or half of a surrogate pair."""
    return not text.isprintable() and any(
        (character < " " and character != "\t") or character == "\x7f" or "\ud800" <= character <= "\udfff"
        for character in text
    )


def checked_event_size(max_event_size: object) -> int:
    """Return a caller's ``max_event_size``.

    Raises:
        ConfigurationError: It is not a size.
    """
    if not isinstance(max_event_size, int) or isinstance(max_event_size, bool) or max_event_size < _LEAST_EVENT_SIZE:
        raise ConfigurationError(
            f"max_event_size must be a whole number of bytes, {_LEAST_EVENT_SIZE} or more; got {shown(max_event_size)}"
        )
    return max_event_size


@lru_cache(maxsize=256)  # bounded: a caller may make up names without end
def _names_a_secret(field: str) -> bool:
    words = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in field.lower()).split()
    return any(
        word.endswith(_SECRET_ENDS)
        or "auth" in word.removesuffix("author")
        or any(part in word for part in _SECRET_PARTS)
        for word in words
    )


def find_secrets(headers: Mapping[str, str]) -> set[str]:
    """Return what must not be shown of a request's headers: the credentials of each field that holds some."""
    secrets: set[str] = set()
    for name, value in headers.items():
        if not _names_a_secret(name):
            continue
        scheme, _, credentials = value.strip().partition(" ")
        secrets.add(credentials.strip() if credentials else scheme)
        if name.lower() == "cookie":
            secrets.update(pair.partition("=")[2].strip() for pair in value.split(";"))
        if scheme.lower() == "basic":
            secrets.update(_basic(credentials.strip()))
    return {secret for secret in secrets if len(secret) >= LEAST_SECRET}


def _basic(credentials: str) -> tuple[str, ...]:
    """Return ``user:password`` and the password of RFC 7617's credentials."""
    try:
        decoded = base64.b64decode(credentials).decode()
    except (binascii.Error, ValueError):
        return ()
    return decoded, decoded.partition(":")[2]


def longest_first(*secrets: Iterable[str]) -> tuple[str, ...]:
    """Return secrets in the order to replace them: one that is a part of another comes after it."""
    return tuple(sorted({secret for some in secrets for secret in some}, key=len, reverse=True))


def merge_headers(*layers: Mapping[str, str]) -> dict[str, str]:
    """Return all headers; one of a later layer replaces one of the same name, in whatever case it is written."""
    by_name = {name.lower(): (name, value) for headers in layers for name, value in headers.items()}
    return dict(by_name.values())


def standard_headers(key: str) -> dict[str, str]:
    """Return the headers of every request."""
    return {"Authorization": f"Bearer {key}", "User-Agent": f"cometstream/{__version__}"}


def is_loopback(parts: SplitResult) -> bool:
    """Whether a URL's host is this machine."""
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
