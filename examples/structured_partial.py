"""Fill a form while the answer still comes: a type as `response_format`, and its value as it grows.

Run it with ``--demo`` to see it against the simulated server, without a key. Needs ``pip install 'cometstream[structured]'``.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import date

from pydantic import BaseModel, Field

from cometstream import CometSession, OutputCutError, OutputInvalidError, OutputRefusedError, Part
from cometstream.testing import Reply, SimulatedServer


class Sighting(BaseModel):
    """One time that somebody saw the comet."""

    place: str
    when: date
    brightness: float = Field(description="apparent magnitude")


class Comet(BaseModel):
    """A comet. The model is told these lines, too."""

    name: str
    summary: str
    sightings: list[Sighting]


def show(comet: Comet) -> None:
    """A form would be painted here: what has not come is None, a text is there as far as it came."""
    summary = comet.summary or ""
    print(f"\r{comet.name or '':10} {len(summary):3} characters, {len(comet.sightings or [])} sightings", end="")


def told(part: Part) -> None:
    if isinstance(part.value, Sighting):  # whole and checked, while the next one is being written
        print(f"\n  seen from {part.value.place}, {part.value.when:%d %B %Y}")


async def main() -> None:
    messages = [{"role": "user", "content": "Tell me of Halley's comet and two of its sightings."}]
    async with open_session() as session:
        async with session.stream(model="gpt-5.4", messages=messages, response_format=Comet) as stream:
            try:
                # A part that is not valid ends the stream at once, and what the rest would have cost is saved.
                async for comet in stream.partials(on_part=told, stop_on_invalid=True):
                    show(comet)
            except OutputRefusedError as error:
                print(f"\nthe model refused: {error.refusal}")
            except (OutputCutError, OutputInvalidError) as error:
                print(f"\n{error}; what came of it: {error.value}")
            else:
                comet = stream.completion.parsed  # a checked Comet
                print(f"\n{comet.name}: {comet.summary}")


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[CometSession]:
    if "--demo" in sys.argv:
        halley = Comet(
            name="Halley",
            summary="A small dark world of ice and dust that comes back every 76 years.",
            sightings=[
                Sighting(place="Babylon", when=date(1, 9, 22), brightness=1.5),
                Sighting(place="Kourou", when=date(1986, 3, 14), brightness=2.1),
            ],
        )
        text = halley.model_dump_json()
        pieces = [text[start : start + 6] for start in range(0, len(text), 6)]
        async with SimulatedServer() as server:
            server.script(Reply.text(*pieces).paced(0.01))
            async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
                yield session
    else:
        async with CometSession() as session:  # key from COMETAPI_KEY
            yield session


asyncio.run(main())
