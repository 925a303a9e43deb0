"""From the model to the browser: an answer as server-sent events, in the protocols that chat UIs read.

::

    relay(stream, protocol=...)          body.py        an async iterator of bytes
    RelayResponse, relay_response,       starlette.py   the same as a response: Starlette and FastAPI,
    ASGIRelay                            aiohttp.py, asgi.py      aiohttp.web, any other ASGI framework
      -> Engine                          engine.py      enter, read, encode, write, and say in band how it ended
        -> RawEncoder, UiEncoder,        raw.py ui.py   events -> bytes of one protocol; parts.py is shared by the last two
           AgUiEncoder                   ag_ui.py
        -> Line                          line.py        the head with the first bytes, a comment where there was silence
      shutdown.py                        EndingRelays: SIGTERM ends open answers in band
      told.py                            what a browser may know of an error
    ResumableRelays                      resumable.py   answers that outlive the connection; store.py and redis_store.py keep them
    continued                            continued.py   an answer that was cut goes on; seam.py says where
    ui_request                           ui_request.py  the way back: what a chat UI posts -> messages
"""

from __future__ import annotations

from cometstream.relay.asgi import ASGIRelay
from cometstream.relay.body import Relay, RelayHead, relay
from cometstream.relay.continued import ContinuedStream, continued
from cometstream.relay.engine import RelayEnd, end_relays
from cometstream.relay.resumable import ResumableRelays, StoredAnswer
from cometstream.relay.shutdown import EndingRelays
from cometstream.relay.store import MemoryStore
from cometstream.relay.ui_request import Approval, UIRequest, ui_request

__all__ = [
    "ASGIRelay",
    "Approval",
    "ContinuedStream",
    "EndingRelays",
    "MemoryStore",
    "Relay",
    "RelayEnd",
    "RelayHead",
    "ResumableRelays",
    "StoredAnswer",
    "UIRequest",
    "continued",
    "end_relays",
    "relay",
    "ui_request",
]
