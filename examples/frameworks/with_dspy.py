"""dspy over a CometSession: pip install cometstream dspy. Its engine "litellm" is the one that takes a client of ours."""

import os

import dspy
import httpx2
import litellm

from cometstream.openai.transport import SyncCometTransport

litellm.client_session = httpx2.Client(transport=SyncCometTransport())
model = dspy.LM(
    "openai/gpt-5.4",
    api_base=os.environ.get("COMETAPI_BASE_URL", "https://api.cometapi.com/v1"),
    api_key=os.environ["COMETAPI_KEY"],
    engine="litellm",
)
print(model("Write one sentence about comets."))
