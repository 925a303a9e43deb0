from __future__ import annotations

import aiohttp
from aioresponses import aioresponses

from cometstream.testing import MockResponse

URL = "https://api.cometapi.com/v1/chat/completions"
BODY = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'


async def test_aioresponses_streams_a_body_through_it() -> None:
    with aioresponses() as mocked:
        mocked.post(URL, body=BODY, content_type="text/event-stream", response_class=MockResponse)
        async with aiohttp.ClientSession() as session, session.post(URL, json={}) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            read = b""
            while data := await response.content.readany():
                read += data
    assert read == BODY


async def test_aioresponses_gives_status_headers_and_json_through_it() -> None:
    with aioresponses() as mocked:
        mocked.get(
            URL,
            status=429,
            payload={"error": {"message": "slow down"}},
            headers={"Retry-After": "2"},
            response_class=MockResponse,
        )
        async with aiohttp.ClientSession() as session, session.get(URL) as response:
            assert response.status == 429
            assert response.headers["retry-after"] == "2"
            assert await response.json() == {"error": {"message": "slow down"}}
