"""Makes a row of a caller's request: checked, with its first stream, and with what limits and a ledger need to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cometstream.batch.row_key import row_key
from cometstream.errors import InvalidRequestError
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.batch.schedule import Row
    from cometstream.session import CometSession

__all__ = ["NOT_SENT", "Preparation", "read_response_format"]

NOT_SENT: Final = frozenset(
    {
        "self",
        "timeouts",
        "retry",
        "headers",
        "hooks",
        "pace",
        "on_incomplete",
        "fallback_models",
        "split_think",
        "max_event_size",
    }
)
"""Arguments of ``CometSession.stream`` that are not wire parameters: a row cannot have them."""


class Preparation:
    """Prepares the rows of one batch.

    Args:
        session: What opens their streams.
        defaults: Wire parameters of all rows.
        options: What each row's stream is opened with.
        estimate: Returns how many tokens a request to a model may take.
        has_ledger: Whether rows need a key.
    """

    def __init__(
        self,
        session: CometSession,
        *,
        defaults: Mapping[str, Any],
        options: Mapping[str, Any],
        estimate: Callable[[str, Mapping[str, Any]], int],
        has_ledger: bool,
    ) -> None:
        self._session = session
        self._defaults = defaults
        self._options = options
        self._estimate = estimate
        self._has_ledger = has_ledger

    def prepare(self, row: Row) -> None:
        """Check the request of a row, and make its first stream ready.

        Raises:
            InvalidRequestError: It cannot be sent.
        """
        request = row.request
        if not isinstance(request, (dict, Mapping)):
            raise InvalidRequestError([f"request: is of type {type(request).__name__}; it must be a dict"])
        custom_id = request.get("custom_id")
        if custom_id is not None and not isinstance(custom_id, str):
            raise InvalidRequestError([f"custom_id: is of type {type(custom_id).__name__}; it must be a string"])
        row.custom_id = custom_id
        params = {"model": None, "messages": None, **self._defaults, **request}
        params.pop("custom_id", None)
        params.pop("stream", None)  # every answer is streamed, whatever its request says
        problems = [
            f"{name if isinstance(name, str) else shown(name)}: is not a wire parameter"
            for name in params
            if not isinstance(name, str) or name in NOT_SENT
        ]
        if problems:
            raise InvalidRequestError(problems)
        params.update(self._options)
        row.params = params
        row.stream = self._session.stream(**params)
        extra = params.get("extra_body")
        row.model = str(params["model"] if extra is None else extra.get("model", params["model"]))
        row.tokens = self._estimate(row.model, params)
        if self._has_ledger:
            row.key = row_key(row.custom_id, row.index, params, read_response_format(row)[0])


def read_response_format(row: Row) -> tuple[Any, Any]:
    """Return the wire's form of what a row's ``response_format`` asks for, and how its answers are read."""
    asked = row.params.get("response_format")
    if asked is None:
        return None, None
    from cometstream.structured import read_response_format  # as in `fan_out`

    wire, output, _ = read_response_format(asked)
    return wire, output
