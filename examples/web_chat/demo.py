"""The other side of ``--demo``: a session that talks to the simulated server, and what the model says there."""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from cometstream import CometSession
from cometstream.testing import DONE, RecordedRequest, Reply, SimulatedServer, chunk

ANSWER = """A comet is **a small world of ice and dust** that grows a tail near the Sun.

### Three to look for

| comet | returns every | next |
|---|---:|---:|
| Encke | 3.3 years | 2030 |
| Halley | 76 years | 2061 |
| Hale-Bopp | 2,500 years | about 4385 |

1. Find a *dark* place, far from the lights of the town.
2. Wait twenty minutes, until your eyes are used to it.
3. Look a little **beside** the comet: you see faint things better there.

```python
def tail_points_away_from(sun: Vector, comet: Vector) -> Vector:
    return (comet - sun).normalized()
```

> The tail always points away from the Sun, even when the comet itself is on its way out.
"""
REASONING = "The question is about comets. I say first what they are, then which ones come back, and how to see one."


@contextlib.asynccontextmanager
async def demo_session(token_rate: float = 40.0) -> AsyncIterator[CometSession]:
    """A session with the simulated model; it writes so many words a second."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["COMETSTREAM_LEDGER"] = str(Path(directory) / "ledger.sqlite3")
        async with SimulatedServer() as server:
            server.always(lambda request: reply(request).paced(1 / token_rate))
            async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
                yield session


def reply(request: RecordedRequest) -> Reply:
    """What the model answers: the words of the question decide."""
    last = request.json["messages"][-1]
    asked = str(last["content"]).lower()
    if last["role"] == "tool":
        return Reply.text(*words(f"Here is what I found out: `{last['content']}`."))
    if "weather" in asked:
        return Reply.tool_calls(("get_weather", {"city": "Boston"}, f"call_{request.id}"), text="I look. ", fragment=6)
    if "telescope" in asked:
        order = {"model": "Newton 150", "euros": 249}
        return Reply.tool_calls(("order_telescope", order, f"call_{request.id}"), text="A good choice. ", fragment=6)
    if "cut" in asked:
        return Reply.text(*words(ANSWER[:300]), finish_reason=None, done=False).cut()
    if "short" in asked:
        return Reply.text(*words(ANSWER[:300]), finish_reason="length")
    usage = {"prompt_tokens": 12, "completion_tokens": 214, "total_tokens": 226}
    return Reply.sse(
        *(chunk({"reasoning_content": word}) for word in words(REASONING)),
        *(chunk({"content": word}) for word in words(ANSWER)),
        chunk(finish_reason="stop"),
        {**chunk(), "choices": [], "usage": usage},
        DONE,
    )


def words(text: str) -> Iterator[str]:
    """The text in pieces that a model might write."""
    return (text[start : start + 5] for start in range(0, len(text), 5))
