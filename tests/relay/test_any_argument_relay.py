"""Whatever a public call of the relay is given, no error but a ``CometError`` leaves it."""

from __future__ import annotations

import asyncio
from typing import Any

from support.odd_values import each, only_ours
from support.serving import CHAT, KEY

from cometstream import CometSession
from cometstream.relay import EndingRelays, ResumableRelays, continued, relay

OPTIONS = ("protocol", "heartbeat", "on_end", "smooth", "by", "message_id", "thread_id", "run_id", "other")


def test_relays_take_or_refuse_each_odd_value() -> None:
    session = CometSession(api_key=KEY)
    for options in each(*OPTIONS):
        with only_ours():
            relay(session.stream(**CHAT), **options)
    for options in each("continuations", "prefix", "model", "messages", "temperature"):
        asked: dict[str, Any] = {**CHAT, **options}
        with only_ours():
            continued(session, **asked)
    for options in each("grace"):
        with only_ours():
            EndingRelays(**options)
    for options in each("stream"):
        with only_ours():
            relay(options["stream"])


def test_resumable_relays_take_or_refuse_each_odd_value() -> None:
    async def main() -> None:
        for options in each("protocol", "heartbeat", "expires", "authorise"):
            with only_ours():
                ResumableRelays(**options)
        relays = ResumableRelays()
        for options in each("key", "by", "last_event_id"):
            with only_ours():
                await relays.resume(**{"key": "k", **options})
            with only_ours():
                await relays.stop(
                    **{"key": "k", **{name: options[name] for name in options if name != "last_event_id"}}
                )
        session = CometSession(api_key=KEY)
        for options in each("key", "owner", *OPTIONS):
            with only_ours():
                await ResumableRelays().start(object(), **options)
        await session.aclose()

    asyncio.run(main())
