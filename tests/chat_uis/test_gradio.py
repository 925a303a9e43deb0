"""The Gradio example, asked through Gradio's own client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_server import ServerThread

from cometstream.testing import Reply

pytest.importorskip("gradio", reason="gradio is not installed")
pytestmark = pytest.mark.slow  # Gradio takes seconds to start

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "chat_uis" / "gradio_chat.py"

# A process of its own: Gradio starts threads and servers that outlive a test.
PROGRAM = f"""
import runpy
import gradio_client

app = runpy.run_path({str(EXAMPLE)!r})["app"]
_, url, _ = app.launch(prevent_thread_lock=True, quiet=True)
client = gradio_client.Client(url, verbose=False)
job = client.submit("Hi", api_name="/chat")
print("answer:", job.result(60), len(job.outputs()) > 1)
try:
    client.predict("Hi", api_name="/chat")
except Exception as error:
    print("error:", error)
app.close()
"""


def test_gradio_gets_a_growing_answer_and_the_public_half_of_an_error() -> None:
    with ServerThread() as thread:
        thread.server.script(Reply.text("Comets ", "are ", "icy."), Reply.error(401, "key sk-secret is wrong"))
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={
                **os.environ,
                "COMETAPI_BASE_URL": thread.server.base_url,
                "COMETAPI_KEY": thread.server.api_key,
                "GRADIO_ANALYTICS_ENABLED": "False",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert "answer: Comets are icy. True" in ended.stdout, ended.stderr
    assert "error: " in ended.stdout
    assert "secret" not in ended.stdout
