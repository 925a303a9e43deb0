"""One program for each framework: what its users write, as four coroutines.

Each module has ``make(client)``, given an ``openai.AsyncOpenAI``, which returns an object with ``plain()``, ``streamed()``,
``tools()`` and ``structured()``. The first three return the answer's text; ``tools()`` has the model call ``weather`` first, and
``structured()`` returns a ``City``.
"""

from __future__ import annotations

from pydantic import BaseModel

MODEL = "gpt-5.4"
PROMPT = "Where is the comet?"


class City(BaseModel):
    """What the model is asked for."""

    name: str
    population: int


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"It snows in {city}."
