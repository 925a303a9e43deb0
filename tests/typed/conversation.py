"""What type checkers see of a conversation and of ``cometstream.types``; see ``tests/test_typed.py``. Nothing here runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import assert_type

from cometstream.types import ContentDeltaEvent, KeepAliveEvent, Message, MessageParam, Reply, StreamEvent, ToolCall

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

    from cometstream import ChatCompletion, ChatCompletionMessage, CometSession


async def a_bare_list(session: CometSession) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    completion = await session.complete(model="m", messages=messages)
    messages.append(completion.message)
    messages.append(completion.choices[0].message)
    messages.append({"role": "user", "content": "And now?"})
    await session.complete(model="m", messages=messages)


async def lists_with_a_type(session: CometSession, completion: ChatCompletion) -> None:
    messages: list[Message] = [{"role": "user", "content": "Hello"}, completion.message]
    messages.append(completion.message)
    await session.complete(model="m", messages=messages)
    params: list[MessageParam] = [{"role": "system", "content": "Be brief."}]
    params.append(completion.message)
    await session.complete(model="m", messages=params)
    dicts: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
    dicts.append(completion.message)
    dicts.append(completion.message.to_dict())
    await session.complete(model="m", messages=[*dicts, completion.message])


async def openais_own(session: CometSession, messages: list[ChatCompletionMessageParam]) -> None:
    await session.complete(model="m", messages=messages)


def fields_keep_their_types(message: ChatCompletionMessage) -> None:
    assert_type(message.content, str | None)
    assert_type(message.tool_calls, list[ToolCall] | None)
    assert_type(message.role, str)


def events(event: StreamEvent) -> str:
    if isinstance(event, ContentDeltaEvent):
        return event.delta
    return event.comment if isinstance(event, KeepAliveEvent) else event.type


def answers() -> list[Reply]:
    return [Reply.text("Hello")]
