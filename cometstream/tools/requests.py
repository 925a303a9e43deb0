"""The requests of a run: one for each round, the same but for the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown
from cometstream.structured import read_response_format

if TYPE_CHECKING:
    from cometstream.session import CometSession
    from cometstream.stream import ChatStream

__all__ = ["RoundRequests"]

# What `open` gives itself.
_OF_THE_RUN: Final = ("self", "model", "messages", "tools")


class RoundRequests:
    """Opens the stream of each round.

    Args:
        session: Whose.
        model: The model's id.
        tools: The tools as a request has them.
        params: Wire parameters, ``extra_body`` among them: what a state keeps.
        options: The rest: what is given anew with each process.

    Raises:
        ConfigurationError: A parameter cannot be used in a run.
    """

    def __init__(
        self,
        session: CometSession,
        model: str,
        tools: list[dict[str, Any]],
        params: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self.model = model
        self.params = {name: value for name, value in params.items() if value is not None}
        self._session = session
        self._tools = tools
        self._options = dict(options)
        n = self.params.get("n", 1)
        if type(n) is not int or n != 1:
            raise ConfigurationError(f"n must be 1 where tools are run: each choice would call them; got {shown(n)}")
        for name in ("functions", "function_call", "stream", "on_incomplete", *_OF_THE_RUN, *self._options):
            if name in self.params:
                raise ConfigurationError(f"{name}: cannot be used where tools are run")

    @property
    def stored(self) -> dict[str, Any]:
        """The parameters as a state keeps them: of a type its JSON Schema."""
        if "response_format" not in self.params:
            return self.params
        return {**self.params, "response_format": read_response_format(self.params["response_format"])[0]}

    def open(self, messages: list[Any], number: int) -> ChatStream:
        """Return the stream of one round, not entered.

        Args:
            messages: The conversation.
            number: The round's number.
        Raises:
            InvalidRequestError: The request does not match the specification.
            UsageError: The session is closed.
        """
        params = dict(self.params)
        if number > 1 and _forces(params.get("tool_choice")):
            # What forces a call would force one for ever.
            del params["tool_choice"]
        if self._tools:
            params["tools"] = self._tools
        return self._session.stream(model=self.model, messages=messages, **params, **self._options)


def _forces(choice: Any) -> bool:
    """Whether a ``tool_choice`` lets no answer come without a call."""
    if isinstance(choice, Mapping):
        allowed = choice.get("allowed_tools")
        return choice.get("type") != "allowed_tools" or (
            isinstance(allowed, Mapping) and allowed.get("mode") == "required"
        )
    return choice is not None and choice not in ("auto", "none")
