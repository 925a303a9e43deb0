"""Conversations: a history that grows by turns, forks, fits a token budget, and is kept as JSON.

::

    chat = Conversation(system="You are brief.")
    async with chat.turn(session, "Hello", model="gpt-5.4") as stream:
        async for text in stream.text():
            print(text, end="")
    database.save(chat.to_json())           # the answer is in chat.messages

history.py    ``Conversation``
intake.py     a caller's message, checked and copied
turn.py       one turn: its question and its answer go into the history together, or not at all
units.py      what belongs together in a history, and what a budget lets stay
parts.py      images, sound and files as parts of a message, and results of tools
"""

from __future__ import annotations

from cometstream.conversation.history import Conversation
from cometstream.conversation.parts import MAX_SIZE, audio, file, image, tool_result
from cometstream.conversation.turn import Turn

__all__ = ["MAX_SIZE", "Conversation", "Turn", "audio", "file", "image", "tool_result"]
