"""What belongs together in a history, tool calls with their results above all; and what a token budget lets stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeAlias

from cometstream.errors import ConfigurationError, InvalidRequestError
from cometstream.request.describe import shown
from cometstream.views.view import list_of_dicts

__all__ = ["INSTRUCTIONS", "Message", "dropped_by_budget", "problem_of_calls", "splits", "unanswered"]

Message: TypeAlias = dict[str, Any]

_Unit: TypeAlias = tuple[int, int]  # the place of its first message, and the place after its last

INSTRUCTIONS = ("system", "developer")
"""The roles whose messages a budget never drops."""

_RESULTS = ("tool", "function")


def unanswered(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the tool calls of the last answer that have no result yet."""
    for place in range(len(messages) - 1, -1, -1):
        if messages[place].get("role") == "assistant":
            answered = {message.get("tool_call_id") for message in messages[place:]}
            return [call for call in _calls(messages[place]) if call.get("id") not in answered]
    return []


def problem_of_calls(messages: Sequence[Message]) -> str | None:
    """Return what a provider would refuse: a call whose result does not follow it, or a result without its call."""
    waiting: dict[str, str] = {}
    asked: set[str] = set()
    for place, message in enumerate([*messages, {}]):
        if message.get("role") == "tool":
            call_id = message.get("tool_call_id")
            if not isinstance(call_id, str) or call_id not in asked:
                return f"messages[{place}]: answers {shown(call_id)}, which is not a tool call of the answer before it"
            waiting.pop(call_id, None)
            continue
        if waiting:
            call_id, name = next(iter(waiting.items()))
            return f"messages[{place}]: tool call {shown(call_id)} ({name}) has no result before it; add tool_result(call, ...)"
        waiting = {_id(call): _name(call) for call in _calls(message)}
        asked = set(waiting)
    return None


def splits(messages: Sequence[Message], at: int) -> bool:
    """Whether a cut before the message at this place would part a tool call from its result."""
    return any(first < at < end for first, end in _units(messages))


def dropped_by_budget(messages: Sequence[Message], budget: object, count: Callable[[Message], object]) -> set[int]:
    """Return the places of the messages to drop, oldest turn first, until the rest fits the budget.

    Instructions stay, and so do the last turn's question and its last answer or round of tools. A turn goes as a whole, the last
    one by its rounds of tools.

    Args:
        messages: The history.
        budget: Tokens that the rest may have.
        count: Returns the tokens of one message.
    Raises:
        InvalidRequestError: What must stay does not fit.
        ConfigurationError: The budget is not a number of tokens, or ``count`` does not return one.
    """
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        raise ConfigurationError(f"max_tokens must be a whole number of tokens, 1 or more; got {shown(budget)}")
    costs = [_counted(count, message) for message in messages]
    total = sum(costs)
    dropped: set[int] = set()
    for units in _droppable(messages):
        if total <= budget:
            break
        within = chain.from_iterable(range(*unit) for unit in units)
        places = [place for place in within if messages[place].get("role") not in INSTRUCTIONS]
        dropped.update(places)
        total -= sum(costs[place] for place in places)
    if total > budget:
        raise InvalidRequestError(
            [f"messages: the instructions and the last turn have {total} tokens, more than the budget of {budget}"]
        )
    return dropped


def _droppable(messages: Sequence[Message]) -> Iterator[list[_Unit]]:
    """Yield the units that go together, in the order in which to drop them: whole turns, then rounds of the last one."""
    turns: list[list[_Unit]] = []
    asked = False  # by the unit before
    for unit in _units(messages):
        role = messages[unit[0]].get("role")
        if role in INSTRUCTIONS and unit[1] - unit[0] == 1:
            continue
        if not turns or (role == "user" and not asked):
            turns.append([])
        turns[-1].append(unit)
        asked = role == "user"
    yield from turns[:-1]
    for unit in turns[-1][:-1] if turns else ():
        if messages[unit[0]].get("role") != "user":
            yield [unit]


def _units(messages: Sequence[Message]) -> list[_Unit]:
    """Return the ranges of messages that are never parted: one message, or calls up to the last of their results."""
    units: list[_Unit] = []
    open_calls: dict[str | None, int] = {}  # of an id, or of a legacy call, the place of the message that made it
    for place, message in enumerate(messages):
        first = place
        if message.get("role") in _RESULTS:
            call_id = message.get("tool_call_id") if message["role"] == "tool" else None
            first = open_calls.get(call_id if isinstance(call_id, str) else None, max(place - 1, 0))
        for call in _calls(message):
            open_calls[_id(call)] = place
        if message.get("function_call"):
            open_calls[None] = place
        while units and units[-1][1] > first:
            first = min(first, units.pop()[0])
        units.append((first, place + 1))
    return units


def _calls(message: Message) -> list[dict[str, Any]]:
    return list_of_dicts(message.get("tool_calls")) if message.get("role") == "assistant" else []


def _id(call: dict[str, Any]) -> str:
    return str(call.get("id"))


def _name(call: dict[str, Any]) -> str:
    named = call.get(str(call.get("type")))
    return shown(named.get("name") if isinstance(named, dict) else None)


def _counted(count: Callable[[Message], object], message: Message) -> int:
    try:
        tokens = count(message)
    except Exception as error:
        raise ConfigurationError(f"count cannot count a message ({shown(error)})") from error
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise ConfigurationError(f"count must return a whole number of tokens, 0 or more; got {shown(tokens)}")
    return tokens
