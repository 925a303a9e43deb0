"""A typed view of one entry of ``GET /models``."""

from __future__ import annotations

from cometstream.views.view import View, int_or_none, text_or_none

__all__ = ["Model"]


class Model(View):
    """One model that the endpoint serves."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """The id to send as ``model``."""
        return text_or_none(self._raw.get("id")) or ""

    @property
    def object(self) -> str:
        """``"model"``."""
        return text_or_none(self._raw.get("object")) or "model"

    @property
    def created(self) -> int | None:
        """Unix time in seconds, where the endpoint tells it."""
        return int_or_none(self._raw.get("created"))

    @property
    def owned_by(self) -> str | None:
        """The provider."""
        return text_or_none(self._raw.get("owned_by"))
