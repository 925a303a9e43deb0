"""What was recorded is replayed to the same chunks, reads and ending; what was not recorded is refused in one line."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import virtual_clock
from support.loops import turns_until
from support.serving import CHAT, KEY, ask, failure, serving

from cometstream import CometError, CometSession, StreamTruncatedError, Timeouts
from cometstream.errors import ConfigurationError, UsageError
from cometstream.testing import DONE, CassetteError, Reply, chunk, frame, recording, replaying
from cometstream.testing.cassette import Cassette
from cometstream.testing.server import Script

OTHER_KEY = "sk-replays-need-no-key-of-yours"

HELLO = Reply.text("Hel", "lo")
GRUE, SSE = frame(chunk({"content": "Grü"})), frame(chunk({"content": "ße"}, finish_reason="stop"))
BITS = Reply((GRUE[:-9], 0.2, GRUE[-9:], 1.5, SSE + b": wait\n\n", DONE))


@dataclass
class Told:
    """All that a caller is told of one call."""

    chunks: list[dict[str, Any]] = field(default_factory=list)
    outcome: str | None = None
    error: str | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    bytes: int = 0


async def tell(session: CometSession, **options: Any) -> Told:
    told = Told()
    stream = session.stream(**{**CHAT, **options})
    try:
        async with stream:
            told.status, told.headers = stream.response.status, {**stream.response.headers}
            async for item in stream:
                told.chunks.append(item.to_dict())
    except CometError as error:
        told.error = (
            f"{type(error).__name__} {error} {error.retryable} {error.request_id} {getattr(error, 'clock', None)}"
        )
        told.error = told.error.replace(session.base_url, "BASE")
    told.outcome, told.bytes = stream.outcome, stream.metrics.bytes
    return told


@contextlib.asynccontextmanager
async def replayed(path: Path, **options: Any) -> AsyncIterator[CometSession]:
    """A session that needs no network."""
    realtime = options.pop("realtime", False)
    defaults = {"api_key": OTHER_KEY, "base_url": "https://192.0.2.1/v1", "retry": None}
    async with CometSession(**{**defaults, **options}) as session:
        async with replaying(session, path, realtime=realtime) as replay:
            yield session
        assert replay.problems == []
        assert replay.unused == 0


def pieces(path: Path) -> list[bytes]:
    return [piece.data for exchange in Cassette.load(path).exchanges for piece in exchange.pieces]


CASES: dict[str, tuple[Script, dict[str, Any]]] = {
    "an answer": (HELLO, {}),
    "an answer in bits": (BITS, {}),
    "one that was split in the middle of characters": (Reply.text("Grüße ☄").split(7), {}),
    "a document": (
        Reply.json({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}),
        {"stream": False},
    ),
    "a cut": (HELLO.cut(at=400), {}),
    "a cut in the middle of an event": (HELLO.cut(at=300), {}),
    "a reset": (Reply.text("Hel", 0.1, "lo", done=False).then(0.1).reset(), {}),
    "an end without a finish reason": (Reply.text("Hel", finish_reason=None), {}),
    "an end without [DONE]": (Reply.text("Hel", done=False), {}),
    "an error frame": (Reply.text("Hel", done=False).then({"error": {"message": "gone", "code": "x"}}), {}),
    "a status": (Reply.error(429, retry_after=90), {}),
    "a status with a page": (Reply.page(403), {}),
    "a redirect": (Reply.plain(b"", content_type="text/html", status=307).with_headers({"Location": "/x"}), {}),
    "a status whose body is cut": (Reply.error(500).cut(at=20), {}),
    "a reset before the head": (Reply.raw().reset(), {}),
    "what is not HTTP": (Reply.raw(b"SSH-2.0\r\n\r\n"), {}),
    "silence before the head": (Reply.raw().stall(), {"timeouts": Timeouts(first_content=2)}),
    "silence in the middle": (Reply.text("Hel", done=False).stall(), {"timeouts": Timeouts(content_idle=2)}),
    "silence before the first content": (Reply((b": wait\n\n",)).stall(), {"timeouts": Timeouts(first_content=2)}),
    "keep-alives for ever": (
        Reply.text("Hel", done=False).forever(0.3, b": wait\n\n"),
        {"timeouts": Timeouts(content_idle=2)},
    ),
    "a compressed answer": (HELLO.compressed("gzip"), {}),
}


@pytest.mark.parametrize("realtime", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_it_comes_to_the_same(tmp_path: Path, case: str, realtime: bool) -> None:
    reply, options = CASES[case]
    path = tmp_path / "c.cassette"

    async def main() -> tuple[Told, float, Told, float]:
        now = asyncio.get_running_loop().time
        async with serving(reply, retry=None) as (_, session):
            async with recording(session, path):
                began = now()
                recorded = await tell(session, **options)
                took = now() - began
        async with replayed(path, realtime=realtime) as session:
            began = now()
            again = await tell(session, **options)
            return recorded, took, again, now() - began

    recorded, took, again, took_again = virtual_clock.run(asyncio.wait_for(main(), 100))
    assert again == recorded
    waits = "silence" in case or "keep-alives" in case
    if realtime:
        assert took_again == pytest.approx(took, abs=0.05)
    elif not waits:
        assert took_again < 0.05


@pytest.mark.parametrize("realtime", [False, True])
def test_a_clock_that_ran_out_between_two_reads_does_so_again(tmp_path: Path, realtime: bool) -> None:
    path = tmp_path / "c.cassette"

    async def program(session: CometSession) -> tuple[list[str], str]:
        texts = []
        try:
            async with session.stream(**CHAT, timeouts=Timeouts(total=3)) as stream:
                async for text in stream.text():
                    texts.append(text)
                    await asyncio.sleep(2)
        except CometError as error:
            return texts, str(error)
        raise AssertionError("no clock ran out")

    async def main() -> None:
        async with serving(Reply.text("a", 1.0, "b", 1.5, "c", 5.0, "d"), retry=None) as (_, session):
            async with recording(session, path):
                recorded = await program(session)
        async with replayed(path, realtime=realtime) as session:
            assert await program(session) == recorded

    virtual_clock.run(main())


def test_a_recording_of_a_replay_is_the_same(tmp_path: Path) -> None:
    virtual_clock.run(recorded_twice(tmp_path))


async def recorded_twice(tmp_path: Path) -> None:
    first, second = tmp_path / "1.cassette", tmp_path / "2.cassette"
    async with serving(BITS, HELLO.cut(at=400), retry=None) as (_, session):
        async with recording(session, first):
            await ask(session)
            await failure(session)
    async with CometSession(api_key=OTHER_KEY, base_url="https://192.0.2.1/v1", retry=None) as session:
        with replaying(None, first) as replay:

            class Both:
                async def intercept(self, request: Any, send: Any) -> Any:
                    return await recorder.intercept(request, lambda: replay.intercept(request, send))

            recorder = recording(session, second)
            with recorder:
                forget = session.intercept(Both())
                await ask(session)
                await failure(session)
                forget()
    assert pieces(second) == pieces(first)
    endings = [
        [exchange.ending and exchange.ending.how for exchange in Cassette.load(path).exchanges]
        for path in (first, second)
    ]
    assert endings == [["end", "cut"]] * 2


async def test_retries_fallbacks_and_other_routes_are_replayed(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"

    async def program(session: CometSession) -> list[Any]:
        told: list[Any] = [(await ask(session, model="no-such-model", fallback_models=["gpt-5.4"])).content]
        told += [model.id for model in await session.models()]
        told += [*(await session.catalog())]
        told.append((await session.balance()).remaining)
        told.append((await session.complete(**CHAT)).content)
        return told

    async with serving(lambda _: None, Reply.error(503, retry_after=0), retry=1) as (server, session):
        async with recording(session, path):
            recorded = await program(session)
    async with replayed(path, retry=1) as session:
        assert await program(session) == recorded
    assert len(Cassette.load(path).exchanges) == len(server.requests) == 8


async def test_several_streams_at_once_take_their_own(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"

    async def program(session: CometSession, names: list[str]) -> list[str | None]:
        asked = [ask(session, messages=[{"role": "user", "content": name}]) for name in names]
        return [completion.content for completion in await asyncio.gather(*asked)]

    names = [f"number {number}" for number in range(6)]
    async with serving() as (_, session):
        async with recording(session, path):
            recorded = await program(session, names)
    async with replayed(path) as session:
        assert await program(session, names[::-1]) == recorded[::-1]


async def test_a_reader_who_left_leaves_again(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"

    async def program(session: CometSession) -> list[str]:
        async with session.stream(**CHAT) as stream:
            async for text in stream.text():
                return [text, str(stream.outcome)]
        return []

    async with serving(Reply.text("Hel", finish_reason=None, done=False).stall()) as (_, session):
        async with recording(session, path):
            recorded = await program(session)
    async with replayed(path) as session:
        assert await program(session) == recorded == ["Hel", "None"]
    async with CometSession(api_key=OTHER_KEY, retry=None) as session:
        async with replaying(session, path) as replay:
            error = await failure(session)
    assert isinstance(error, StreamTruncatedError)
    assert "the answer to request 1 ends here: the recorded reader left, and this one reads on" in str(error)
    assert len(replay.problems) == 1


@pytest.mark.parametrize("realtime", [False, True])
async def test_a_stop_button_works(tmp_path: Path, realtime: bool) -> None:
    path = tmp_path / "c.cassette"

    async def program(session: CometSession) -> tuple[str | None, str | None]:
        async with session.stream(**CHAT) as stream:

            async def stop() -> None:
                await turns_until(lambda: stream.completion.content is not None)
                await stream.aclose()

            stopping = asyncio.create_task(stop())
            await stream.until_done()
            await stopping
        return stream.outcome, stream.completion.content

    async with serving(Reply.text("Hel", finish_reason=None, done=False).stall()) as (_, session):
        async with recording(session, path):
            assert await program(session) == ("cancelled", "Hel")
    async with replayed(path, realtime=realtime) as session:
        assert await program(session) == ("cancelled", "Hel")


async def test_an_opening_that_was_given_up_has_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"
    async with serving(Reply.raw().stall()) as (server, session):
        async with recording(session, path):
            task = asyncio.create_task(ask(session))
            await turns_until(lambda: bool(server.requests))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    async with CometSession(api_key=OTHER_KEY) as session:
        async with replaying(session, path):
            with pytest.raises(CassetteError, match="request 1 has no answer: the recorded reader left before it came"):
                await ask(session)


async def test_no_connection_is_no_connection_again(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        async with CometSession(api_key=KEY, base_url=url, retry=None) as session:
            async with recording(session, path):
                recorded = await tell(session)
    async with replayed(path) as session:
        again = await tell(session)
    assert (again.outcome, str(again.error).split(" ")[0]) == (recorded.outcome, "APIConnectionError")


async def test_a_changed_request_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"
    async with serving(HELLO, HELLO) as (_, session):
        async with recording(session, path):
            await ask(session)
            await ask(session, temperature=0.5)
    async with CometSession(api_key=OTHER_KEY) as session:
        async with replaying(session, path) as replay:
            await ask(session)
            with pytest.raises(CassetteError) as caught:
                await ask(session, temperature=0.7)
            assert str(caught.value) == (
                f"the cassette {path} does not fit: request 2 is another one: temperature: recorded 0.5, sent 0.7. "
                "Record it again if the change is meant"
            )
            with pytest.raises(CassetteError, match="route: recorded POST /chat/completions, sent GET /models; body: "):
                await session.models()
            others = {"model": "m", "temperature": 1, "top_p": 0.5, "n": 2}
            with pytest.raises(CassetteError, match=r"model: recorded 'gpt-5\.4', sent 'm'; .*; and 1 more\. Record"):
                await ask(session, **others)
            await ask(session, temperature=0.5)
            with pytest.raises(CassetteError, match="it has 2 requests, and POST /chat/completions is one more"):
                await ask(session)
    assert len(replay.problems) == 4
    assert all("\n" not in problem for problem in replay.problems)


async def test_hashed_texts_are_compared_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"
    async with serving(HELLO) as (_, session):
        async with recording(session, path, hash_contents=True):
            await ask(session)
    assert CHAT["messages"][0]["content"] not in path.read_text(encoding="utf-8")
    async with replayed(path) as session:
        assert (await ask(session)).content == "Hello"
    async with CometSession(api_key=OTHER_KEY) as session:
        async with replaying(session, path):
            with pytest.raises(CassetteError, match=r"messages\[0\]\.content: another text \(hashed\)"):
                await ask(session, messages=[{"role": "user", "content": "another"}])


async def test_all_sessions_may_be_recorded_and_replayed(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"
    async with serving(HELLO) as (_, session):
        with recording(None, path):
            await ask(session)
    with replaying(None, path):
        async with CometSession(api_key=OTHER_KEY) as session:
            assert (await ask(session)).content == "Hello"


def forms(key: str) -> list[bytes]:
    plain = key.encode()
    encoded = [base64.b64encode(plain), base64.urlsafe_b64encode(plain), base64.b64encode(b"Bearer " + plain)]
    return [plain, *encoded, base64.b64encode(b"user:" + plain)]


async def test_no_cassette_holds_the_key_or_a_header_that_was_not_to_be_stored(tmp_path: Path) -> None:
    encoded = base64.b64encode(KEY.encode()).decode()
    half = len(KEY) // 2
    echo = chunk({"content": f"your key is {KEY} or {encoded}"})
    told = {"X-Echo": f"Bearer {KEY}", "X-Basic": encoded, "Set-Cookie": "id=never-stored", "X-Org": "acme-and-sons"}
    replies = [
        Reply.sse(echo, chunk(finish_reason="stop"), DONE).with_headers(told),
        Reply(
            (
                f'data: {{"choices":[{{"delta":{{"content":"{KEY[:half]}'.encode(),
                0.01,
                f'{KEY[half:]}"}}}}]}}\n\n'.encode(),
                DONE,
            )
        ),
        Reply.error(401, f"the key {KEY} is unknown"),
        Reply.raw(f"SSH {KEY}\r\n\r\n".encode()),
        Reply.plain(f"<p>{encoded}".encode(), content_type="text/html", status=503),
    ]
    messages = [{"role": "user", "content": f"is {KEY} my key, or {encoded}?"}]
    for number, reply in enumerate(replies):
        path = tmp_path / f"{number}.cassette"
        async with serving(reply, retry=None, headers={"X-Secret": "header-secret"}) as (_, session):
            async with recording(session, path, without_headers=["x-org"]):
                await tell(session, messages=messages, extra_body={"metadata": {KEY: encoded, "s": "header-secret"}})
    for number in range(len(replies)):
        text = (tmp_path / f"{number}.cassette").read_bytes()
        for form in (*forms(KEY), b"never-stored", b"acme-and-sons", b"header-secret"):
            assert form not in text, (number, form)
    assert b"X-Echo: Bearer [the API key]" in (tmp_path / "0.cassette").read_bytes()


def test_a_block_is_entered_once_and_only_with_what_it_can_use(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"
    with recording(None, path) as recorded:
        with pytest.raises(UsageError, match="this recording was begun before"):
            recorded.__enter__()
    with replaying(None, path) as replay:
        with pytest.raises(UsageError, match="this replay was begun before"):
            replay.__enter__()
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: recording(5, path), "session must be a CometSession, or None for all of them; got 5"),  # type: ignore[arg-type]
        (lambda: recording(None, 5), "path must be the path of a cassette; got 5"),  # type: ignore[arg-type]
        (lambda: recording(None, ""), "path must be the path of a cassette; got ''"),
        (lambda: recording(None, "a\0b"), "path must be the path of a cassette"),
        (lambda: recording(None, path, hash_contents=1), "hash_contents must be True or False; got 1"),  # type: ignore[arg-type]
        (lambda: recording(None, path, without_headers="x"), "without_headers must be a list of header names; got 'x'"),
        (lambda: recording(None, path, without_headers=[5]), "without_headers must be a list of header names"),  # type: ignore[list-item]
        (lambda: recording(None, path, without_headers=5), "without_headers must be a list of header names; got 5"),  # type: ignore[arg-type]
        (lambda: replaying(5, path), "session must be a CometSession"),  # type: ignore[arg-type]
        (lambda: replaying(None, path, realtime=1), "realtime must be True or False; got 1"),  # type: ignore[arg-type]
    ]
    for make, message in wrong:
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert message in str(caught.value)


async def test_an_error_that_this_version_does_not_know_is_a_failed_connection(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"
    path.write_text(
        "cometstream cassette 1\nrequest GET /models\nfailure SomeError after 0.1\n    it broke\n", encoding="utf-8"
    )
    async with replayed(path) as session:
        with pytest.raises(CometError, match="it broke") as caught:
            await session.models()
    assert type(caught.value).__name__ == "APIConnectionError"
