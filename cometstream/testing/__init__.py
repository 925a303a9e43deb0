"""Tests without a network: a simulated CometAPI with scripted faults, record and replay, and what gateways really send.

::

    def test_my_app(comet_server):  # of the pytest plugin; `with CometServer() as comet_server` elsewhere
        comet_server.rate_limited(retry_after=0).reply("Hello")
        ...  # run the app, which makes a session without arguments
        assert comet_server.last_request.prompt == "Hi"

    async with recording(session, "hello.cassette"):  # later: replaying(session, "hello.cassette")
        ...

comet_server.py  the server in a thread; scripting.py says in one line each what it answers
plugin.py        the pytest plugin
server.py        listens, records, chooses the reply
account.py       models, catalogue and balance
checks.py        what the gateway refuses
model.py         what the simulated model answers; schema.py makes its JSON
replies.py       a reply as plain data
delivery.py      a reply onto its connection
recording.py     what came over the network, into a cassette; masking.py takes out what is secret
replaying.py     a cassette in place of the network; matching.py compares requests
cassette.py      the file
conformance/     what gateways really send, as cases for tests
mock.py          ``MockResponse`` for aioresponses
"""

from __future__ import annotations

from cometstream.testing.cassette import CassetteError
from cometstream.testing.comet_server import CometServer
from cometstream.testing.mock import MockResponse
from cometstream.testing.recording import Recording, recording
from cometstream.testing.replaying import Replaying, replaying
from cometstream.testing.replies import DONE, Piece, Reply, chunk, frame
from cometstream.testing.server import MODELS, RecordedRequest, Script, SimulatedServer, serve

__all__ = [
    "DONE",
    "MODELS",
    "CassetteError",
    "CometServer",
    "MockResponse",
    "Piece",
    "RecordedRequest",
    "Recording",
    "Replaying",
    "Reply",
    "Script",
    "SimulatedServer",
    "chunk",
    "frame",
    "recording",
    "replaying",
    "serve",
]
