"""A conversation: its messages, which only grow by what the request checks accept, and the calls that make it grow."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

import orjson

from cometstream.conversation.intake import checked, copied, listed
from cometstream.conversation.turn import Turn
from cometstream.conversation.units import (
    INSTRUCTIONS,
    Message,
    dropped_by_budget,
    problem_of_calls,
    splits,
    unanswered,
)
from cometstream.errors import ConfigurationError, InvalidRequestError, UsageError
from cometstream.request.chat import checked_fallbacks
from cometstream.request.describe import kind, shown
from cometstream.request.providers import wants_developer
from cometstream.session import CometSession
from cometstream.views.completion import ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from typing_extensions import Required, Self, Unpack

    from cometstream.conversation.intake import Addition
    from cometstream.policy import NotGiven, RetryPolicy, Timeouts
    from cometstream.request.params import OtherChatParams, ResponseFormatParam
    from cometstream.stream import ChatStream
    from cometstream.structured import Schema
    from cometstream.views.completion import ChatCompletion, ChatCompletionMessage

    Unfinished: TypeAlias = Literal["drop", "keep"]

    class CompleteOptions(OtherChatParams, total=False):
        """What `complete` takes beside `response_format`."""

        model: Required[str]
        unfinished: Unfinished
        timeouts: Timeouts | NotGiven | None
        retry: RetryPolicy | int | NotGiven | None
        headers: Mapping[str, str] | None
        fallback_models: Sequence[str]
        extra_body: Mapping[str, Any] | None
        split_think: bool
        max_event_size: int | NotGiven

    class TurnOptions(CompleteOptions, total=False):
        """What `turn` takes beside `response_format`."""

        pace: float
        on_incomplete: Literal["raise", "return"]


__all__ = ["Conversation"]

T = TypeVar("T")

_FORMAT: Final = "cometstream.conversation"
_VERSION: Final = 1

# Problems of a stored conversation that its error lists.
_LISTED: Final = 3


class Conversation:
    """The messages between a user and a model. It changes as a whole or not at all, and always holds what a request may hold.

    Wherever messages are given, a text or a list of parts (texts among them) is what the user says; everything else is a message
    as in ``CometSession.stream``, or a whole ``ChatCompletion``.

    Args:
        messages: What was said before, oldest first.
        system: Instructions for the model. They are kept as a ``system`` message; turns send it as ``developer`` to the models
            for which the endpoint advises that (GPT-4.1, GPT-5, o-series).
        developer: Instructions that are always sent as ``developer``.

    Raises:
        InvalidRequestError: A message would be refused in a request; every problem is listed.
        ConfigurationError: An option cannot be used.
    """

    def __init__(
        self, messages: Iterable[Addition] = (), *, system: str | None = None, developer: str | None = None
    ) -> None:
        if system is not None and developer is not None:
            raise ConfigurationError("give system= or developer=, not both")
        self._messages: list[Message] = []
        self._turn: object = None  # the one that is open
        self._changes = 0
        if system is not None or developer is not None:
            role, text = ("system", system) if developer is None else ("developer", developer)
            self._messages = checked([{"role": role, "content": _instruction(role, text)}])
        self._messages += checked(listed(messages))

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._messages)} messages{', in a turn' if self._turn is not None else ''}>"

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, oldest first: a copy, for ``messages=`` of any call. Set it to replace them.

        What ``run.messages`` of a tool loop or a database gave can be set as it is.
        """
        return tuple(copied(message) for message in self._messages)

    @messages.setter
    def messages(self, messages: Iterable[Addition]) -> None:
        replaced = checked(listed(messages))
        ours, theirs = _leading(self._messages), _leading(replaced)
        if ours is not None and theirs is not None and ours["content"] == theirs["content"]:
            # They were sent with the role that one model likes; the next turn may go to another.
            theirs["role"] = ours["role"]
        self._change(replaced)

    @property
    def system(self) -> str | None:
        """The instructions at the beginning; None where there are none. Set it to replace them, None takes them away."""
        leading = _leading(self._messages)
        return leading["content"] if leading is not None and isinstance(leading["content"], str) else None

    @system.setter
    def system(self, system: str | None) -> None:
        leading = _leading(self._messages)
        rest = self._messages if leading is None else self._messages[1:]
        role = "system" if leading is None else leading["role"]
        first = [] if system is None else checked([{"role": role, "content": _instruction("system", system)}])
        self._change(first + rest)

    @property
    def pending(self) -> list[ToolCall]:
        """The tool calls of the last answer that have no result yet. The next turn needs all of them answered."""
        return [ToolCall(copied(call)) for call in unanswered(self._messages)]

    def messages_for(self, model: str, *fallback_models: str) -> tuple[Message, ...]:
        """Return the messages as a turn with these models sends them: ``system`` as ``developer`` where all of them want it."""
        if not all(isinstance(name, str) for name in (model, *fallback_models)):
            raise ConfigurationError("messages_for needs the ids of models, each a text")
        return _addressed(self._messages, (model, *fallback_models))

    def add(self, *messages: Addition) -> None:
        """Add messages at the end.

        Raises:
            InvalidRequestError: A message would be refused in a request; nothing is added.
            UsageError: A turn is open.
        """
        self._change(self._messages + checked(messages))

    @overload
    def turn(
        self,
        session: CometSession,
        *messages: Addition,
        response_format: type[T] | Schema[T],
        **options: Unpack[TurnOptions],
    ) -> Turn[T]: ...

    @overload
    def turn(
        self,
        session: CometSession,
        *messages: Addition,
        response_format: ResponseFormatParam | None = None,
        **options: Unpack[TurnOptions],
    ) -> Turn[Any]: ...

    def turn(
        self,
        session: CometSession,
        *messages: Addition,
        model: str,
        unfinished: Unfinished = "drop",
        **options: Any,
    ) -> Turn[Any]:
        """Return a turn, whose ``async with`` gives a ``ChatStream``; nothing is sent before that.

        When the block is left after an answer that is complete, the messages and the answer stand in the history, also where the
        block itself raised. Until then it stays as it was, so that it can be saved at any time.

        Args:
            session: The session that sends the request.
            messages: What is said now; without any, the model answers what stands there.
            model: The model's id.
            unfinished: What becomes of a turn that failed, was cancelled or was left early: ``"drop"`` leaves no trace of it;
                ``"keep"`` keeps the messages, and what had come of the answer.
            **options: The wire's parameters, and the options of ``session.stream``.
        Raises:
            InvalidRequestError: The request does not match the specification, or a tool call has no result.
            ConfigurationError: An option cannot be used.
            UsageError: The session is closed, or a turn is open.
        Cancellation:
            Nothing is awaited.
        """
        begin, asked, fields = self._begun(session, messages, model, unfinished, options)
        stream = session.stream(**fields)

        def end(stream: ChatStream[Any]) -> None:
            message = stream.completion.message
            whole = stream.outcome == "complete"
            self._end(asked, message if whole or _says_something(message) else None, whole or unfinished == "keep")

        return Turn(stream, partial(begin, stream), end)

    @overload
    async def complete(
        self,
        session: CometSession,
        *messages: Addition,
        response_format: type[T] | Schema[T],
        **options: Unpack[CompleteOptions],
    ) -> ChatCompletion[T]: ...

    @overload
    async def complete(
        self,
        session: CometSession,
        *messages: Addition,
        response_format: ResponseFormatParam | None = None,
        **options: Unpack[CompleteOptions],
    ) -> ChatCompletion[Any]: ...

    async def complete(
        self,
        session: CometSession,
        *messages: Addition,
        model: str,
        unfinished: Unfinished = "drop",
        **options: Any,
    ) -> ChatCompletion[Any]:
        """Take one turn in the route's synchronous form, and return the completion.

        Args:
            session: As ``turn``.
            messages: As ``turn``.
            model: As ``turn``.
            unfinished: As ``turn``; nothing of the answer is there to keep.
            **options: The wire's parameters, and the options of ``session.complete``.
        Raises:
            CometError: As ``session.complete``.
        Cancellation:
            Safe at any point; the turn is then unfinished.
        """
        begin, asked, fields = self._begun(session, messages, model, unfinished, options)
        begin(asked)
        completion = None
        try:
            completion = await session.complete(**fields)
            return completion
        except (InvalidRequestError, ConfigurationError, UsageError):
            unfinished = "drop"  # nothing was sent
            raise
        finally:
            whole = completion is not None
            self._end(asked, completion.message if completion is not None else None, whole or unfinished == "keep")

    def fork(self, at: int | None = None) -> Self:
        """Return a conversation of its own that begins with the same messages.

        Args:
            at: How many messages it takes over; None for all. To edit the message at a place, fork there and say it anew.
        Raises:
            ConfigurationError: There is no such place.
            InvalidRequestError: The place lies between a tool call and its result.
        """
        length = len(self._messages)
        if at is None:
            at = length
        elif not isinstance(at, int) or isinstance(at, bool) or not 0 <= at <= length:
            raise ConfigurationError(f"at must be a number of messages from 0 to {length}, or None; got {shown(at)}")
        if splits(self._messages, at):
            raise InvalidRequestError(
                [f"messages[{at}]: stands between a tool call and its result; fork before or after"]
            )
        forked = type(self)()
        forked._messages = [copied(message) for message in self._messages[:at]]
        return forked

    def rewind(self) -> tuple[Message, ...]:
        """Take back all that came after the user's last message, and return it: ``turn(session, model=...)`` answers it again.

        Raises:
            UsageError: A turn is open.
        """
        end = len(self._messages)
        while end and self._messages[end - 1].get("role") != "user":
            end -= 1
        taken = tuple(self._messages[end:]) if end else ()
        self._change(self._messages[:end] if end else self._messages)
        return taken

    def trim(self, max_tokens: int, *, count: Callable[[Message], int]) -> tuple[Message, ...]:
        """Drop the oldest turns until the rest fits a budget of tokens.

        Instructions stay. A turn goes as a whole; only the last one may lose its oldest rounds of tools, and keeps its question and
        its end. A tool call and its results stay or go together.

        Args:
            max_tokens: Tokens that all messages together may have. Leave room for the answer.
            count: Returns the tokens of one message, by your tokeniser.
        Returns:
            The dropped messages, for example to sum them up.
        Raises:
            InvalidRequestError: What must stay has more tokens; nothing is dropped.
            ConfigurationError: ``count`` raised, or an argument cannot be used.
            UsageError: A turn is open.
        """
        if not callable(count):
            raise ConfigurationError(f"count must be a function from a message to its tokens; got {shown(count)}")
        dropped = dropped_by_budget(self.messages, max_tokens, count)
        gone = tuple(message for place, message in enumerate(self._messages) if place in dropped)
        self._change([message for place, message in enumerate(self._messages) if place not in dropped])
        return gone

    def to_json(self) -> str:
        """Return the conversation as JSON on one line, with the version of its form."""
        return orjson.dumps({"format": _FORMAT, "version": _VERSION, "messages": self._messages}).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the conversation that ``to_json`` wrote.

        Raises:
            ConfigurationError: It is something else, or of a later version.
        """
        try:
            stored = orjson.loads(text)
        except (orjson.JSONDecodeError, TypeError):
            raise ConfigurationError("the stored conversation is not JSON: give what to_json() returned") from None
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise ConfigurationError(f"the stored JSON is not a conversation: it has no format {_FORMAT!r}")
        version = stored.get("version")
        if version != _VERSION or not isinstance(version, int) or isinstance(version, bool):
            raise ConfigurationError(
                f"the stored conversation has version {shown(version)}, and this cometstream reads version {_VERSION}: update it"
            )
        if not isinstance(stored.get("messages"), list):
            raise ConfigurationError("the stored conversation has no list of messages")
        if not all(isinstance(message, dict) for message in stored["messages"]):
            raise ConfigurationError("the stored conversation has a message that is not an object")
        try:
            return cls(stored["messages"])
        except InvalidRequestError as error:
            more = len(error.problems) - _LISTED
            listed = "; ".join(error.problems[:_LISTED]) + (f"; and {more} more" if more > 0 else "")
            raise ConfigurationError(f"the stored conversation cannot be sent: {listed}") from None

    def _begun(
        self,
        session: CometSession,
        messages: tuple[Addition, ...],
        model: str,
        unfinished: Unfinished,
        options: Mapping[str, Any],
    ) -> tuple[Callable[[object], None], list[Message], dict[str, Any]]:
        """Return what begins a turn, its checked messages, and the arguments of the session's call."""
        if not isinstance(session, CometSession):
            raise ConfigurationError(f"session must be a CometSession; got {kind(session)}")
        if not isinstance(unfinished, str) or unfinished not in ("drop", "keep"):
            raise ConfigurationError(f"unfinished must be 'drop' or 'keep'; got {shown(unfinished)}")
        if "messages" in options:
            raise ConfigurationError("messages: give them before model=, one after another")
        asked = checked(messages)
        history = self._messages + asked
        problem = problem_of_calls(history)
        if problem is not None:
            raise InvalidRequestError([problem])
        fallbacks = checked_fallbacks(options.get("fallback_models", ()))
        # What is wrong with another model, the session tells.
        sent = _addressed(history, (model, *fallbacks) if isinstance(model, str) else ())
        changes = self._changes

        def begin(turn: object) -> None:
            self._refuse_in_turn()
            if self._changes != changes:
                raise UsageError("the conversation has changed since turn() was called: call turn() again")
            self._turn = turn

        return begin, asked, {**options, "model": model, "messages": sent}

    def _end(self, asked: list[Message], answer: ChatCompletionMessage | None, kept: bool) -> None:
        self._turn = None
        if kept:
            self._change(self._messages + asked + (checked([answer]) if answer is not None else []))

    def _change(self, messages: list[Message]) -> None:
        self._refuse_in_turn()
        self._messages = messages
        self._changes += 1

    def _refuse_in_turn(self) -> None:
        if self._turn is not None:
            raise UsageError("a turn of this conversation is open: wait for its end, or fork() the conversation")


def _instruction(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise ConfigurationError(f"{name} must be a text or None; got {shown(text)}")
    return text


def _leading(messages: Sequence[Message]) -> Message | None:
    """Return the instructions that a history begins with."""
    return messages[0] if messages and messages[0].get("role") in INSTRUCTIONS else None


def _addressed(messages: Sequence[Message], models: Sequence[str]) -> tuple[Message, ...]:
    """Return a copy of messages with the role for their instructions that these models want."""
    sent = tuple(copied(message) for message in messages)
    leading = _leading(sent)
    if leading is not None and leading["role"] == "system" and models and all(map(wants_developer, models)):
        leading["role"] = "developer"
    return sent


def _says_something(message: ChatCompletionMessage | None) -> bool:
    """Whether a cut answer has anything to send back: some providers refuse a message without content."""
    if message is None:
        return False
    sent = message.to_dict()
    return any(sent.get(name) for name in ("content", "tool_calls", "function_call", "audio", "refusal"))
