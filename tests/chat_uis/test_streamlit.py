"""The Streamlit example, run by Streamlit's own test driver."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli_server import ServerThread

from cometstream.testing import Reply, chunk

streamlit = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed")
# Its own warnings, not ours, are no errors here.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "chat_uis" / "streamlit_chat.py"


def test_streamlit_shows_answers_and_keeps_whole_turns_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with ServerThread() as thread:
        monkeypatch.setenv("COMETAPI_BASE_URL", thread.server.base_url)
        monkeypatch.setenv("COMETAPI_KEY", thread.server.api_key)
        thread.server.script(
            Reply.text("Comets ", "are icy."), Reply.sse(chunk({"content": "half"})).cut(), Reply.text("Yes.")
        )
        app = streamlit.AppTest.from_file(str(EXAMPLE), default_timeout=60).run()
        app.chat_input[0].set_value("What are comets?").run()
        assert [message.markdown[0].value for message in app.chat_message] == ["What are comets?", "Comets are icy."]
        app.chat_input[0].set_value("And?").run()
        assert [error.value for error in app.error] == ["the answer was cut off"]
        app.chat_input[0].set_value("Really?").run()
        assert not app.exception
        sent = thread.server.requests[-1].json["messages"]
    assert [message["content"] for message in sent] == ["What are comets?", "Comets are icy.", "Really?"]
