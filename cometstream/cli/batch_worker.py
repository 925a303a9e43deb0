"""One worker process of ``cometstream batch --processes``: rows come from stdin, results go to stdout, as messages."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cometstream.batch import fan_out
from cometstream.cli.connection import load_prices
from cometstream.cli.pipe_messages import packed, receive
from cometstream.cli.process import rare_collections
from cometstream.errors import CometError
from cometstream.session import CometSession
from cometstream.views.completion import ChatCompletion

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from cometstream.batch import BatchResult, FanOut

__all__ = ["main", "work"]

# Seconds between two messages of the progress.
_TICK: Final = 0.25


async def work(reader: asyncio.StreamReader, send: Callable[[tuple[Any, ...]], object]) -> None:
    """Do what the parent says, until it has ended or has no more rows."""
    first = await receive(reader)
    if first is None:
        return
    base_url, cost, options = first
    rows: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    async with CometSession(base_url=base_url) as session:
        if cost:
            await load_prices(session)
        batch = fan_out(session, _requests(rows), **options)
        tasks = [asyncio.ensure_future(_obey(reader, batch, rows)), asyncio.ensure_future(_tell(batch, send))]
        try:
            async with batch:
                async for result in batch:
                    send(("result", _small(result)))
            send(("ended", batch.progress, None))
        except CometError as error:
            send(("ended", batch.progress, error))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _requests(rows: asyncio.Queue[dict[str, Any] | None]) -> AsyncGenerator[dict[str, Any], None]:
    while (request := await rows.get()) is not None:
        yield request


async def _obey(reader: asyncio.StreamReader, batch: FanOut, rows: asyncio.Queue[dict[str, Any] | None]) -> None:
    while (message := await receive(reader)) is not None:
        if message[0] == "row":
            rows.put_nowait(message[1])
        elif message[0] == "drain":
            batch.drain()
        else:
            rows.put_nowait(None)
    os._exit(1)  # the parent is gone: nobody reads the results


async def _tell(batch: FanOut, send: Callable[[tuple[Any, ...]], object]) -> None:
    while True:
        send(("progress", batch.progress))
        await asyncio.sleep(_TICK)


def _small(result: BatchResult) -> BatchResult:
    """Return a result without what the parent has or does not need."""
    completion = result.completion
    if completion is not None:
        made: ChatCompletion = ChatCompletion(completion.raw, completion.normalizations)
        made.request_id = completion.request_id
        completion = made
    return replace(result, request=None, completion=completion)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    out = os.dup(sys.stdout.fileno())
    # Whatever prints must not come among the messages.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    pipe = os.fdopen(out, "wb")

    def send(message: tuple[Any, ...]) -> None:
        try:
            pipe.write(packed(message))
            pipe.flush()
        except OSError:
            os._exit(1)  # as in `_obey`

    await work(reader, send)


def main() -> None:
    """Be a worker."""
    # The parent lets its workers come to their end; a terminal tells all of its processes.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with suppress(AttributeError):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with rare_collections():
        asyncio.run(_main())


if __name__ == "__main__":
    main()
