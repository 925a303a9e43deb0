"""The browsers of the relay scenarios: a process of its own, so that only the relay is measured.

``python -m benchmarks.browsers PORT COUNT`` opens so many connections, reads each answer to its end, and prints as JSON how many
ended properly and which texts they had: one, if all is well.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys

from benchmarks.limits import raise_open_files

# Connections opened in a second: more than a listening socket's queue takes would wait for a second try.
_OPENED_A_SECOND = 1000

_END = b"0\r\n\r\n"


class Browser(asyncio.Protocol):
    """One request; its answer is kept as it came."""

    def __init__(self, ended: asyncio.Future[bytes]) -> None:
        self._ended = ended
        self._pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(b"".join(self._pieces))


def text_of(answer: bytes) -> str:
    """Return the text of one answer, in whichever protocol it was relayed; the empty text if it did not end properly."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or not body.endswith(_END):
        return ""
    pieces = []
    for line in _without_framing(body).split(b"\n"):
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if "choices" in event:
                pieces += [choice["delta"].get("content") or "" for choice in event["choices"]]
            elif event["type"] == "text-delta":
                pieces.append(event["delta"])
    return "".join(pieces)


def _without_framing(body: bytes) -> bytes:
    chunks, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if not size:
            return b"".join(chunks)
        chunks.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size


async def browse(port: int, count: int) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    answers = []
    for number in range(count):
        ended: asyncio.Future[bytes] = loop.create_future()
        await loop.create_connection(lambda ended=ended: Browser(ended), "127.0.0.1", port)
        answers.append(ended)
        if number % 20 == 19:
            await asyncio.sleep(20 / _OPENED_A_SECOND)
    texts = [text_of(answer) for answer in await asyncio.gather(*answers)]
    return {"ended": sum(map(bool, texts)), "texts": sorted(set(texts))}


if __name__ == "__main__":
    raise_open_files()
    # What is read is kept to the end, and makes no cycles.
    gc.disable()
    print(json.dumps(asyncio.run(browse(int(sys.argv[1]), int(sys.argv[2])))), flush=True)
