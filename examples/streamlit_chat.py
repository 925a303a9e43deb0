"""A chat with Streamlit: tokens as they come, and its stop button ends the request upstream.

    COMETAPI_KEY=... streamlit run examples/streamlit_chat.py
    streamlit run examples/streamlit_chat.py -- --demo      # without a key, against the simulated server

Needs ``pip install streamlit``.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import streamlit as st  # pyright: ignore[reportMissingImports] # not among the developers' packages: too heavy

from cometstream import CometError, CometSession, Conversation
from cometstream.testing import SimulatedServer


async def answer(talk: Conversation, question: str) -> None:
    # Streamlit runs this file anew for each question, in a thread: the event loop and the session live as long as the answer.
    shown, text = st.empty(), ""
    async with open_session() as session:
        # When the user presses stop, the next line that draws raises, and leaving the block closes the connection upstream.
        async with talk.turn(session, question, model="gpt-5.4", pace=0.05) as stream:
            async for piece in stream.text():
                text += piece
                shown.markdown(text)  # all of it, each time: pace lets tokens gather for 50 ms


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[CometSession]:
    if "--demo" in sys.argv:
        async with SimulatedServer(token_rate=30) as server:
            async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
                yield session
    else:
        async with CometSession() as session:  # key from COMETAPI_KEY
            yield session


st.title("Night sky chat")
if "talk" not in st.session_state:
    st.session_state.talk = Conversation(system="You are a friendly guide to the night sky.")
talk: Conversation = st.session_state.talk
for message in talk.messages:
    if message["role"] != "system":
        st.chat_message(message["role"]).markdown(message["content"])
if question := st.chat_input("Ask about the night sky"):
    st.chat_message("user").markdown(question)
    with st.chat_message("assistant"):
        try:
            asyncio.run(answer(talk, question))
        except CometError as error:  # what came stays on the screen; the history is as it was before the question
            st.error(error.public_message)
