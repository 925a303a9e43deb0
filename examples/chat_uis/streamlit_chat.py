"""A chat as a Streamlit app: each visitor has a conversation, which grows by whole turns.

pip install cometstream streamlit
streamlit run examples/chat_uis/streamlit_chat.py
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import streamlit as st

from cometstream import CometError, CometSession, Conversation

MODEL = os.environ.get("COMETAPI_MODEL", "gpt-5.4")


async def answer(conversation: Conversation, question: str) -> AsyncIterator[str]:
    # Streamlit runs this script anew for each message, on an event loop of its own: so does the session live.
    async with CometSession() as session:
        async with conversation.turn(session, question, model=MODEL) as stream:
            async for text in stream.text():
                yield text


st.title("Ask about comets")
conversation: Conversation = st.session_state.setdefault("conversation", Conversation())

for message in conversation.messages:
    st.chat_message(message["role"]).write(message["content"])

if question := st.chat_input("Ask something"):
    st.chat_message("user").write(question)
    with st.chat_message("assistant"):
        try:
            st.write_stream(answer(conversation, question))
        except CometError as error:
            # The public half: what browsers see may not name keys or hosts. The turn is not in the conversation.
            st.error(error.public_message)
