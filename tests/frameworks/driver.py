"""One framework in its own environment: ``python -m tests.frameworks.driver NAME STEP``; the last line is what was found, as JSON.

It needs what the framework installs, and aiohttp, orjson and anyio for us.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import openai

from cometstream import CometSession
from cometstream.openai.transport import CometTransport
from cometstream.testing import Reply, SimulatedServer

try:
    import httpx2 as httpx
except ImportError:
    import httpx  # type: ignore[no-redef]

KEY = "sk-of-the-simulated-server"

# The tracing of some reports to their makers.
QUIET = {"OPENAI_API_KEY": "sk-unused", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false"}


async def main(name: str, step: int) -> dict[str, Any]:
    os.environ.update(QUIET)
    module: Any = import_module(f"tests.frameworks.programs.{name}_")
    found: dict[str, Any] = {}
    async with SimulatedServer(api_key=KEY) as server:
        async with CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session:
            ours, alone = (
                module.make(openai.AsyncOpenAI(api_key=KEY, base_url=server.base_url, http_client=http, max_retries=0))
                for http in (httpx.AsyncClient(transport=CometTransport(session)), httpx.AsyncClient())
            )
            reply = getattr(module, "reply", None)
            server.always(reply)
            text = await ours.plain()
            found["plain"] = bool(text)
            found["streamed"] = bool(await ours.streamed())
            found["tools"] = "It snows in" in await ours.tools()
            found["structured"] = (await ours.structured()).name == "comet"
            found["errors"] = {}
            for status in (401, 429, 500):
                server.always(Reply.error(status, "what went wrong"))
                del server.requests[:]
                try:
                    await ours.plain()
                    found["errors"][status] = "no error"
                except Exception as error:
                    found["errors"][status] = type(error).__name__
                found["errors"][f"{status} requests"] = len(server.requests)
            for who, program in (("ours", ours), ("alone", alone)):
                found[f"cuts taken for whole, {who}"], found["cuts"] = await cuts(server, program, module, step)
    return found


async def cuts(server: SimulatedServer, program: Any, module: Any, step: int) -> tuple[int, int]:
    """Cut one streamed answer every `step` bytes; return how often what came was taken for all, and how many cuts there were."""
    texts = getattr(module, "TEXTS", ("The comet", " is near", " the Sun."))
    # Its connection closes at its end, so that HTTP cannot tell a cut from the end.
    whole = replace(Reply.text(*texts), framing="close")
    body = b"".join(piece for piece in whole.body if isinstance(piece, bytes))
    proof = body.index(b'"finish_reason":"stop"')
    taken = count = 0
    for at in range(0, proof, step):
        server.always(whole.cut(at=at))
        count += 1
        try:
            await program.streamed()
            taken += 1
        except Exception:
            pass
    return taken, count


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2])))))
