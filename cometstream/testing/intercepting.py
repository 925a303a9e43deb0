"""What record and replay have in common: a cassette's file, and one session or all that are intercepted while a block runs."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cometstream.errors import ConfigurationError, UsageError
from cometstream.request.describe import shown
from cometstream.session import CometSession

if TYPE_CHECKING:
    from typing_extensions import Self

    from cometstream.transport.incoming import Incoming
    from cometstream.transport.intercept import Outgoing

__all__ = ["Intercepting"]


class Intercepting:
    """An interceptor for ``with`` or ``async with``.

    Args:
        session: The session; None for all sessions of this process.
        path: The cassette's file.
    Raises:
        ConfigurationError: One of them cannot be used.
    """

    _what: ClassVar[str]

    def __init__(self, session: CometSession | None, path: str | os.PathLike[str]) -> None:
        self._session = _checked_session(session)
        self._path = _checked_path(path)
        self._forget: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        if self._forget is not None:
            raise UsageError(f"this {self._what} was begun before: make another one")
        intercept = CometSession.intercept_all if self._session is None else self._session.intercept
        self._forget = intercept(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._forget is not None:
            self._forget()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()

    async def intercept(self, request: Outgoing, send: Callable[[], Awaitable[Incoming]]) -> Incoming:
        """Return the answer to a request; see ``Interceptor``."""
        raise NotImplementedError


def _checked_session(session: CometSession | None) -> CometSession | None:
    """Return the session.

    Raises:
        ConfigurationError: It is neither one nor None.
    """
    if session is not None and not isinstance(session, CometSession):
        raise ConfigurationError(f"session must be a CometSession, or None for all of them; got {shown(session)}")
    return session


def _checked_path(path: str | os.PathLike[str]) -> Path:
    """Return a cassette's path.

    Raises:
        ConfigurationError: It is no path.
    """
    try:
        checked = Path(path)
        os.fsencode(checked)
    except (TypeError, ValueError):
        checked = Path()
    if not checked.name or "\0" in str(checked):
        raise ConfigurationError(f"path must be the path of a cassette; got {shown(path)}")
    return checked
