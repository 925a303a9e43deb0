from __future__ import annotations

import json
from typing import Any

import dspy
import litellm

from cometstream.testing import Reply
from tests.frameworks.programs import MODEL, PROMPT, City, weather

END = "[[ ## completed ## ]]"

# The format that dspy asks the model for.
TEXTS = ("[[ ## answer ## ]]\nThe comet", " is near", f" the Sun.\n\n{END}")


def reply(request: Any) -> Reply:
    """Answer as a model would that keeps to dspy's format."""
    asked = json.dumps(request.json["messages"])
    if "next_tool_name" in asked and "[[ ## next_thought ## ]]" in asked:
        tool, arguments = ("finish", {}) if "observation_0" in asked else ("weather", {"city": "Oslo"})
        fields = {"next_thought": "I look.", "next_tool_name": tool, "next_tool_args": json.dumps(arguments)}
    elif "[[ ## city ## ]]" in asked:
        fields = {"city": json.dumps({"name": "comet", "population": 1})}
    else:
        fields = {"reasoning": "It was told.", "answer": "It snows in Oslo."}
    text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()) + f"\n\n{END}"
    if request.json.get("stream"):
        return Reply.text(text)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return Reply.json({"id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]})


class Program:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.model = dspy.LM(
            f"openai/{MODEL}",
            api_key=client.api_key,
            api_base=str(client.base_url),
            cache=False,
            num_retries=0,
            engine="litellm",  # its own engine takes no client
        )

    def context(self) -> Any:
        # litellm takes one client for all; it keeps the clients that it has made.
        litellm.aclient_session = self.client._client
        litellm.in_memory_llm_clients_cache.flush_cache()
        return dspy.context(lm=self.model, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False))

    async def plain(self) -> str:
        with self.context():
            return (await dspy.Predict("question -> answer").acall(question=PROMPT)).answer

    async def streamed(self) -> str:
        with self.context():
            listener = dspy.streaming.StreamListener("answer")
            ask = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[listener])
            parts = [part async for part in ask(question=PROMPT)]
        return parts[-1].answer

    async def tools(self) -> str:
        with self.context():
            return (await dspy.ReAct("question -> answer", tools=[weather]).acall(question=PROMPT)).answer

    async def structured(self) -> City:
        with self.context():
            predict = dspy.Predict(dspy.Signature("question -> city: City", custom_types={"City": City}))
            return (await predict.acall(question=PROMPT)).city


make = Program
