"""A simulated CometAPI server with scripted faults, and a response class for aioresponses.

::

    async with SimulatedServer() as server:
        server.script(Reply.error(429, retry_after=2), Reply.text("Hello").cut(at=200))
        ...  # talk to server.base_url with server.api_key
    assert server.requests[0].json["model"] == "gpt-5.4"

server.py     listens, records, chooses the reply
account.py    models, catalogue and balance
checks.py     what the gateway refuses
model.py      what the simulated model answers; schema.py makes its JSON
replies.py    a reply as plain data
delivery.py   a reply onto its connection
mock.py       ``MockResponse`` for aioresponses
"""

from __future__ import annotations

from cometstream.testing.mock import MockResponse
from cometstream.testing.replies import DONE, Piece, Reply, chunk, frame
from cometstream.testing.server import MODELS, RecordedRequest, Script, SimulatedServer, serve

__all__ = [
    "DONE",
    "MODELS",
    "MockResponse",
    "Piece",
    "RecordedRequest",
    "Reply",
    "Script",
    "SimulatedServer",
    "chunk",
    "frame",
    "serve",
]
