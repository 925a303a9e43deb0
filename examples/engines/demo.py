"""The other side of ``--demo``: a simulated server beside the program, which the workers find by their environment."""

import asyncio
import os
import threading

from cometstream.testing import SimulatedServer


def serve() -> None:
    loop, server = asyncio.new_event_loop(), SimulatedServer()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result()
    os.environ.update(COMETAPI_KEY=server.api_key, COMETAPI_BASE_URL=server.base_url)
